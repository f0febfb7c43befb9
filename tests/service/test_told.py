"""What a service shows of clips that two indexes were told otherwise of, and of where their files lie."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import EntryRecord
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.service.access.media import below_a_root
from motiontrace.service.app import create_app
from tests.service.clip_rows import change
from tests.service.conftest import index_corpus

if TYPE_CHECKING:
    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus


def tell(settings: ServiceSettings, index: str, clip_id: str, **values: Any) -> None:
    """Tell an index otherwise of a clip."""
    with closing(Database.open(settings.url)) as database, database.writing() as session:
        entry = session.get(EntryRecord, (IndexRepository(session).get(index).id, clip_id))
        assert entry is not None
        for name, value in values.items():
            setattr(entry, name, value)


@pytest.fixture
def told(settings: ServiceSettings, corpus: Corpus, tmp_path: Path) -> ServiceSettings:
    """A service of two indexes of one corpus: "other" has a copy of a clip, under another name and caption."""
    index_corpus(corpus, settings, "other")
    (tmp_path / "copies" / "deep").mkdir(parents=True)
    copy = tmp_path / "copies" / "deep" / "copy.mp4"
    shutil.copy(corpus.video("up-red"), copy)
    tell(settings, "other", "up-red", path=str(copy), caption="another story", extra={"split": "test"})
    return settings.model_copy(update={"media_roots": (tmp_path / "copies",)})


def test_every_answer_shows_a_clip_as_the_index_that_was_asked_has_it(told: ServiceSettings) -> None:
    first = {"file_name": "up-red.mp4", "path": None, "caption": "a square, up-red", "metadata": {"motion": "up"}}
    second = {
        "file_name": "copy.mp4",
        "path": "deep/copy.mp4",
        "caption": "another story",
        "metadata": {"split": "test"},
    }
    with TestClient(create_app(told)) as client:
        for index, expected in (("tiny", first), ("other", second)):
            asked = client.post("/v1/queries", json={"clip": "up blue", "index": index, "k": 1}).json()
            page = client.get(f"/v1/queries/{asked['id']}/clips", params={"limit": 1}).json()["clips"]
            rows = client.get(f"/v1/queries/{asked['id']}/export", params={"format": "jsonl", "limit": 1}).text
            listed = client.get("/v1/clips", params={"index": index, "text": expected["caption"]}).json()["clips"]
            found = [asked["top"][0], page[0], listed[0], listed[0]["entry"]]
            assert "up-red" in rows and str(expected["file_name"]) in rows
            assert [{name: each[name] for name in expected} for each in found] == [expected] * 4
        entries = client.get("/v1/clips/up-red").json()["indexes"]
        assert [entry["caption"] for entry in entries] == ["a square, up-red", "another story"]
        passing = client.post(
            "/v1/queries", json={"clip": "up blue", "index": "other", "filter": {"metadata": {"split": ["test"]}}}
        ).json()
        assert [hit["id"] for hit in passing["top"]] == ["up-red"]


def test_a_clip_is_played_from_whichever_copy_is_left(told: ServiceSettings, corpus: Corpus) -> None:
    with TestClient(create_app(told)) as client:
        # As told last it lies below no media root; an index has a copy that does.
        assert client.get("/v1/clips/up-red/video").content == corpus.video("up-red").read_bytes()
        assert client.get("/v1/clips/up-red/thumbnail").status_code == 200
        tell(told, "other", "up-red", sha256="0" * 64)  # it has become another clip
        assert client.get("/v1/clips/up-red/video").status_code == 404


def test_a_path_is_told_from_its_media_root_on_and_no_other(settings: ServiceSettings, tmp_path: Path) -> None:
    (tmp_path / "real" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    rooted = settings.model_copy(update={"media_roots": (tmp_path / "other", tmp_path / "link")})
    paths = {
        tmp_path / "link" / "a" / "x.mp4": "a/x.mp4",
        tmp_path / "real" / "a" / "x.mp4": "a/x.mp4",
        tmp_path / "link" / ".." / "secret" / "x.mp4": None,
        tmp_path / "linked" / "x.mp4": None,
        Path("/etc/passwd"): None,
    }
    assert {path: below_a_root(str(path), rooted) for path in paths} == paths
    assert below_a_root(str(tmp_path / "link" / "a"), settings) is None


def test_reasons_name_a_file_as_its_reader_may_see_it(told: ServiceSettings, tmp_path: Path) -> None:
    inside, outside = tmp_path / "copies" / "deep" / "gone.mp4", tmp_path / "elsewhere" / "gone.mp4"
    for index, path in (("other", inside), ("tiny", outside)):
        reason = f"{path} does not exist; correct the path in the manifest"
        tell(
            told,
            index,
            "up-red",
            path=str(path),
            outcome="failed",
            reason_code="missing_file",
            reason=reason,
            segment=None,
        )
    with TestClient(create_app(told)) as client:
        answers = [client.get("/v1/clips/up-red")]
        answers += [client.get("/v1/clips", params={"index": each, "outcome": "failed"}) for each in ("other", "tiny")]
        entries = answers[0].json()["indexes"]
    reasons = {entry["index"]: entry["reason"] for entry in entries}
    assert reasons["other"] == "deep/gone.mp4 does not exist; correct the path in the manifest"
    assert reasons["tiny"] == "gone.mp4 does not exist; correct the path in the manifest"
    assert not any(str(tmp_path) in answer.text for answer in answers)


def test_names_of_files_are_no_formulas_to_a_spreadsheet(settings: ServiceSettings) -> None:
    change(settings, "up-red", path="/clips/=1+1.mp4")
    with TestClient(create_app(settings)) as client:
        query = client.post("/v1/queries", json={"clip": "up blue", "k": 1}).json()
        assert query["top"][0]["file_name"] == "=1+1.mp4"
        assert "'=1+1.mp4" in client.get(f"/v1/queries/{query['id']}/export", params={"format": "csv", "limit": 1}).text
