"""docs/labeling.md: the ways by which decisions come back from tables and from CVAT, run as they stand there."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.client import Client, unpack
from motiontrace.documents.regions import Box, Keyframe, TimeRange
from tests.service.conftest import copy_of
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.conftest import Corpus

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "labeling.md").read_text(encoding="utf-8")
BOX = Box(label="moving object", keyframes=(Keyframe(time=0.0, x=0.1, y=0.1, width=0.2, height=0.2),))
RANGE = TimeRange(start=0.1, end=0.3, label="bad motion")


def section(title: str) -> str:
    """The last Python of a section of the page."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    code: str = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[-1]
    return code


@pytest.fixture
def service(corpus: Corpus, tmp_path: Path) -> Iterator[tuple[Client, str]]:
    with serving(copy_of(corpus, tmp_path / "home")) as (_, url), Client(url) as client:
        client.label(
            "up-red", verdict="unrealistic", decision="drop", note="jumps", author="kim", ranges=[RANGE], boxes=[BOX]
        )
        client.label("down-red", verdict="realistic", note="fine")
        yield client, url


def run(title: str, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for text in (section("Bringing decisions back"), section(title)):
        exec(compile(text.replace("http://127.0.0.1:8600", url), "labeling.md", "exec"), names)


def check(client: Client) -> None:
    """Of "up-red" the decision was changed, of "left-red" one was made, and nothing of the others."""
    changed = client.labels("up-red")
    assert changed.current is not None
    assert (changed.current.verdict, changed.current.decision, changed.current.note) == ("unrealistic", "keep", "jumps")
    assert (list(changed.current.ranges), list(changed.current.boxes)) == ([RANGE], [BOX])
    made = client.labels("left-red").current
    assert made is not None
    assert (made.verdict, made.decision) == (None, "drop")
    untouched = client.labels("down-red")
    assert (untouched.current, untouched.history_total) == (untouched.history[0], 2)
    assert untouched.current is not None
    assert (untouched.current.verdict, untouched.current.note) == ("static", "said since")


def test_a_table_brings_back_what_was_changed_in_it_and_nothing_else(
    service: tuple[Client, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, url = service
    query = client.more_like("left blue", index="tiny")
    client.export(query.id, tmp_path / "ranking.csv", format="csv")
    with (tmp_path / "ranking.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["decision"] = {"up-red": "keep", "left-red": "drop"}.get(row["id"], row["decision"])
    with (tmp_path / "decided.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    client.label("down-red", verdict="static", note="said since")
    run("Tables", url, tmp_path, monkeypatch)
    check(client)


def test_cvat_brings_back_what_was_changed_in_it_and_nothing_else(
    service: tuple[Client, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, url = service
    query = client.more_like("left blue", index="tiny")
    client.export(query.id, tmp_path / "cvat.zip", format="cvat", end="both")
    unpack(tmp_path / "cvat.zip", tmp_path / "review")
    decided = {"up-red": ("drop", "keep"), "left-red": ("none", "drop")}
    tasks = []
    for file in sorted((tmp_path / "review" / "annotations").glob("*.xml")):
        text = file.read_text(encoding="utf-8")
        for clip, (before, after) in decided.items():
            if f'<attribute name="clip">{clip}<' in text:
                attribute = '<attribute name="decision">{}</attribute>'
                assert attribute.format(before) in text
                text = text.replace(attribute.format(before), attribute.format(after))
        tasks += re.findall(r"<image .*?</image>", text, re.DOTALL)
    (tmp_path / "annotations.xml").write_text(f"<annotations>{''.join(tasks)}</annotations>", encoding="utf-8")
    client.label("down-red", verdict="static", note="said since")
    run("CVAT", url, tmp_path, monkeypatch)
    check(client)
