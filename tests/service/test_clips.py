"""Clips: lists, records, files by range, stills."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from motiontrace.attribution.region import BoxKeyframe, MotionRegion
from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import EntryRepository
from tests.service.asking import assert_problem
from tests.service.clip_rows import change

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

BOTH_DATABASES = True
VIDEO = "/v1/clips/left-red/video"


def test_clips_are_listed_in_pages_by_id(reader: TestClient) -> None:
    path, seen = "/v1/clips?limit=4", []
    while path is not None:
        page = reader.get(path).json()
        assert len(page["clips"]) <= 4
        seen += [clip["id"] for clip in page["clips"]]
        path = page["next"]
    assert seen == sorted(seen)
    assert len(seen) == 10


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"outcome": "failed"}, {"broken"}),
        ({"index": "tiny", "outcome": "no_motion"}, {"still"}),
        ({"text": "LEFT"}, {"left-red", "left blue"}),
        ({"index": "tiny", "outcome": "indexed", "text": "up"}, {"up-red", "up blue"}),
        ({"text": "%"}, set()),
        ({"metadata": "motion:up"}, {"up-red"}),
        ({"metadata": ["motion:up", "motion:left blue"]}, {"up-red", "left blue"}),
        ({"metadata": ["motion:up", "color:red"]}, set()),
        ({"metadata": "motion:left", "outcome": "indexed", "text": "red"}, {"left-red"}),
        ({"verdict": "realistic"}, set()),
        ({"without_decision": "drop", "text": "up"}, {"up-red", "up blue"}),
    ],
)
def test_clips_are_filtered_by_index_outcome_caption_metadata_and_label(
    reader: TestClient, filters: dict[str, str | list[str]], ids: set[str]
) -> None:
    assert {clip["id"] for clip in reader.get("/v1/clips", params=filters).json()["clips"]} == ids


def test_pages_keep_their_filters(reader: TestClient) -> None:
    first = reader.get("/v1/clips", params={"text": "blue", "outcome": "indexed", "limit": 3}).json()
    assert "index=tiny" in first["next"]  # the one that was meant, even if there are two by then
    second = reader.get(first["next"]).json()
    assert [clip["id"] for clip in first["clips"] + second["clips"]] == [
        "down blue", "left blue", "right blue", "up blue",
    ]  # fmt: skip


def test_pages_keep_their_conditions_on_metadata(reader: TestClient) -> None:
    path, seen = "/v1/clips?metadata=motion:up&metadata=motion:left%20blue&metadata=motion:down&limit=1", []
    while path is not None:
        page = reader.get(path).json()
        seen += [clip["id"] for clip in page["clips"]]
        path = page["next"]
    assert seen == ["down-red", "left blue", "up-red"]


def test_a_list_for_an_index_says_what_became_of_each_clip(reader: TestClient) -> None:
    clips = reader.get("/v1/clips", params={"index": "tiny", "outcome": "failed"}).json()["clips"]
    assert clips[0]["entry"]["reason_code"] == "not_a_video"
    assert clips[0]["entry"]["reason"].startswith("broken.mp4 ")
    assert reader.get("/v1/clips").json()["clips"][0]["entry"] is None


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"outcome": "lost"}, "outcome"),
        ({"text": "a\x00"}, "text"),
        ({"index": "x"}, "index"),
        ({"metadata": "motion"}, "metadata"),
        ({"metadata": ":bounce"}, "metadata"),
        ({"metadata": "motion:\x00"}, "metadata.0"),
        ({"metadata": f"{'m' * 201}:x"}, f"metadata.{'m' * 201}.[key]"),
        ({"decision": "burn"}, "decision.0"),
        ({"verdict": ""}, "verdict.0"),
    ],
)
def test_a_wrong_filter_is_named(reader: TestClient, params: dict[str, str], field: str) -> None:
    response = reader.get("/v1/clips", params=params)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


def test_a_clip_shows_its_record_and_its_entries(reader: TestClient, corpus: Corpus) -> None:
    clip = reader.get("/v1/clips/up blue").json()
    assert clip["caption"] == "a square, up blue"
    assert clip["metadata"] == {"motion": "up blue"}
    assert (clip["width"], clip["height"], clip["frames"], clip["codec"]) == (64, 64, 12, "h264")
    assert (clip["damaged_frames"], clip["time_jumps"]) == (0, 0)
    assert clip["bytes"] == corpus.video("up blue").stat().st_size
    assert [(entry["index"], entry["outcome"]) for entry in clip["indexes"]] == [("tiny", "indexed")]
    assert clip["video_url"] == "/v1/clips/up%20blue/video"


def test_a_clip_shows_when_and_where_it_moves(client: TestClient, settings: ServiceSettings) -> None:
    corners = {"y": 0.25, "width": 0.5, "height": 0.3333}
    keyframes = BoxKeyframe(0.0, x=0.0, **corners), BoxKeyframe(11 / 12, x=0.5, visible=False, **corners)
    region = MotionRegion(((0.0, 11 / 12),), keyframes).to_json()
    database = Database.open(settings.url)
    with database.writing() as session:
        (entry,) = EntryRepository(session).of_clip("up-red")
        entry.motion_region = region
    database.close()
    assert client.get("/v1/clips/up-red").json()["indexes"][0]["motion_region"] == region
    listed = client.get("/v1/clips", params={"index": "tiny"}).json()["clips"]
    assert [clip["id"] for clip in listed if clip["entry"]["motion_region"] == region] == ["up-red"]
    assert client.get("/v1/clips/still").json()["indexes"][0]["motion_region"] is None


@pytest.mark.parametrize("path", ["/v1/clips/none", "/v1/clips/none/video", "/v1/clips/none/thumbnail"])
def test_an_unknown_clip_is_not_found(reader: TestClient, path: str) -> None:
    assert_problem(reader.get(path), 404, "clip_not_found")


def test_a_video_is_served_whole_with_its_type_and_validators(reader: TestClient, corpus: Corpus) -> None:
    response = reader.get(VIDEO)
    assert response.status_code == 200
    assert response.content == corpus.video("left-red").read_bytes()
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["etag"]


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=10-", (10, None)),
        ("bytes=-7", (-7, None)),
        ("bytes=5-99999999", (5, None)),
    ],
)
def test_a_byte_range_is_served(reader: TestClient, corpus: Corpus, asked: str, span: tuple[int, int | None]) -> None:
    content = corpus.video("left-red").read_bytes()
    response = reader.get(VIDEO, headers={"range": asked})
    assert response.status_code == 206
    assert response.content == content[slice(*span)]
    first = content.index(response.content)
    assert response.headers["content-range"] == f"bytes {first}-{first + len(response.content) - 1}/{len(content)}"


def test_several_ranges_come_as_parts(reader: TestClient, corpus: Corpus) -> None:
    response = reader.get(VIDEO, headers={"range": "bytes=0-3, 8-11"})
    assert response.status_code == 206
    assert response.headers["content-type"].startswith("multipart/byteranges")
    content = corpus.video("left-red").read_bytes()
    assert content[:4] in response.content
    assert content[8:12] in response.content


def test_of_several_ranges_those_that_are_there_are_served(reader: TestClient, corpus: Corpus) -> None:
    response = reader.get(VIDEO, headers={"range": "bytes=99999999-, -0, 0-3"})
    assert (response.status_code, response.content) == (206, corpus.video("left-red").read_bytes()[:4])


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=99999999-99999999", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_size(reader: TestClient, corpus: Corpus, asked: str) -> None:
    response = reader.get(VIDEO, headers={"range": asked})
    assert_problem(response, 416, "range_not_satisfiable")
    assert response.headers["content-range"] == f"bytes */{corpus.video('left-red').stat().st_size}"


@pytest.mark.parametrize(
    "asked", ["bytes=9-0", "bytes=a-b", "bytes=", "frames=0-3", "0-3", "bytes=" + "9" * 5000 + "-"]
)
def test_a_malformed_range_is_ignored(reader: TestClient, asked: str) -> None:
    assert reader.get(VIDEO, headers={"range": asked}).status_code == 200


def test_an_unchanged_file_is_not_sent_again(reader: TestClient) -> None:
    tag = reader.get(VIDEO).headers["etag"]
    for sent in (tag, f'"other", W/{tag}', "*"):
        response = reader.get(VIDEO, headers={"if-none-match": sent})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    assert reader.get(VIDEO, headers={"if-none-match": '"other"'}).status_code == 200


def test_a_range_of_another_version_gets_the_whole_file(reader: TestClient) -> None:
    tag = reader.get(VIDEO).headers["etag"]
    assert reader.get(VIDEO, headers={"range": "bytes=0-9", "if-range": tag}).status_code == 206
    assert reader.get(VIDEO, headers={"range": "bytes=0-9", "if-range": '"old"'}).status_code == 200


def test_head_tells_size_and_type_without_the_file(reader: TestClient, corpus: Corpus) -> None:
    response = reader.head(VIDEO)
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) == corpus.video("left-red").stat().st_size
    for asked in ("bytes=0-9", "bytes=99999999-"):  # a range is for GET alone (RFC 9110)
        ranged = reader.head(VIDEO, headers={"range": asked})
        assert (ranged.status_code, ranged.headers["content-length"]) == (200, response.headers["content-length"])
    assert reader.head("/v1/clips/left-red/thumbnail").headers["content-type"] == "image/jpeg"


def test_a_file_that_is_gone_is_told_so(client: TestClient, settings: ServiceSettings) -> None:
    move_clip(settings, settings.home.parent / "gone.mp4")
    problem = assert_problem(client.get("/v1/clips/up-red/video"), 404, "file_missing")
    assert problem["detail"] == "The catalog knows this clip, but its file does not exist."
    problem = assert_problem(client.get("/v1/clips/up-red/thumbnail"), 404, "no_thumbnail")
    assert "gone.mp4 does not exist" in problem["detail"]
    assert str(settings.home.parent) not in problem["detail"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_any_more_is_told_so(
    client: TestClient, settings: ServiceSettings, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "no file")
    move_clip(settings, tmp_path / "no file")
    problem = assert_problem(client.get("/v1/clips/up-red/video"), 404, "file_missing")
    assert problem["detail"].endswith(", not a file.")
    assert str(tmp_path) not in problem["detail"]


def test_a_file_that_was_no_video_is_not_served(reader: TestClient) -> None:
    assert_problem(reader.get("/v1/clips/broken/video"), 404, "no_video")


def move_clip(settings: ServiceSettings, path: Path) -> None:
    change(settings, "up-red", path=str(path))


def test_a_thumbnail_is_a_jpeg_made_once(client: TestClient, settings: ServiceSettings) -> None:
    response = client.get("/v1/clips/left-red/thumbnail")
    assert response.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(response.content)).size) <= 256
    (made,) = settings.thumbnail_directory.iterdir()
    before = made.stat()
    again = client.get("/v1/clips/left-red/thumbnail")
    assert again.content == response.content == made.read_bytes()
    assert made.stat().st_mtime_ns == before.st_mtime_ns


def test_a_clip_that_is_no_video_has_no_thumbnail(reader: TestClient) -> None:
    problem = assert_problem(reader.get("/v1/clips/broken/thumbnail"), 404, "no_thumbnail")
    assert "broken.mp4" in problem["detail"]
