"""Workers that are killed under load: does every query that was accepted end, and end once?

An API without a worker of its own, two worker processes and a database; queries come in as fast as they are answered,
and every 20 s one of the workers gets a SIGKILL and another one starts. A trigger in the database writes down each time
that a query ends, so that an end that happens twice cannot hide.

    python -m benchmarks.endurance --home .demo/home --database postgresql --minutes 5
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select, text

from benchmarks.report import report
from motiontrace.catalog.database import Database
from motiontrace.catalog.records import QueryRecord
from motiontrace.client import Client, ServiceError
from tests.catalog import postgresql

if TYPE_CHECKING:
    from collections.abc import Sequence

WAITING = 8  # queries on their way at any time
LEASE_SECONDS = "10"  # shorter than the default, so that the queries of killed workers are not most of the measurement
AUDIT = {
    "sqlite": [
        "CREATE TABLE ends (query_id TEXT, status TEXT)",
        "CREATE TRIGGER ended AFTER UPDATE OF status ON queries WHEN new.status IN ('done', 'failed', 'cancelled') "
        "BEGIN INSERT INTO ends VALUES (new.id, new.status); END",
    ],
    "postgresql": [
        "CREATE TABLE ends (query_id TEXT, status TEXT)",
        "CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO ends VALUES (new.id, new.status); RETURN NULL; END $$",
        "CREATE TRIGGER ended AFTER UPDATE OF status ON queries FOR EACH ROW "
        "WHEN (new.status IN ('done', 'failed', 'cancelled')) EXECUTE FUNCTION note_end()",
    ],
}


class Processes:
    """The API and its workers, as they are started from a shell."""

    def __init__(self, home: Path, url: str | None, workers: int) -> None:
        self.port = free_port()
        self._log = (home / "endurance.log").open("w")
        self._environment = {
            **os.environ,
            "MOTIONTRACE_HOME": str(home),
            "MOTIONTRACE_PORT": str(self.port),
            "OMP_NUM_THREADS": "1",
            "MOTIONTRACE_LEASE_SECONDS": LEASE_SECONDS,
            **({} if url is None else {"MOTIONTRACE_DATABASE_URL": url}),
        }
        self.api = self._start("serve", "--no-worker")
        self.workers = [self._start("worker") for _ in range(workers)]
        self.kills = 0

    def kill_one(self) -> None:
        """SIGKILL a worker, and start another in its place."""
        victim = self.workers.pop(random.randrange(len(self.workers)))
        victim.kill()
        victim.wait()
        self.kills += 1
        self.workers.append(self._start("worker"))

    def end(self) -> None:
        for process in (*self.workers, self.api):
            process.terminate()
        for process in (*self.workers, self.api):
            process.wait(30)
        self._log.close()

    def _start(self, *verb: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "motiontrace", *verb]
        return subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=subprocess.STDOUT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".demo/home"), help="Home of the demo, which is copied.")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kill-every", type=float, default=20.0, help="Seconds.")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    videos = sorted((chosen.home.parent / "corpus" / "heldout").glob("*.mp4"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mt-endurance-")))
        home = shutil.copytree(chosen.home, folder / "home", ignore=shutil.ignore_patterns("uploads", "thumbnails"))
        source = Database.open(f"sqlite:///{home / 'catalog.db'}")
        url = None
        if chosen.database == "postgresql":
            directory = stack.enter_context(postgresql.cluster())
            url = f"postgresql+psycopg://postgres@/postgres?host={directory}"
            postgresql.copy_catalog(source, url)
        database = Database.open(url or f"sqlite:///{home / 'catalog.db'}")
        with database.writing() as session:
            session.execute(text("DELETE FROM queries"))
            for statement in AUDIT[chosen.database]:
                session.execute(text(statement))
        processes = Processes(home, url, chosen.workers)
        stack.callback(processes.end)
        rows = [_run(processes, database, videos, chosen)]
    report(f"endurance-{chosen.database}", f"{chosen.workers} workers, one killed every {chosen.kill_every:g} s", rows)


def _run(processes: Processes, database: Database, videos: Sequence[Path], chosen: Any) -> dict[str, Any]:
    service = Client(f"http://127.0.0.1:{processes.port}")
    wait_ready(service)
    accepted: list[str] = []
    errors: Counter[str] = Counter()
    took: list[float] = []
    end = time.monotonic() + 60 * chosen.minutes

    def ask(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            started = time.monotonic()
            try:
                video = chance.choice(videos)
                query = service.submit(video, f"{video.stem}, prompt {chance.random()}")
                accepted.append(query.id)
                service.wait(query, timeout=600)
                took.append(time.monotonic() - started)
            except ServiceError as error:
                errors[str(error)[:200]] += 1

    with ThreadPoolExecutor(WAITING) as pool:
        asking = [pool.submit(ask, number) for number in range(WAITING)]
        while time.monotonic() < end:
            time.sleep(min(chosen.kill_every, max(0.0, end - time.monotonic())))
            if time.monotonic() < end:
                processes.kill_one()
        for each in asking:
            each.result()
    for message, count in errors.items():
        print(f"{count} x {message}")
    with database.reading() as session:
        rows = dict(session.execute(select(QueryRecord.id, QueryRecord.status)).all())
        again = [attempts for (attempts,) in session.execute(select(QueryRecord.attempts)) if attempts > 1]
        ends = Counter(query_id for (query_id,) in session.execute(text("SELECT query_id FROM ends")))
    assert all(count == 1 for count in ends.values()), "a query ended twice"
    assert set(ends) == set(accepted) == rows.keys(), "a query was lost"
    return {
        "database": chosen.database,
        "minutes": chosen.minutes,
        "workers killed": processes.kills,
        "accepted": len(accepted),
        "done": sum(status == "done" for status in rows.values()),
        "failed": sum(status == "failed" for status in rows.values()),
        "ended once": len(ends),
        "taken over": len(again),
        "refused or lost calls": sum(errors.values()),
        "queries/s": len(accepted) / (60 * chosen.minutes),
        "p50 s": float(np.percentile(took, 50)),
        "p95 s": float(np.percentile(took, 95)),
        "worst s": max(took),
    }


def wait_ready(service: Client, seconds: float = 120) -> None:
    """Wait until the service can answer."""
    until = time.monotonic() + seconds
    while True:
        try:
            return service.check_ready()
        except ServiceError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
