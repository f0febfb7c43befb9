"""Workers that are killed under load: every query that was accepted comes to its end, and to the right one."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import QueryRepository
from motiontrace.client import Client
from motiontrace.service.app import Server, create_app
from motiontrace.service.settings import ServiceSettings
from motiontrace.service.worker.process import work
from tests import processes
from tests.service.asking import until
from tests.service.serving import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from motiontrace.catalog.records import QueryRecord
    from tests.service.conftest import Corpus

QUERIES, KILLS, WORKERS = 8, 3, 2


def run_worker(home: Path, database_url: str | None) -> None:
    work(ServiceSettings(home=home, database_url=database_url, device="cpu", lease_seconds=1))


class Workers:
    """So many worker processes; each that is killed is followed by another."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._processes: dict[int, ForkServerProcess] = {}

    def start(self) -> None:
        process = processes.start(run_worker, self._settings.home, self._settings.database_url)
        assert process.pid is not None
        self._processes[process.pid] = process

    def kill(self, pid: int) -> None:
        process = self._processes.pop(pid)
        os.kill(pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL

    def end(self) -> None:
        for pid in list(self._processes):
            self.kill(pid)


@pytest.fixture
def workers(settings: ServiceSettings) -> Iterator[Workers]:
    workers = Workers(settings)
    try:
        yield workers
    finally:
        workers.end()


def test_every_accepted_query_comes_to_its_end(settings: ServiceSettings, corpus: Corpus, workers: Workers) -> None:
    clips = ["up-red", "left blue", "still"]
    with ExitStack() as stack:
        url = stack.enter_context(running(Server(create_app(settings, worker=False), host="127.0.0.1", port=0)))
        service = stack.enter_context(Client(url))
        database = Database.open(settings.url)
        stack.callback(database.close)

        def rows() -> list[QueryRecord]:
            with database.reading() as session:
                return [QueryRepository(session).get(name) for name in asked]  # type: ignore[misc]

        asked = [service.submit(corpus.video(clips[number % 3]), f"number {number}").id for number in range(QUERIES)]
        for _ in range(WORKERS):
            workers.start()
        killed: set[str] = set()
        while len(killed) < KILLS:

            def in_hand() -> list[QueryRecord]:
                return [row for row in rows() if row.status == "running" and row.id not in killed]

            row = until(in_hand, 60)[0]
            assert row.worker is not None
            killed.add(row.id)
            workers.kill(int(row.worker.split("-")[-2]))
            workers.start()
        until(lambda: all(row.status == "done" for row in rows()), 120)

        ended = {row.id: row for row in rows()}
        # One may have been done between the look and the kill.
        assert all(row.attempts == 1 for name, row in ended.items() if name not in killed)
        assert sum(ended[name].attempts == 2 for name in killed) >= KILLS // 2
        for number, name in enumerate(asked):
            row, clip = ended[name], clips[number % 3]
            assert (row.outcome, row.prompt) == ("no_motion" if clip == "still" else "ranked", f"number {number}")
            if clip != "still":
                assert row.result is not None
                assert row.result["top"][0]["id"].split("-")[0].split(" ")[0] == clip.split("-")[0].split(" ")[0]
        kept = [path for path in settings.upload_directory.iterdir() if path.name != "incoming"]
        assert len(kept) == QUERIES
