"""A clip's row may name any file, and a link may lead anywhere: only clips leave the machine."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from motiontrace.service.app import create_app
from tests.service.asking import assert_problem
from tests.service.clip_rows import change

if TYPE_CHECKING:
    from pathlib import Path

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

CLIP = "/v1/clips/left-red"


def statuses(settings: ServiceSettings) -> tuple[int, int]:
    """Of the clip's video and of its still."""
    with TestClient(create_app(settings)) as client:
        answers = [client.get(f"{CLIP}/{part}") for part in ("video", "thumbnail")]
        for answer in answers:
            if answer.status_code == 404:
                problem = assert_problem(answer, 404, "outside_media_roots")
                assert str(settings.home) not in str(problem)
    return answers[0].status_code, answers[1].status_code


@pytest.fixture
def clips(corpus: Corpus, tmp_path: Path) -> Path:
    """A directory with one clip of the corpus."""
    (tmp_path / "clips").mkdir()
    shutil.copy(corpus.video("left-red"), tmp_path / "clips" / "a.mp4")
    return tmp_path / "clips"


def rooted(settings: ServiceSettings, *roots: Path) -> ServiceSettings:
    return settings.model_copy(update={"media_roots": roots})


def test_a_clip_below_a_root_is_served(settings: ServiceSettings, clips: Path, tmp_path: Path) -> None:
    change(settings, "left-red", path=str(clips / "a.mp4"))
    assert statuses(rooted(settings, tmp_path / "none", clips)) == (200, 200)


def test_a_clip_elsewhere_is_not(settings: ServiceSettings, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "clips-too").mkdir()  # begins as the root does
    shutil.copy(clips / "a.mp4", tmp_path / "clips-too" / "a.mp4")
    for path in (tmp_path / "clips-too" / "a.mp4", f"{clips}/../clips-too/a.mp4"):
        change(settings, "left-red", path=str(path))
        assert statuses(rooted(settings, clips)) == (404, 404)


@pytest.mark.parametrize("directory", [False, True])
def test_a_link_out_of_the_roots_is_not_followed(
    settings: ServiceSettings, clips: Path, corpus: Corpus, directory: bool
) -> None:
    if directory:
        (clips / "more").symlink_to(corpus.directory)
        change(settings, "left-red", path=str(clips / "more" / "left-red.mp4"))
    else:
        (clips / "b.mp4").symlink_to(corpus.video("left-red"))
        change(settings, "left-red", path=str(clips / "b.mp4"))
    assert statuses(rooted(settings, clips)) == (404, 404)
    assert statuses(rooted(settings, clips, corpus.directory)) == (200, 200)


def test_a_root_may_be_a_link_itself(settings: ServiceSettings, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(clips)
    change(settings, "left-red", path=str(tmp_path / "data" / "a.mp4"))
    assert statuses(rooted(settings, tmp_path / "data")) == (200, 200)


@pytest.mark.parametrize("place", ["catalog.db", "uploads/x/The upload", "indexes/tiny/manifest.json", "bases/x"])
@pytest.mark.parametrize("with_root", [False, True])
def test_what_the_service_keeps_itself_is_never_a_clip(
    settings: ServiceSettings, clips: Path, place: str, with_root: bool
) -> None:
    (clips / "b.mp4").symlink_to(settings.home / place)
    change(settings, "left-red", path=str(clips / "b.mp4"))
    assert statuses(rooted(settings, settings.home, clips) if with_root else settings) == (404, 404)


def test_a_processs_environment_is_never_a_clip(settings: ServiceSettings, clips: Path) -> None:
    (clips / "b.mp4").symlink_to(f"/proc/{os.getpid()}/environ")
    change(settings, "left-red", path=str(clips / "b.mp4"))
    assert statuses(settings) == (404, 404)


def test_links_among_clips_are_followed_by_default(settings: ServiceSettings, clips: Path, corpus: Corpus) -> None:
    (clips / "b.mp4").symlink_to(corpus.video("left-red"))
    change(settings, "left-red", path=str(clips / "b.mp4"))
    assert statuses(settings) == (200, 200)


@pytest.mark.parametrize("clip_id", ["..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "..", "%2e%2e", "left-red%2f..%2fx"])
def test_an_id_is_never_a_path(reader: TestClient, clip_id: str) -> None:
    for part in ("", "/video", "/thumbnail"):
        assert reader.get(f"/v1/clips/{clip_id}{part}").status_code in (404, 405)
    assert reader.get(f"/v1/indexes/{clip_id}").status_code == 404
    assert reader.get(f"/v1/queries/{clip_id}").status_code == 404
