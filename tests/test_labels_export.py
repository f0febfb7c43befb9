"""motiontrace labels export: a folder for a tool, or a table, by a service."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from motiontrace.cli import app, register
from motiontrace.client import Client, ServiceError
from motiontrace.errors import told
from tests.service.clip_rows import change
from tests.service.conftest import copy_of
from tests.service.keys import make_key
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

    from tests.service.conftest import Corpus


@pytest.fixture(scope="module", autouse=True)
def verbs() -> None:
    register()


@pytest.fixture(scope="module")
def service(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A service that asks for keys, as the environment tells of it, and a query there."""
    settings = copy_of(corpus, tmp_path_factory.mktemp("export"))
    _, header = make_key(settings, "query")
    key = header.removeprefix("Bearer ")
    change(settings, "left blue", bytes=17)
    with serving(settings) as (_, url), Client(url, api_key=key) as client:
        query = client.more_like("up-red")
        yield {"MOTIONTRACE_URL": url, "MOTIONTRACE_API_KEY": key, "QUERY": query.id, "HOME": str(settings.home)}


def export(service: dict[str, str], output: Path, *arguments: str, query: str | None = None) -> Result:
    asked = ["labels", "export", query or service["QUERY"], "--output", str(output), *arguments]
    return CliRunner().invoke(app, asked, env=dict(service))


@pytest.mark.parametrize("tool", ["fiftyone", "cvat"])
def test_a_folder_is_made_and_what_is_not_in_it_is_told(service: dict[str, str], tmp_path: Path, tool: str) -> None:
    made = export(service, tmp_path / "new" / "review", "--format", tool)
    assert made.exit_code == 0, (made.output, made.exception)
    assert "README.txt" in made.stdout
    assert "left out: left blue: Its file has changed since it was indexed" in made.stderr
    videos = {path.stem for path in (tmp_path / "new" / "review").rglob("*.mp4")}
    assert len(videos) == 6
    assert {"down-red", "left-red", "right-red"} < videos
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["review"]


def test_both_ends_are_exported_unless_told_otherwise(service: dict[str, str], tmp_path: Path) -> None:
    for number, (end, ends) in enumerate((((), {"top", "bottom"}), (("--end", "bottom"), {"bottom"}))):
        path = tmp_path / f"{number}.jsonl"
        made = export(service, path, "--format", "jsonl", "--limit", "2", *end)
        assert made.exit_code == 0, (made.output, made.exception)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert {row["end"] for row in rows} == ends
        assert len(rows) == 2 * len(ends)


def test_a_table_is_one_file(service: dict[str, str], tmp_path: Path) -> None:
    assert export(service, tmp_path / "ranking", "--format", "csv").exit_code == 0
    with (tmp_path / "ranking").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4, 7, 6, 5]
    assert rows[0]["video_url"].startswith(f"{service['MOTIONTRACE_URL']}/v1/clips/")


def test_a_folder_that_holds_something_is_refused_before_anything_is_fetched(
    service: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("mine")
    refused = export(service, tmp_path, "--format", "fiftyone", query="none")
    assert isinstance(refused.exception, FileExistsError)
    assert "name another folder" in str(refused.exception)


def test_what_a_folder_cannot_take_the_place_of_is_refused_before_anything_is_fetched(
    service: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    monkeypatch.chdir(tmp_path / "empty")
    for output, why in ((tmp_path / "link", "It is a link"), (Path(), "It is the current folder")):
        refused = export(service, output, "--format", "cvat", query="none")
        assert isinstance(refused.exception, FileExistsError)
        assert why in str(refused.exception)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "link"]


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "fiftyone", "cvat"])
def test_a_kept_query_is_exported_without_a_service_as_one_exports_it(
    service: dict[str, str], tmp_path: Path, format: str
) -> None:
    assert export(service, tmp_path / "served", "--format", format, "--limit", "2").exit_code == 0
    directly = dict.fromkeys(service) | {"MOTIONTRACE_HOME": service["HOME"]}
    asked = ["labels", "export", service["QUERY"], "--output", str(tmp_path / "direct"), "--format", format]
    made = CliRunner().invoke(app, [*asked, "--limit", "2"], env=directly)
    assert made.exit_code == 0, (made.output, made.exception)
    if format in ("fiftyone", "cvat"):
        found = [
            {str(path.relative_to(folder)) for path in folder.rglob("*")}
            for folder in (tmp_path / "served", tmp_path / "direct")
        ]
        assert found[0] == found[1]
        assert any(name.endswith(".mp4") for name in found[0])
        return
    served, direct = (table(tmp_path / name, format) for name in ("served", "direct"))
    assert [row["id"] for row in served] == [row["id"] for row in direct]
    assert [row["score"] for row in served] == [row["score"] for row in direct]
    assert Path(direct[0]["path"]).is_file()
    if format == "csv":
        assert {row["video_url"] for row in direct} == {""}


def table(path: Path, format: str) -> list[dict[str, Any]]:
    if format == "parquet":
        return parquet.read_table(path).to_pylist()
    if format == "jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list(csv.DictReader(path.open(newline="", encoding="utf-8-sig")))


def test_a_query_that_is_not_kept_is_told_in_the_words_of_the_command(service: dict[str, str], tmp_path: Path) -> None:
    directly = dict.fromkeys(service) | {"MOTIONTRACE_HOME": service["HOME"]}
    asked = ["labels", "export", "none", "--output", str(tmp_path / "direct"), "--format", "csv"]
    refused = CliRunner().invoke(app, asked, env=directly)
    assert refused.exception is not None
    assert "motiontrace queries list" in (told(refused.exception) or "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_table_overwrites_nothing(service: dict[str, str], tmp_path: Path, format: str) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("nothing")
    for name in ("mine", "link"):
        refused = export(service, tmp_path / name, "--format", format, query="none")
        assert isinstance(refused.exception, FileExistsError)
        assert "name another file, or remove it" in str(refused.exception)
        assert name in str(refused.exception)
    assert (tmp_path / "mine").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "link"}


@pytest.mark.parametrize("links", [True, False])
def test_a_table_overwrites_nothing_that_came_there_while_it_was_fetched(
    service: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    fetch = Client.export

    def export_slowly(self: Client, *arguments: Any, **more: Any) -> None:
        fetch(self, *arguments, **more)
        (tmp_path / "ranking.csv").write_text("mine")

    if not links:
        monkeypatch.setattr("os.link", Mock(side_effect=OSError(errno.EPERM, "no links here")))
        assert export(service, tmp_path / "free.csv", "--format", "csv").exit_code == 0
        (tmp_path / "free.csv").unlink()
    monkeypatch.setattr(Client, "export", export_slowly)
    refused = export(service, tmp_path / "ranking.csv", "--format", "csv")
    assert isinstance(refused.exception, FileExistsError)
    assert (tmp_path / "ranking.csv").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["ranking.csv"]


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_table_is_not_written_to_a_folder(service: dict[str, str], tmp_path: Path, format: str) -> None:
    refused = export(service, tmp_path, "--format", format, query="none")
    assert isinstance(refused.exception, IsADirectoryError)
    assert "name a file for the table" in str(refused.exception)


def test_a_query_that_is_not_there_leaves_nothing_behind(service: dict[str, str], tmp_path: Path) -> None:
    for format in ("fiftyone", "csv"):
        refused = export(service, tmp_path / "review", "--format", format, query="none")
        assert isinstance(refused.exception, ServiceError)
        assert "There is no query 'none'" in str(refused.exception)
        assert list(tmp_path.iterdir()) == []
