"""Damaged and hostile video files, sent to a real service: is each refused or answered, and does the service live on?

`motiontrace serve` in a process of its own over the demo's index; several connections send files that
benchmarks.mutations makes from real ones, each with Prefer: wait, while another asks /healthz all the time. Files that
the decoder broke down on are kept, for whoever wants to know why.

    python -m benchmarks.fuzz --count 1000 --clips ../shared/clips
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from benchmarks.endurance import free_port, wait_ready
from benchmarks.mutations import Damaged, damaged, originals
from benchmarks.report import report
from motiontrace.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 4
LARGEST_CLIP = 200_000  # bytes; others would only be sent more slowly
BROKEN = frozenset({"decoder_crashed", "decoder_timeout", "decoder_out_of_memory"})


@dataclass
class Outcomes:
    """What became of the files."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # by outcome
    wrong: list[str] = field(default_factory=list)  # answers that the service must not give
    broke: list[Damaged] = field(default_factory=list)  # files that the decoder did not finish with
    slowest_health: float = 0.0
    peak_rss: int = 0

    def rows(self, wall: float) -> list[dict[str, Any]]:
        """The table: outcomes, the most frequent first, then all together."""
        every = [second for seconds in self.seconds.values() for second in seconds]
        rows = [_row(*each) for each in sorted(self.seconds.items(), key=lambda each: -len(each[1]))]
        last = {
            "files/s": len(every) / wall,
            "slowest /healthz s": self.slowest_health,
            "API peak MiB": self.peak_rss >> 20,
        }
        return [*rows, _row("all", every) | last]


def _row(outcome: str, took: list[float]) -> dict[str, Any]:
    row = {"outcome": outcome, "files": len(took), "mean s": sum(took) / len(took), "worst s": max(took)}
    return row | dict.fromkeys(("files/s", "slowest /healthz s", "API peak MiB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".demo/home"), help="A home with an index, which is copied.")
    parser.add_argument("--clips", type=Path, help="A folder of more real clips to damage.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(".bench/fuzz"), help="Where files go that broke a decoder.")
    chosen = parser.parse_args()
    clips = [] if chosen.clips is None else sorted(each for each in chosen.clips.iterdir() if _small_video(each))
    started = time.monotonic()
    outcomes = fuzz(chosen.home, clips, chosen.count, chosen.seed)
    report("fuzz", f"{chosen.count} damaged files, seed {chosen.seed}", outcomes.rows(time.monotonic() - started))
    for each in outcomes.broke:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        path = chosen.keep / hashlib.sha256(each.content).hexdigest()[:16]
        path.write_bytes(each.content)
        print(f"{path}: {each.what}")
    if outcomes.wrong:
        raise SystemExit("\n".join(outcomes.wrong))


def fuzz(home: Path, clips: list[Path], count: int, seed: int) -> Outcomes:
    """Send `count` files to a service over a copy of `home`.

    What it must never do is in `wrong` of the outcomes: answers of another kind, a dead process, one left behind.
    """
    outcomes = Outcomes()
    files = damaged(originals(clips), count, seed)
    lock = threading.Lock()
    with _service(home) as (process, url):

        def send_all(number: int) -> None:
            with httpx.Client(base_url=url, timeout=180) as client:
                while True:
                    with lock:
                        if (file := next(files, None)) is None:
                            return
                    _send(client, file, outcomes)

        with _watched(process, url, outcomes), ThreadPoolExecutor(CONNECTIONS) as pool:
            for each in [pool.submit(send_all, number) for number in range(CONNECTIONS)]:
                each.result()
        children = process.children(recursive=True)
    left = [child.pid for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    if left:
        outcomes.wrong.append(f"processes left behind: {left}")
    return outcomes


def _send(client: httpx.Client, file: Damaged, outcomes: Outcomes) -> None:
    started = time.monotonic()
    prompt = hashlib.sha256(file.content).hexdigest()  # a new one for each: no answer is taken from an earlier query
    try:
        response = client.post(
            "/v1/queries",
            files={"video": ("video.mp4", file.content)},
            data={"prompt": prompt},
            headers={"prefer": "wait=60"},
        )
        outcome, code = _outcome(response)
    except (httpx.HTTPError, KeyError, ValueError) as error:
        outcomes.wrong.append(f"{file.what}: {type(error).__name__}: {error}")
        return
    outcomes.seconds[outcome].append(time.monotonic() - started)
    if code in BROKEN:
        outcomes.broke.append(file)
    if response.status_code not in (201, 413, 422):
        outcomes.wrong.append(f"{file.what}: {response.status_code} {response.text[:200]}")


def _outcome(response: httpx.Response) -> tuple[str, str]:
    """How the answer is counted, and its code."""
    answer = response.json()
    if response.status_code >= 400:
        return f"{response.status_code} {answer['code']}", answer["code"]
    if answer["status"] == "failed":
        return f"201 failed {answer['error']['code']}", answer["error"]["code"]
    return f"{response.status_code} {answer['status']} {answer['outcome']}", ""


@contextmanager
def _service(home: Path) -> Iterator[tuple[psutil.Process, str]]:
    with tempfile.TemporaryDirectory(prefix="mt-fuzz-") as folder:
        copied = shutil.copytree(home, Path(folder) / "home", ignore=shutil.ignore_patterns("uploads", "thumbnails"))
        port = free_port()
        command = [sys.executable, "-m", "motiontrace", "serve", "--home", str(copied), "--port", str(port)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MOTIONTRACE_LOG_LEVEL": "error"}
        started = subprocess.Popen([*command, "--device", "cpu"], env=environment)
        try:
            with Client(f"http://127.0.0.1:{port}") as client:
                wait_ready(client)
            yield psutil.Process(started.pid), f"http://127.0.0.1:{port}"
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(30)


@contextmanager
def _watched(process: psutil.Process, url: str, outcomes: Outcomes) -> Iterator[None]:
    """Ask the process for its health, and look at its memory, ten times a second."""
    ended = threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=url, timeout=10) as client:
            while not ended.wait(0.1):
                started = time.monotonic()
                try:
                    client.get("/healthz").raise_for_status()
                    outcomes.peak_rss = max(outcomes.peak_rss, process.memory_info().rss)
                except (httpx.HTTPError, psutil.NoSuchProcess) as error:
                    outcomes.wrong.append(f"/healthz: {type(error).__name__}: {error}")
                    return
                outcomes.slowest_health = max(outcomes.slowest_health, time.monotonic() - started)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _small_video(path: Path) -> bool:
    return path.suffix in {".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif"} and path.stat().st_size <= LARGEST_CLIP


if __name__ == "__main__":
    main()
