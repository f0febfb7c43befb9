"""Which clips' videos are in a tool's folder, and how it is sent."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.answering.rows import Row
from motiontrace.catalog.repositories.clips import Details
from motiontrace.documents.queries import Place
from motiontrace.formats.export import Subject
from motiontrace.service.settings import ServiceSettings
from tests.formats.test_folder import open_files
from tests.service.asking import ask, assert_problem
from tests.service.clip_rows import change
from tests.service.labeling.exported import folder, zipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi.testclient import TestClient

    from tests.service.conftest import Corpus

SUBJECT = Subject(query="5f0c0c4e8d5b4d0f9a5b1f6f2f7f3c11", index="tiny", prompt="a square", clip=None)


@pytest.mark.parametrize("tool", ["fiftyone", "cvat"])
def test_a_clip_whose_video_cannot_be_served_is_left_out_and_listed(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, tmp_path: Path, tool: str
) -> None:
    query = ask(client, corpus.video("up-red"), k=100).json()
    (tmp_path / "link.mp4").symlink_to(settings.home / "catalog.db")
    os.mkfifo(tmp_path / "pipe.mp4")
    change(settings, "up blue", path=str(tmp_path / "gone.mp4"))
    change(settings, "left blue", path=str(tmp_path / "link.mp4"))
    change(settings, "left-red", path=str(tmp_path / "pipe.mp4"))
    change(settings, "right blue", path=str(tmp_path))
    change(settings, "right-red", codec=None)
    change(settings, "down blue", bytes=17)
    change(settings, "down-red", fps=0.0)
    files = folder(client, query["id"], tool)
    listed = dict(line.split("\t") for line in files["left-out.txt"].decode().splitlines())
    size = corpus.video("down blue").stat().st_size
    assert listed == {
        "up blue": "Its file does not exist.",
        "left blue": "The clip's file lies where this service serves no files from.",
        "left-red": "Its file is a named pipe (FIFO), not a file.",
        "right blue": "Its file is a folder, not a file.",
        "right-red": "Its file could not be read as a video when it was indexed.",
        "down blue": f"Its file has changed since it was indexed: it has {size:,} bytes, and had 17.",
        "down-red": "Its frame rate is not known: its file did not tell for how long a frame is shown.",
    }
    videos = {Path(name).stem for name in files if name.endswith(".mp4")}
    assert videos == {"up-red"}
    told = b"".join(content for name, content in files.items() if name != "left-out.txt" and name not in videos)
    assert all(clip_id.encode() not in told for clip_id in listed)


def test_a_clip_that_left_the_catalog_is_left_out(corpus: Corpus, tmp_path: Path) -> None:
    files = unzipped(zipped("fiftyone", SUBJECT, [row("a", corpus, clip=None), row("b", corpus)], own(tmp_path)))
    assert files["left-out.txt"] == b"a\tThe clip has left the catalog.\n"
    assert [sample["clip"] for sample in json.loads(files["samples.json"])["samples"]] == ["b"]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"fps": None}, "Its frame rate is not known"),
        ({"fps": 0.0, "seconds": 0.0}, "Its frame rate is not known"),
        ({"frames": 0}, "could not be read as a video"),
        ({"frames": None, "fps": None}, "could not be read as a video"),
    ],
)
def test_a_clip_without_frames_or_their_rate_is_left_out(
    corpus: Corpus, tmp_path: Path, known: dict[str, Any], reason: str
) -> None:
    for tool in ("fiftyone", "cvat"):
        files = unzipped(zipped(tool, SUBJECT, [row("a", corpus, **known)], own(tmp_path)))
        assert reason in files["left-out.txt"].decode()
        assert not [name for name in files if name.endswith(".mp4")]


def test_no_list_is_there_where_nothing_is_left_out(client: TestClient, corpus: Corpus) -> None:
    query = ask(client, corpus.video("up-red"), k=100).json()
    assert "left-out.txt" not in folder(client, query["id"], "fiftyone")


@pytest.mark.parametrize("tool", ["fiftyone", "cvat"])
def test_ids_of_any_kind_make_names_that_stay_in_the_folder(corpus: Corpus, tmp_path: Path, tool: Any) -> None:
    ids = ["../../a", "/etc/passwd", "a b", "A B", "con", "-rf", ".hidden", "日本/動画", "é" * 200, "a'b\"$(c)`", "%00"]
    files = unzipped(zipped(tool, SUBJECT, [row(each, corpus) for each in ids], own(tmp_path)))
    videos = [name for name in files if name.endswith(".mp4")]
    assert len({name.lower() for name in videos}) == len(ids)
    for name in files:
        assert name.isascii()
        assert name.count("/") <= 1
        assert not name.startswith(("/", ".", "-"))
        assert not name.rpartition("/")[2].startswith((".", "-"))
    told = (
        {sample["clip"] for sample in json.loads(files["samples.json"])["samples"]} if tool == "fiftyone" else set(ids)
    )
    assert told == set(ids)


def test_a_video_is_sent_while_the_rows_behind_it_are_not_read_yet(corpus: Corpus, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(b"\0" * (8 << 20))
    read = []

    def rows() -> Iterator[Row]:
        for clip_id in "abc":
            read.append(clip_id)
            yield row(clip_id, corpus, path=str(large), bytes=8 << 20)

    sent = 0
    for piece in zipped("fiftyone", SUBJECT, rows(), own(tmp_path / "home")):
        sent += len(piece)
        assert len(piece) < 1 << 19
        assert len(read) == min(3, 1 + sent // ((8 << 20) + 200))
    assert read == ["a", "b", "c"]


def test_a_video_that_gets_shorter_while_it_is_sent_breaks_the_zip_file_off(corpus: Corpus, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(b"\0" * (2 << 20))
    pieces = zipped("cvat", SUBJECT, [row("a", corpus, path=str(large), bytes=2 << 20)], own(tmp_path / "home"))
    sent = next(pieces)
    os.truncate(large, 1 << 20)
    with pytest.raises(OSError, match="1,048,576 bytes shorter"):
        for piece in pieces:
            sent += piece
    assert not zipfile.is_zipfile(io.BytesIO(sent))


def test_what_is_kept_on_the_disk_is_gone_when_the_caller_goes(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened = len(open_files())
    pieces = zipped("fiftyone", SUBJECT, [row("a", corpus), row("b", corpus)], own(tmp_path / "home"))
    next(pieces)
    assert len(open_files()) > opened
    pieces.close()  # type: ignore[attr-defined]
    assert len(open_files()) == opened
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tool", ["fiftyone", "cvat"])
def test_the_videos_of_a_hundred_clips_of_an_end_are_sent_unless_told_otherwise(
    client: TestClient, corpus: Corpus, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = ask(client, corpus.video("up-red"), k=100).json()["id"]
    monkeypatch.setattr("motiontrace.answering.export.DEFAULT_VIDEOS", 3)
    for parameters, videos in (({}, 3), ({"end": "both"}, 6), ({"limit": 5}, 5), ({"end": "bottom", "limit": 1}, 1)):
        files = folder(client, query, tool, **parameters)  # type: ignore[arg-type]
        assert len([name for name in files if name.endswith(".mp4")]) == videos
    response = client.get(f"/v1/queries/{query}/export?format={tool}&limit=10001")
    problem = assert_problem(response, 422, "too_many_videos")
    assert problem["errors"][0]["field"] == "limit"


def test_a_folder_is_named_by_its_query_and_tool(client: TestClient, corpus: Corpus) -> None:
    query = ask(client, corpus.video("up-red"), k=100).json()["id"]
    response = client.get(f"/v1/queries/{query}/export?format=cvat&limit=1")
    assert response.headers["content-disposition"] == f'attachment; filename="motiontrace-{query}-cvat.zip"'
    assert_problem(client.get("/v1/queries/none/export?format=cvat"), 404, "query_not_found")


def row(clip_id: str, corpus: Corpus, **changes: Any) -> Row:
    """A row of the first place; its clip is "up-red" under this id."""
    video = corpus.video("up-red")
    known: dict[str, Any] = {
        "path": str(video),
        "bytes": video.stat().st_size,
        "codec": "h264",
        "width": 64,
        "height": 64,
        "frames": 12,
        "seconds": 1.0,
        "fps": 12.0,
        "caption": "a square",
        "metadata": {},
        "verdict": None,
        "decision": None,
        "note": None,
        "ranges": [],
        "boxes": [],
        "motion_region": None,
    }
    clip = None if changes == {"clip": None} else Details(**(known | changes))
    return Row(Place(id=clip_id, score=0.5, rank=1, percentile=100.0), "top", clip, None, None)


def own(home: Path) -> ServiceSettings:
    return ServiceSettings(home=home)


def unzipped(pieces: Iterator[bytes]) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}
