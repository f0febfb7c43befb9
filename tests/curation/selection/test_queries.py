"""Queries that vote: read from folders and manifests, computed by the real model of a real index, or known before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from motiontrace.attribution.engine import load_engine
from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import IndexRepository, JobRepository, QueryRepository
from motiontrace.curation.selection.errors import SelectionError
from motiontrace.curation.selection.queries import LeftOut, QueryGradients, StoredQuery, VideoQuery, Voter, read_queries
from motiontrace.curation.selection.run import make_selection
from motiontrace.curation.selection.settings import Amount, SelectionSettings
from motiontrace.indexer.manifest import ManifestError
from tests.service.conftest import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from motiontrace.catalog.records import IndexRecord
    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

PROMPT = "a square moves"
ANSWER: dict[str, Any] = {"outcome": "ranked", "result": {}, "timings": {}, "info": {}}


@pytest.fixture
def settings(corpus: Corpus, tmp_path: Path) -> ServiceSettings:
    return copy_of(corpus, tmp_path)


@pytest.fixture
def database(settings: ServiceSettings) -> Iterator[Database]:
    with closing(Database.open(settings.url)) as database:
        yield database


@pytest.fixture
def index(database: Database) -> IndexRecord:
    with database.reading() as session:
        return IndexRepository(session).get("tiny")


@pytest.fixture
def gradients(database: Database, settings: ServiceSettings, index: IndexRecord) -> QueryGradients:
    return QueryGradients(database, settings, index, device="cpu")


@pytest.fixture
def without_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr("motiontrace.attribution.engine.load_engine", refuse)


def voted(answer: Voter | LeftOut) -> Voter:
    assert isinstance(answer, Voter), answer
    return answer


def test_a_video_is_computed_by_the_recipe_of_the_index_and_kept(
    corpus: Corpus,
    gradients: QueryGradients,
    database: Database,
    settings: ServiceSettings,
    index: IndexRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    video = corpus.video("up-red")
    first = voted(gradients.of(VideoQuery(video, PROMPT)))
    engine = load_engine(str(corpus.model), corpus.recipe, device="cpu")
    np.testing.assert_array_equal(first.gradient, engine.compute(video, PROMPT).vector)
    digest = hashlib.sha256(video.read_bytes()).hexdigest()
    assert first.document == {"video": str(video), "prompt": PROMPT, "video_sha256": digest}
    still = gradients.of(VideoQuery(corpus.video("still"), PROMPT))
    assert isinstance(still, LeftOut)
    assert still.reason.startswith("nothing moves in it: its motion peaks at 0")

    monkeypatch.setattr(
        "motiontrace.attribution.engine.load_engine", lambda *arguments, **more: pytest.fail("loaded again")
    )
    anew = QueryGradients(database, settings, index)
    np.testing.assert_array_equal(voted(anew.of(VideoQuery(video, PROMPT))).gradient, first.gradient)
    assert anew.of(VideoQuery(corpus.video("still"), PROMPT)) == still
    with pytest.raises(pytest.fail.Exception, match="loaded again"):
        anew.of(VideoQuery(video, f"{PROMPT} up"))


@pytest.mark.usefixtures("without_model")
def test_what_the_service_has_computed_is_not_computed_again(
    corpus: Corpus, gradients: QueryGradients, database: Database, index: IndexRecord
) -> None:
    video = corpus.video("up-red")
    digest = hashlib.sha256(video.read_bytes()).hexdigest()
    asked = answered(database, index, np.ones(512, np.float32) / 512**0.5, video_sha256=digest)
    for query in (VideoQuery(video, PROMPT), StoredQuery(asked)):
        np.testing.assert_array_equal(voted(gradients.of(query)).gradient, np.ones(512, np.float32) / 512**0.5)
    document = voted(gradients.of(StoredQuery(asked))).document
    assert document == {"query": asked, "video_sha256": digest, "prompt": PROMPT}


def answered(database: Database, index: IndexRecord, gradient: np.ndarray | None, **more: Any) -> str:
    """A query that a worker has answered."""
    asked = {"prompt": PROMPT, "video_path": "/v", "video_sha256": "a" * 64, "k": 1, **more}
    with database.writing() as session:
        QueryRepository(session).create(index, **asked)
        claimed = JobRepository(session).claim_next("w", 60)
        assert claimed is not None
        outcome = ANSWER | {"outcome": "no_motion" if gradient is None else "ranked"}
        assert JobRepository(session).finish(claimed[1], **outcome, gradient=gradient)
        return claimed[0].id


@pytest.mark.usefixtures("without_model")
def test_stored_queries_that_say_nothing_are_left_out_with_their_reason(
    gradients: QueryGradients, database: Database, index: IndexRecord
) -> None:
    still = answered(database, index, None)
    with database.writing() as session:
        indexes = IndexRepository(session)
        other = indexes.create("other", recipe="{}", recipe_digest="e" * 64, model="/m")
    foreign = answered(database, other, np.ones(4, np.float32))
    with database.writing() as session:
        asked = {"prompt": PROMPT, "video_path": "/v", "video_sha256": "b" * 64, "k": 1}
        queued = QueryRepository(session).create(index, **asked).id
    said = {}
    for query_id in (still, foreign, queued, "unknown"):
        answer = gradients.of(StoredQuery(query_id))
        assert isinstance(answer, LeftOut)
        assert answer.name == f"query {query_id}"
        said[query_id] = answer.reason
    assert said == {
        still: "nothing moves in it",
        foreign: "it was asked of another index than tiny, whose gradients cannot be compared",
        queued: "it is queued: wait until it is done",
        "unknown": "there is no query of this id",
    }


@pytest.mark.usefixtures("without_model")
def test_a_query_of_a_clip_votes_too(gradients: QueryGradients, database: Database, index: IndexRecord) -> None:
    with database.writing() as session:
        asked = (
            QueryRepository(session)
            .create_answered(
                index,
                clip_id="up-red",
                k=1,
                filter=None,
                outcome="ranked",
                gradient=np.eye(512, dtype=np.float32)[0],
                result={},
                timings={},
            )
            .id
        )
    assert voted(gradients.of(StoredQuery(asked))).document == {"query": asked, "clip": "up-red"}


def test_videos_that_cannot_be_used_are_left_out_and_the_others_go_on(
    corpus: Corpus, gradients: QueryGradients, tmp_path: Path
) -> None:
    wanted = [
        VideoQuery(corpus.video("broken"), PROMPT),
        VideoQuery(tmp_path / "missing.mp4", PROMPT),
        VideoQuery(corpus.video("up-red"), None),
        VideoQuery(corpus.video("up-red"), PROMPT),
    ]
    answers = [gradients.of(query) for query in wanted]
    reasons = [answer.reason if isinstance(answer, LeftOut) else None for answer in answers]
    assert "is not a video" in (reasons[0] or "")
    assert reasons[1:3] == [
        "its file does not exist",
        "it has no prompt: write the one that it was generated from into up-red.txt",
    ]
    assert isinstance(answers[3], Voter)


def test_names_of_files_and_prompts_that_are_no_text_spoil_nothing(
    corpus: Corpus,
    gradients: QueryGradients,
    index: IndexRecord,
    database: Database,
    settings: ServiceSettings,
    tmp_path: Path,
) -> None:
    odd = tmp_path / os.fsdecode(b"up-\xff.mp4")
    shutil.copy(corpus.video("up-red"), odd)
    answers = [gradients.of(VideoQuery(odd, PROMPT)), gradients.of(VideoQuery(odd, "a\0b"))]
    assert isinstance(answers[1], LeftOut) and answers[1].reason == "The prompt has a null character: remove it."
    selection = make_selection(database, settings, index, answers, SelectionSettings(budget=Amount.parse("2")))
    assert [query["video"] for query in selection.queries] == [str(tmp_path / r"up-\udcff.mp4")] * 2


@pytest.fixture
def generated(corpus: Corpus, tmp_path: Path) -> Path:
    """A folder of generated videos, without any prompt."""
    folder = tmp_path / "generated"
    folder.mkdir()
    for name in ("up-red", "left-red"):
        shutil.copy(corpus.video(name), folder)
    (folder / "notes.md").write_text("no video")
    return folder


def test_prompts_are_read_from_texts_beside_the_videos(generated: Path) -> None:
    (generated / "up-red.txt").write_text("\ufeffa square moves up\n", encoding="utf-8")
    assert read_queries(generated) == [
        VideoQuery(generated / "left-red.mp4", None),
        VideoQuery(generated / "up-red.mp4", "a square moves up"),
    ]


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_prompts_are_read_from_a_manifest_in_the_folder_or_named(generated: Path, name: str) -> None:
    row = {"file_name": "up-red.mp4", "prompt": "a square moves up"}
    lines = [json.dumps(row)] if name.endswith("jsonl") else [",".join(row), ",".join(row.values())]
    (generated / name).write_text("\n".join(lines) + "\n")
    expected = [VideoQuery(generated / "up-red.mp4", "a square moves up")]
    assert read_queries(generated) == read_queries(generated / name) == expected


def test_what_holds_no_queries_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"has neither videos nor a metadata\.jsonl or metadata\.csv"):
        read_queries(tmp_path)
    with pytest.raises(ManifestError, match="there is no file or folder"):
        read_queries(tmp_path / "unknown")
