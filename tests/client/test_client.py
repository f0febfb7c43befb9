"""The Python client's calls against a real server on loopback."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from pyarrow import parquet

from motiontrace.client import Client, ClipQuestion, ServiceError, VideoQuestion
from motiontrace.documents.filters import Filter
from motiontrace.documents.regions import Box, Keyframe, TimeRange
from tests.service.asking import until
from tests.service.keys import make_key
from tests.service.scripted import Answer, answering, in_turn
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus


def test_a_query_from_end_to_end(url: str, corpus: Corpus, tmp_path: Path) -> None:
    with Client(url) as service:
        until(lambda: ready(service))
        answer = service.ask(corpus.video("up-red"), "a square, up-red", k=2, index="tiny")
        assert (answer.status, answer.outcome) == ("done", "ranked")
        assert answer.top[0].id == "up-red"
        service.save_video(answer.top[0].id, tmp_path / "saved.mp4")
        assert (tmp_path / "saved.mp4").read_bytes() == corpus.video("up-red").read_bytes()
        assert service.thumbnail("up blue").startswith(b"\xff\xd8")
        assert service.query(answer.id) == answer
        assert [query.id for query in service.queries(status="done", index="tiny")] == [answer.id]
        assert list(service.queries(status="failed")) == []
        assert [clip.id for clip in service.clips(outcome="no_motion")] == ["still"]
        assert [clip.id for clip in service.clips(filter=Filter(metadata={"motion": ["up"]}))] == ["up-red"]
        assert service.clip("up blue").metadata == {"motion": "up blue"}
        assert service.index("tiny").recipe["frames"] == 5
        assert [index.name for index in service.indexes()] == ["tiny"]


def ready(service: Client) -> bool:
    try:
        service.check_ready()
    except ServiceError:
        return False
    return True


def test_the_clips_that_move_like_one(url: str) -> None:
    with Client(url) as service:
        answer = service.more_like("up-red", k=3, index="tiny", filter=Filter(metadata={"motion": ["up blue", "down"]}))
        assert (answer.status, answer.clip, answer.ranked) == ("done", "up-red", 2)
        assert {hit.id for hit in answer.top} == {"up blue", "down-red"}


def test_a_query_is_preconditioned(url: str, corpus: Corpus) -> None:
    with Client(url) as service:
        like = service.more_like("up-red", precondition="whiten", damping=0.5)
        assert (like.precondition, like.damping) == ("whiten", 0.5)
        assert like.statistics is not None
        centred = service.ask(corpus.video("up-red"), "a square", precondition="centre")
        assert (centred.precondition, centred.damping, centred.statistics) == ("centre", None, like.statistics)
        sent = service.submit(corpus.video("up-red"), "a square", precondition="whiten", wait=30)
        assert (sent.damping, sent.statistics) == (0.1, like.statistics)
        (plain,) = service.submit_many([ClipQuestion("up-red")])
        assert (plain.precondition, plain.statistics) == ("none", None)
        with pytest.raises(ServiceError, match="has a damping"):
            service.more_like("up-red", damping=0.5)


def test_a_query_ranks_what_passes_its_filter(url: str, corpus: Corpus) -> None:
    with Client(url) as service:
        only = Filter(metadata={"motion": ["left", "right"]})
        answer = service.ask(corpus.video("up-red"), "a square", filter=only)
        assert answer.filter == only
        assert {hit.id for hit in answer.top} == {"left-red", "right-red"}


def test_questions_are_asked_together_and_answered_in_their_order(url: str, corpus: Corpus) -> None:
    with Client(url) as service:
        questions = [
            VideoQuestion(corpus.video("left-red"), "a square, left-red", k=1),
            ClipQuestion("up-red", k=1),
            VideoQuestion(corpus.video("still"), "a square"),
        ]
        answers = service.ask_many(questions)
        assert [answer.status for answer in answers] == ["done"] * 3
        assert [answer.clip for answer in answers] == [None, "up-red", None]
        assert answers[0].top[0].id == "left-red"
        assert answers[2].outcome == "no_motion"
        clips = service.submit_many([ClipQuestion("up-red"), ClipQuestion("left-red")])
        assert [(answer.clip, answer.status) for answer in clips] == [("up-red", "done"), ("left-red", "done")]


def test_where_one_question_is_refused_none_is_asked(url: str, corpus: Corpus) -> None:
    with Client(url) as service:
        with pytest.raises(ServiceError, match="no clip 'nobody'"):
            service.ask_many([VideoQuestion(corpus.video("left-red"), "a square"), ClipQuestion("nobody")])
        assert list(service.queries()) == []


def test_the_whole_ranking_from_either_end(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motiontrace.client.calls.PAGE", 3)
    with Client(url) as service:
        asked = service.more_like("up-red", k=1)
        down = list(service.ranking(asked.id))
        assert [hit.rank for hit in down] == list(range(1, 8))
        assert list(service.ranking(asked.id, end="bottom")) == down[::-1]
        one = Filter(metadata={"motion": ["left"]})
        assert [hit.id for hit in service.ranking(asked.id, filter=one)] == ["left-red"]


def test_a_ranking_is_exported_as_each_kind_of_file(url: str, tmp_path: Path) -> None:
    with Client(url) as service:
        asked = service.more_like("up-red")
        ids = [hit.id for hit in service.ranking(asked.id)]
        service.export(asked.id, tmp_path / "r.csv")
        with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
            assert [row["id"] for row in csv.DictReader(file)] == ids
        service.export(asked.id, tmp_path / "r.parquet")
        assert parquet.read_table(tmp_path / "r.parquet")["id"].to_pylist() == ids
        service.export(asked.id, tmp_path / "lines", format="jsonl", end="bottom", limit=2)
        lines = (tmp_path / "lines").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["id"] for line in lines] == ids[:-3:-1]
        with pytest.raises(ValueError, match="name the format"):
            service.export(asked.id, tmp_path / "ranking")
        with pytest.raises(ServiceError, match="no query 'nobody'"):
            service.export("nobody", tmp_path / "none.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"home", "r.csv", "r.parquet", "lines"}


def test_a_label_is_set_withdrawn_and_filtered_by(url: str) -> None:
    with Client(url) as service:
        said = service.label("up-red", verdict="unrealistic", decision="drop", note="jumps", author="kim")
        assert said.current is not None
        assert (said.current.verdict, said.current.decision, said.current.tool) == ("unrealistic", "drop", "api")
        kept = service.clips(filter=Filter(without_decision=["drop"]))
        assert "up-red" not in {clip.id for clip in kept}
        assert service.label("up-red").current is None
        assert len(service.labels("up-red").history) == 2


def test_a_label_marks_ranges_and_boxes(url: str) -> None:
    jump = TimeRange(start=0.1, end=0.3, label="bad motion")
    place = Keyframe(time=0.25, x=0.1, y=0.2, width=0.3, height=0.4, visible=False)
    ball = Box(label="ball", keyframes=(place,))
    with Client(url) as service:
        said = service.label("up-red", note="there", ranges=[jump], boxes=[ball])
        assert said.current is not None
        assert (said.current.verdict, said.current.ranges, said.current.boxes) == (None, (jump,), (ball,))
        assert service.labels("up-red") == said
        with pytest.raises(ServiceError, match=r"ranges\.0\.end is 9 s, but the clip is 1 s long"):
            service.label("up-red", ranges=[TimeRange(start=0, end=9, label="")])


def test_a_refusal_carries_the_problem(url: str, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "large.mp4").write_bytes(bytes(32 << 20))
    with Client(url) as service:
        with pytest.raises(ServiceError, match=r"empty \(0 bytes\)") as refused:
            service.ask(tmp_path / "empty.mp4", "a square")
        assert refused.value.problem is not None
        assert refused.value.problem.code == "empty_file"
        with pytest.raises(ServiceError, match="larger than 4,194,304 bytes"):
            service.ask(tmp_path / "large.mp4", "a square")


def test_a_large_body_of_unannounced_length_is_refused(url: str, settings: ServiceSettings) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="video"; filename="v"\r\n\r\n'
        for _ in range(200):
            yield bytes(1 << 16)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = httpx.post(f"{url}/v1/queries", content=body(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "video_too_large")
    assert list((settings.upload_directory / "incoming").iterdir()) == []


def test_a_password_in_an_address_is_shown_nowhere() -> None:
    with (
        answering(in_turn(Answer(body=b"{}"))) as (url, _),
        Client(url.replace("http://", "http://user:secret@")) as service,
    ):
        with pytest.raises(ServiceError, match="127") as another:
            service.indexes()
        assert "secret" not in repr(service) + str(another.value)
    with Client("http://user:secret@127.0.0.1:9", retries=0) as service, pytest.raises(ServiceError) as unreached:
        service.indexes()
    assert "secret" not in str(unreached.value)


def test_the_key_is_sent_and_shown_nowhere(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, header = make_key(settings, "read")
    key = header.removeprefix("Bearer ")
    caplog.set_level(logging.DEBUG)
    with serving(settings) as (_, url):
        with Client(url) as service, pytest.raises(ServiceError, match="API key") as missing:
            service.indexes()
        assert missing.value.problem is not None
        assert missing.value.problem.code == "key_missing"
        with Client(url, api_key=f"{key}\n") as service:  # as a file holds it
            assert [index.name for index in service.indexes()] == ["tiny"]
            with pytest.raises(ServiceError, match="scope 'query'") as refused:
                service.label("up-red", decision="drop")
            assert key not in repr(service) + repr(refused.value) + str(refused.value)
        monkeypatch.setenv("MOTIONTRACE_API_KEY", key)
        with Client(url) as service:
            assert service.clip("up-red").id == "up-red"
    with Client("http://127.0.0.1:9", retries=0) as service, pytest.raises(ServiceError) as unreached:
        service.indexes()
    assert key not in str(unreached.value)
    with pytest.raises(ServiceError, match="copied as a whole") as broken:
        Client(url, api_key=f"{key}\nmt_other")
    assert key not in str(broken.value)
    assert key not in caplog.text


def test_the_client_needs_neither_torch_nor_fastapi() -> None:
    heavy = "{'torch', 'fastapi', 'starlette', 'sqlalchemy', 'numpy', 'faiss', 'cv2', 'av'}"
    code = f"import sys, motiontrace.client; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
