"""motiontrace as a Python module: docs/python.md runs, and the functions do what the commands do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import motiontrace
from motiontrace.answering.errors import QuestionError
from motiontrace.catalog.errors import StoreLockedError
from motiontrace.catalog.publishing import claim
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.cli import app, register
from motiontrace.curation.selection.errors import SelectionError
from motiontrace.curation.selection.run import Selection
from motiontrace.curation.selection.writing import Written
from motiontrace.documents.queries import Query
from motiontrace.indexer.build import BuiltIndex
from tests.checkpoints import tiny_wan
from tests.videos import moving_square

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"
DIRECTIONS = {"right": (2, 0), "left": (-2, 0), "up": (0, -2), "down": (0, 2)}
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220)}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What docs/python.md has defined at its end; the working folder is the one that it ran in."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "clips").mkdir()
    rows = []
    for motion, (dx, dy) in DIRECTIONS.items():
        for colour, rgb in COLOURS.items():
            name = f"{motion}-{colour}"
            moving_square(folder / "clips" / f"{name}.mp4", dx, dy, rgb)
            rows.append({"file_name": f"{name}.mp4", "caption": f"a {colour} square", "id": name, "motion": motion})
    rows.append({"file_name": "missing.mp4", "caption": "a square", "motion": "none"})
    (folder / "clips" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    moving_square(folder / "generated.mp4", 0, -1.5, (200, 200, 40))
    (folder / "checkpoint").symlink_to(tiny_wan(tmp_path_factory.mktemp("model")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MOTIONTRACE_HOME", str(folder / "home"))
        text, names = PAGE.read_text(encoding="utf-8"), {}
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, block.start()) + 1
            exec(compile("\n" * line + block[1], "docs/python.md", "exec"), names)
        yield names


def test_the_page_runs_and_what_it_returns_is_typed(page: dict[str, Any]) -> None:
    built, answer, alike, selection, written = (
        page[name] for name in ("built", "answer", "alike", "selection", "written")
    )
    assert isinstance(built, BuiltIndex) and built.summary.results == Counter(indexed=12, failed=1)
    assert page["rows"].done == 13
    assert isinstance(answer, Query) and answer.status == "done" and len(answer.top) == 3
    assert answer.top[0].metadata == {"motion": "up"}
    assert {hit.metadata["motion"] for hit in alike.top} <= {"up", "left"}
    assert isinstance(selection, Selection) and selection.counts["chosen"] == 6
    assert isinstance(written, Written) and written.clips == 6
    assert len((written.output / "metadata.jsonl").read_text().splitlines()) == 6


def test_the_functions_answer_as_the_commands_do(page: dict[str, Any]) -> None:
    register()
    asked = ["query", "generated.mp4", "--prompt", "a square moves up", "--index", "clips", "-k", "3", "--json"]
    document = json.loads(CliRunner().invoke(app, asked).stdout)
    answer = page["answer"].model_dump(mode="json")
    assert [document["top"], document["bottom"], document["chance"]] == [
        answer["top"], answer["bottom"], answer["chance"],
    ]  # fmt: skip
    listed = json.loads(CliRunner().invoke(app, ["selections", "--json"]).stdout)
    assert [each["id"] for each in listed] == [page["selection"].id]
    shown = json.loads(CliRunner().invoke(app, ["queries", "show", page["answer"].id, "--json"]).stdout)
    assert shown["top"] == answer["top"]


def test_wrong_arguments_and_what_is_not_there_are_refused_as_the_commands_refuse_them(page: dict[str, Any]) -> None:
    for wrong, said in (
        ({}, "a video or a clip"),
        ({"video": "generated.mp4", "prompt": "up", "clip": "up-red"}, "a video or a clip"),
        ({"video": "generated.mp4"}, "a video needs a prompt"),
        ({"clip": "up-red", "prompt": "up"}, "a clip has none"),
        ({"clip": "up-red", "k": 0}, "k is 1 to 1000"),
        ({"clip": "up-red", "precondition": "whiten", "damping": 1e9}, "damping is 0.001 to 1e"),
        ({"clip": "up-red", "precondition": "whitened"}, "'none', 'centre' or 'whiten'"),
        ({"clip": "up-red", "filter": {"motions": ["up"]}}, "motions"),
    ):
        with pytest.raises(ValueError, match=said):
            motiontrace.query(**wrong)
    with pytest.raises(QuestionError) as refused:
        motiontrace.query(clip="up-red", index="other")
    assert refused.value.code == "unknown_index"
    with pytest.raises(ValueError, match="drop_worst"):
        motiontrace.select([page["answer"]])
    with pytest.raises(SelectionError, match="no query can vote: query 77: there is no query of this id"):
        motiontrace.select([page["answer"].model_copy(update={"id": "77"})], budget=1)
    with pytest.raises(FileExistsError):
        motiontrace.write(page["selection"], "train")
    with pytest.raises(ValueError, match="zip"):
        motiontrace.write(page["selection"], "other", format="zip")


def test_an_index_that_another_process_writes_is_left_alone(page: dict[str, Any]) -> None:
    lock = claim(CatalogSettings(), "clips")
    try:
        with pytest.raises(StoreLockedError):
            motiontrace.index("clips", model="checkpoint", index="clips")
    finally:
        lock.release()


def test_importing_motiontrace_imports_nothing_of_it() -> None:
    code = (
        "import sys, motiontrace\n"
        "assert {'index', 'query', 'select', 'write'} <= set(dir(motiontrace))\n"
        "print([name for name in sys.modules if name.startswith('motiontrace.') or name in ('torch', 'pydantic')])\n"
        "motiontrace.query\n"
        "print([name for name in ('torch', 'numpy', 'sqlalchemy', 'pydantic') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"
    with pytest.raises(AttributeError, match="module 'motiontrace' has no attribute 'ask'"):
        motiontrace.ask  # type: ignore[attr-defined]  # noqa: B018
