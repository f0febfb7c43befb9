"""What the client does when a service is busy, broken or none: real servers on loopback that misbehave."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from motiontrace.client import Client, ServiceError
from tests.service.scripted import Answer, answering, in_turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.conftest import Corpus

INDEXES = Answer(body=b'{"indexes": []}')


def unavailable(code: str) -> Answer:
    problem = {
        "type": "x",
        "title": "x",
        "status": 503,
        "code": code,
        "detail": "Full.",
        "todo": "Later.",
        "instance": "/v1/queries",
    }
    headers = {"content-type": "application/problem+json", "retry-after": "0"}
    return Answer(503, headers, json.dumps(problem).encode())


BUSY = unavailable("queue_full")
HANGS_UP = Answer(0)

pytestmark = pytest.mark.usefixtures("short_pauses")


def test_a_video_is_read_as_it_is_sent(tmp_path: Path) -> None:
    with (tmp_path / "large.mp4").open("wb") as file:
        file.truncate(64 << 20)
    with answering(in_turn(BUSY)) as (url, requests), Client(url, retries=0) as service:
        tracemalloc.start()
        with pytest.raises(ServiceError, match="Full"):
            service.submit(tmp_path / "large.mp4", "a square")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert requests[0].size > 64 << 20
    assert peak < 8 << 20


def test_a_service_that_is_busy_twice_is_asked_a_third_time() -> None:
    with answering(in_turn(BUSY, BUSY, INDEXES)) as (url, requests), Client(url) as service:
        assert service.indexes() == []
        assert len(requests) == 3


def test_a_video_is_sent_again_whole_where_the_queue_was_full(url: str, corpus: Corpus) -> None:
    with Client(url) as service:
        queued = Answer(202, body=service.submit(corpus.video("still"), "a square").model_dump_json().encode())
    with answering(in_turn(BUSY, BUSY, queued)) as (url, requests), Client(url) as service:
        assert service.submit(corpus.video("up-red"), "a square").status == "queued"
        sizes = {request.size for request in requests}
    assert len(requests) == 3
    assert len(sizes) == 1
    assert sizes.pop() > corpus.video("up-red").stat().st_size


@pytest.mark.parametrize(
    "failure", [HANGS_UP, Answer(502), Answer(503), unavailable("database_unavailable"), Answer(504)]
)
def test_what_may_have_been_processed_is_repeated_only_where_that_is_harmless(failure: Answer, corpus: Corpus) -> None:
    labels = Answer(body=b'{"clip": "a", "current": null, "history": [], "history_total": 0}')
    with answering(in_turn(failure, INDEXES)) as (url, requests), Client(url) as service:
        assert service.indexes() == []
        assert len(requests) == 2
    with answering(in_turn(failure, labels)) as (url, requests), Client(url) as service:
        assert service.label("a").current is None
        assert len(requests) == 2
    with answering(in_turn(failure, INDEXES)) as (url, requests), Client(url) as service:
        with pytest.raises(ServiceError):
            service.submit(corpus.video("up-red"), "a square")
        assert len(requests) == 1
        with answering(in_turn(failure, INDEXES)) as (url, requests), Client(url) as service:
            with pytest.raises(ServiceError):
                service.delete("one")  # the second would forget what the first has cancelled
            assert len(requests) == 1


def test_retries_are_bounded_and_the_last_answer_is_told() -> None:
    with answering(in_turn(BUSY)) as (url, requests), Client(url, retries=2) as service:
        with pytest.raises(ServiceError, match=r"Full\. Later\.") as refused:
            service.indexes()
        assert refused.value.problem is not None
        assert len(requests) == 3


def test_a_pause_that_is_asked_for_is_kept_unless_it_is_beyond_the_deadline(corpus: Corpus) -> None:
    later = Answer(429, {**BUSY.headers, "retry-after": "1"}, BUSY.body)
    with answering(in_turn(later, INDEXES)) as (url, requests), Client(url) as service:
        started = time.monotonic()
        service.indexes()
        assert time.monotonic() - started >= 1
    much_later = Answer(503, {**BUSY.headers, "retry-after": "30"}, BUSY.body)
    with answering(in_turn(much_later)) as (url, requests), Client(url) as service:
        with pytest.raises(ServiceError, match="Full"):
            service.ask(corpus.video("up-red"), "a square", timeout=5)
        assert len(requests) == 1


def test_not_being_ready_is_told_at_once() -> None:
    with answering(in_turn(BUSY)) as (url, requests), Client(url) as service:
        with pytest.raises(ServiceError, match="Full"):
            service.check_ready()
        assert len(requests) == 1


def test_a_download_that_breaks_off_is_begun_again_and_never_left_half(tmp_path: Path) -> None:
    whole, half = Answer(body=b"x" * 1000), Answer(body=b"x" * 500, length=1000)
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"before")
    with answering(in_turn(half)) as (url, _), Client(url, retries=1) as service, pytest.raises(ServiceError):
        service.save_video("a", file)
    assert file.read_bytes() == b"before"
    with answering(in_turn(half, whole)) as (url, _), Client(url) as service:
        service.save_video("a", file)
    assert file.read_bytes() == whole.body
    assert list(tmp_path.iterdir()) == [file]


def test_nobody_there_is_told_as_such() -> None:
    with (
        Client("http://127.0.0.1:9", retries=1) as service,
        pytest.raises(ServiceError, match="motiontrace serve") as unreached,
    ):
        service.indexes()
    assert unreached.value.problem is None


@pytest.mark.parametrize("address", ["http://127.0.0.1:port", "127.0.0.1:8600", "ftp://127.0.0.1"])
def test_what_is_no_address_is_told_as_such(address: str) -> None:
    with pytest.raises(ServiceError, match=r"http://|is the address right"):
        Client(address).indexes()


@pytest.mark.parametrize("status", [200, 307, 404])
def test_another_server_is_told_as_such(status: int) -> None:
    page = Answer(status, {"location": "https://elsewhere.example/"}, b"<html>")
    with (
        answering(in_turn(page)) as (other, _),
        Client(other) as service,
        pytest.raises(ServiceError, match=f"answered {status} .*not as a motiontrace service does"),
    ):
        service.indexes()


def test_a_redirect_is_not_ready() -> None:
    redirect = in_turn(Answer(307, {"location": "/"}))
    with answering(redirect) as (other, _), Client(other) as service, pytest.raises(ServiceError):
        service.check_ready()
