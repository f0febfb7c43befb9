"""The asynchronous client against real servers on loopback."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.client import AsyncClient, Client, ClipQuestion, ServiceError, VideoQuestion
from motiontrace.documents.filters import Filter
from motiontrace.documents.regions import TimeRange
from motiontrace.service.app import Server, create_app
from tests.service.keys import make_key
from tests.service.scripted import Answer, answering, cutting_events, in_turn
from tests.service.serving import running, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from motiontrace.documents.queries import Query
    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus


pytestmark = pytest.mark.usefixtures("short_pauses")


def with_client(url: str, work: Callable[[AsyncClient], Awaitable[Any]], **options: Any) -> Any:
    """What `work` returns."""

    async def main() -> Any:
        async with AsyncClient(url, **options) as service:
            return await work(service)

    return asyncio.run(main())


def test_both_clients_have_the_same_calls() -> None:
    def signatures(kind: type) -> dict[str, Any]:
        public = inspect.getmembers(kind, inspect.isfunction)
        return {name: inspect.signature(call).parameters for name, call in public if not name.startswith("_")}

    assert signatures(AsyncClient) == signatures(Client)
    assert inspect.signature(AsyncClient.__init__) == inspect.signature(Client.__init__)


def test_every_call(url: str, corpus: Corpus, tmp_path: Path) -> None:
    async def work(service: AsyncClient) -> None:
        heard: list[Query] = []
        answer = await service.ask(corpus.video("up-red"), "a square, up-red", k=2, index="tiny", on_event=heard.append)
        assert (answer.status, answer.top[0].id) == ("done", "up-red")
        assert (heard[0].status, heard[-1]) == ("queued", answer)
        assert await service.wait(await service.submit(corpus.video("still"), "a square", wait=30)) is not None
        assert [name async for name, _ in service.events(answer.id)] == ["done"]
        assert await service.query(answer.id) == answer
        assert len([query async for query in service.queries(status="done")]) == 2
        like = await service.more_like("up-red", k=1, filter=Filter(metadata={"motion": ["down"]}))
        assert [hit.id for hit in like.top] == ["down-red"]
        assert (await service.more_like("up-red", precondition="whiten", damping=2)).damping == 2
        sent = await service.submit(corpus.video("still"), "a square", precondition="centre", wait=30)
        assert sent.precondition == "centre"
        assert (await service.ask(corpus.video("still"), "a", precondition="whiten")).damping == 0.1
        questions = [VideoQuestion(corpus.video("left-red"), "a square"), ClipQuestion("up-red")]
        assert [each.status for each in await service.ask_many(questions)] == ["done", "done"]
        assert (await service.submit_many([ClipQuestion("left-red")]))[0].clip == "left-red"
        ranking = [hit.id async for hit in service.ranking(answer.id, end="bottom")]
        assert ranking[-1] == "up-red"
        await service.export(answer.id, tmp_path / "r.jsonl", end="bottom")
        lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["id"] for line in lines] == ranking
        await service.delete(answer.id)
        with pytest.raises(ServiceError, match="no query"):
            await service.query(answer.id)
        assert [clip.id async for clip in service.clips(outcome="no_motion")] == ["still"]
        assert (await service.clip("up blue")).metadata == {"motion": "up blue"}
        await service.save_video("up-red", tmp_path / "saved.mp4")
        assert (tmp_path / "saved.mp4").read_bytes() == corpus.video("up-red").read_bytes()
        assert (await service.thumbnail("up-red")).startswith(b"\xff\xd8")
        jump = TimeRange(start=0.1, end=0.3, label="bad motion")
        said = await service.label("up-red", decision="keep", ranges=[jump])
        assert said == await service.labels("up-red")
        assert said.history[0].ranges == (jump,)
        assert [index.name for index in await service.indexes()] == ["tiny"]
        assert (await service.index("tiny")).recipe["frames"] == 5
        await service.check_ready()

    with_client(url, work)


def test_twenty_queries_at_once(url: str, corpus: Corpus) -> None:
    names = [clip for clip in ("up-red", "down-red", "left-red", "right-red") for _ in range(5)]

    async def work(service: AsyncClient) -> list[Query]:
        asked = [
            service.ask(corpus.video(name), f"a square, {name}", k=number + 1) for number, name in enumerate(names)
        ]
        return await asyncio.gather(*asked)

    answers = with_client(url, work)
    assert [(answer.status, answer.k) for answer in answers] == [("done", number + 1) for number in range(20)]
    assert [answer.top[0].id for answer in answers] == names
    assert len({answer.id for answer in answers}) == 20


def test_a_wait_outlasts_an_event_stream_that_breaks_off(url: str, corpus: Corpus, slow_answers: None) -> None:
    async def submit(service: AsyncClient) -> Query:
        return await service.submit(corpus.video("up-red"), "a square")

    asked = with_client(url, submit)

    async def wait(service: AsyncClient) -> Query:
        with pytest.raises(ServiceError, match="broke off"):
            [event async for event in service.events(asked.id)]
        return await service.wait(asked)

    with answering(cutting_events(url)) as (broken, _):
        assert with_client(broken, wait).status == "done"


def test_a_cancelled_query_ends_its_wait_and_a_wait_ends_with_its_time(
    settings: ServiceSettings, corpus: Corpus
) -> None:
    async def work(service: AsyncClient) -> None:
        asked = await service.submit(corpus.video("up-red"), "a square")
        with pytest.raises(ServiceError, match=f"{asked.id} is still queued after 1 s"):
            await service.wait(asked, timeout=1)
        waiting = asyncio.create_task(service.wait(asked, timeout=20))
        await asyncio.sleep(0.3)
        await service.delete(asked.id)
        assert (await waiting).status == "cancelled"

    with running(Server(create_app(settings, worker=False), host="127.0.0.1", port=0)) as url:
        with_client(url, work)


def test_a_wait_that_is_given_up_leaves_no_connection(settings: ServiceSettings, corpus: Corpus) -> None:
    async def work(service: AsyncClient) -> None:
        asked = await service.submit(corpus.video("up-red"), "a square")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.wait(asked), 0.5)
        async for _ in service.events(asked.id):
            break

    with running(Server(create_app(settings, worker=False), host="127.0.0.1", port=0)) as url:
        with_client(url, work)
        ended = time.monotonic()
    assert time.monotonic() - ended < 5  # a stream that stays open holds up the server's end for 10 s


def test_a_service_that_is_busy_twice_is_asked_a_third_time(tmp_path: Path) -> None:
    busy, whole = Answer(503, {"retry-after": "0"}), Answer(body=b"video")

    async def save(service: AsyncClient) -> None:
        await service.save_video("a", tmp_path / "a.mp4")

    with answering(in_turn(busy, busy, whole)) as (url, requests):
        with_client(url, save)
        assert len(requests) == 3
    assert (tmp_path / "a.mp4").read_bytes() == b"video"


def test_the_key_is_sent_and_not_shown(settings: ServiceSettings) -> None:
    _, header = make_key(settings, "read")
    key = header.removeprefix("Bearer ")

    async def work(service: AsyncClient) -> str:
        assert [index.name for index in await service.indexes()] == ["tiny"]
        return repr(service)

    with serving(settings) as (_, url):
        shown = with_client(url, work, api_key=key)
    assert shown == f"AsyncClient({url!r})"
