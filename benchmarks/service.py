"""How quickly the service answers "more like this clip": requests a second and times over HTTP, beside the bare scan.

A real service in a process of its own (`motiontrace serve`), a real catalog on disk and a vector store of synthetic
vectors, and callers in a third process that hold their connections open. "FAISS" is IndexScalarQuantizer (half floats,
inner product, k = 10) on the same vectors, one thread, in the same run: what the search itself would cost with nothing
around it.

    python -m benchmarks.service --clips 10000 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np

from benchmarks.endurance import free_port, wait_ready
from benchmarks.report import report
from motiontrace.attribution.engine import plan_recipe
from motiontrace.attribution.families import find_checkpoint
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.publishing import compact, open_index, publish_batch
from motiontrace.catalog.repositories import ClipRow, EntryRow
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.client import Client

faiss: Any = _faiss
CHECKPOINT = Path(__file__).parents[1] / "demo" / "checkpoint"
BATCH, DIM, K = 65_536, 512, 10
SECONDS = 15.0
MOTIONS = ("bounce", "fall", "roll", "slide", "swing", "spin", "float", "stop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    chosen = parser.parse_args()
    rows = [row for clips in chosen.clips for row in measure(clips, chosen.connections)]
    report("service", "More like this clip, over HTTP", rows)


def measure(clips: int, connections: list[int]) -> list[dict[str, Any]]:
    """The rows of an index of so many clips."""
    with tempfile.TemporaryDirectory(prefix="mt-service-") as folder:
        home = Path(folder)
        vectors = _fill(home, clips)
        scan = _bare_scan(vectors)
        del vectors
        port = free_port()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MOTIONTRACE_LOG_LEVEL": "warning"}
        command = [sys.executable, "-m", "motiontrace", "serve", "--home", str(home), "--port", str(port)]
        process = subprocess.Popen(command, env=environment)
        try:
            with Client(f"http://127.0.0.1:{port}") as service:
                wait_ready(service)
            return [_row(clips, scan, port, number) for number in connections]
        finally:
            process.terminate()
            process.wait(30)


def _row(clips: int, scan: float, port: int, connections: int) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        took, failed = pool.apply(call, (port, clips, connections, SECONDS))
    return {
        "clips": clips,
        "connections": connections,
        "requests/s": len(took) / SECONDS,
        "p50 ms": 1000 * float(np.percentile(took, 50)),
        "p95 ms": 1000 * float(np.percentile(took, 95)),
        "failed": failed,
        "FAISS p50 ms": 1000 * scan,
    }


def call(port: int, clips: int, connections: int, seconds: float) -> tuple[list[float], int]:
    """Seconds of each answered request, and how many were not answered by 201."""
    return asyncio.run(_call(port, clips, connections, seconds))


async def _call(port: int, clips: int, connections: int, seconds: float) -> tuple[list[float], int]:
    took: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        nonlocal failed
        chance = random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            body = json.dumps({"clip": f"clip-{chance.randrange(clips):07d}", "k": K}).encode()
            head = (
                f"POST /v1/queries HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
            )
            started = time.perf_counter()
            writer.write(head.encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            took.append(time.perf_counter() - started)
            failed += not answer.startswith(b"HTTP/1.1 201")
        writer.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return took, failed


def _fill(home: Path, clips: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """An index of synthetic vectors, float32 [clips, DIM], with their clips in the catalog."""
    settings = CatalogSettings(home=home)
    upgrade(settings.url)
    database = Database.open(settings.url)
    recipe = plan_recipe(find_checkpoint(str(CHECKPOINT)), {}, preset="paper")
    index, store, _ = open_index(database, settings, "synthetic", recipe=recipe, model=str(CHECKPOINT))
    chance = np.random.default_rng(0)
    everything = np.empty((clips, DIM), dtype=np.float32)
    with store:
        for start in range(0, clips, BATCH):
            numbers = range(start, min(start + BATCH, clips))
            vectors = chance.standard_normal((len(numbers), DIM), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            everything[numbers.start : numbers.stop] = vectors
            ids = [f"clip-{number:07d}" for number in numbers]
            rows = [
                ClipRow(
                    id=clip_id,
                    path=f"/clips/{clip_id}.mp4",
                    caption=f"a synthetic clip, number {clip_id}",
                    extra={"motion": MOTIONS[number % len(MOTIONS)], "source": f"source {number % 97}"},
                )
                for number, clip_id in zip(numbers, ids, strict=True)
            ]
            entries = [EntryRow(clip_id=clip_id, outcome="indexed", fingerprint="0" * 64) for clip_id in ids]
            publish_batch(database, store, index, rows, entries, dict(zip(ids, vectors, strict=True)))
            print(f"\r{numbers.stop:,} of {clips:,} clips stored", end="", flush=True)
        compact(database, store, index)
    print()
    database.close()
    return everything


def _bare_scan(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    """Seconds of FAISS's own search, the median."""
    faiss.omp_set_num_threads(1)
    index = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    took = []
    for number in range(20):
        query = vectors[number : number + 1]
        started = time.perf_counter()
        index.search(query, K)
        took.append(time.perf_counter() - started)
    return float(np.median(took))


if __name__ == "__main__":
    main()
