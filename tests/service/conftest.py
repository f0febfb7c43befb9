"""A small catalog of real clips, indexed with a small real model, and the real app over a copy of it."""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from motiontrace.answering.sandbox import Decoder
from motiontrace.attribution.engine import load_engine, plan_recipe
from motiontrace.attribution.families import find_checkpoint
from motiontrace.attribution.video import VideoError
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.publishing import open_index, publish_batch
from motiontrace.catalog.repositories import ClipRow, EntryRow
from motiontrace.service.app import create_app
from motiontrace.service.settings import ServiceSettings
from motiontrace.service.worker import loop
from tests.catalog import postgresql
from tests.checkpoints import tiny_wan
from tests.service.serving import serving
from tests.videos import FRAMES, SIDE, moving_square, write_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from motiontrace.answering.sandbox import DecoderLimits
    from motiontrace.attribution.recipe import Recipe

    RunningApp = Callable[[ServiceSettings], AbstractContextManager[TestClient]]

torch.set_num_threads(1)
DIRECTIONS = {"right": (2, 0), "left": (-2, 0), "up": (0, -2), "down": (0, 2)}


@dataclass(frozen=True)
class Corpus:
    """Clips on disk, a checkpoint, and a home directory with the clips indexed as "tiny"."""

    directory: Path
    model: Path
    home: Path
    recipe: Recipe

    def video(self, name: str) -> Path:
        return self.directory / f"{name}.mp4"


def make_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Renders the clips and the model, and indexes them: takes seconds, so that a run of tests has one."""
    directory = tmp_path_factory.mktemp("clips")
    for name, (dx, dy) in DIRECTIONS.items():
        moving_square(directory / f"{name}-red.mp4", dx, dy)
        moving_square(directory / f"{name} blue.mp4", dx, dy, (40, 60, 220))
    write_video(directory / "still.mp4", np.full((FRAMES, SIDE, SIDE, 3), 90, dtype=np.uint8))
    (directory / "broken.mp4").write_text("no video")
    model = tiny_wan(tmp_path_factory.mktemp("model"))
    recipe = plan_recipe(find_checkpoint(str(model)), {})
    corpus = Corpus(directory, model, tmp_path_factory.mktemp("home"), recipe)
    index_corpus(corpus, ServiceSettings(home=corpus.home), "tiny")
    return corpus


def index_corpus(corpus: Corpus, settings: ServiceSettings, name: str) -> None:
    """Index the corpus under a name, as the indexer would."""
    upgrade(settings.url)
    database = Database.open(settings.url)
    engine = load_engine(str(corpus.model), corpus.recipe, device="cpu")
    index, store, _ = open_index(database, settings, name, recipe=corpus.recipe, model=str(corpus.model))
    clips, entries, vectors = [], [], {}
    for path in sorted(corpus.directory.glob("*.mp4")):
        caption = f"a square, {path.stem}"
        common: dict[str, Any] = {
            "clip_id": path.stem,
            "fingerprint": hashlib.sha256(path.stem.encode()).hexdigest(),
        }
        clip: dict[str, Any] = {
            "id": path.stem,
            "path": str(path),
            "caption": caption,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "extra": {"motion": path.stem.split("-")[0]},
        }
        try:
            found = engine.compute(path, caption)
        except VideoError as error:
            entries.append(EntryRow(**common, outcome="failed", reason_code=error.code, reason=str(error)))
        else:
            info = found.info
            clip |= {"width": info.width, "height": info.height, "frames": info.frames}
            clip |= {"seconds": info.seconds, "fps": info.fps, "codec": info.codec}
            clip |= {"damaged_frames": info.damaged_frames, "time_jumps": info.time_jumps}
            outcome = "no_motion" if found.vector is None else "indexed"
            entries.append(EntryRow(**common, outcome=outcome, motion_peak=found.motion.peak))
            if found.vector is not None:
                vectors[path.stem] = found.vector
        clips.append(ClipRow(**clip))
    with store:
        publish_batch(database, store, index, clips, entries, vectors)
    database.close()


def copy_of(corpus: Corpus, directory: Path) -> ServiceSettings:
    shutil.copytree(corpus.home, directory / "home")
    return ServiceSettings(home=directory / "home", device="cpu")


@pytest.fixture(scope="session")
def postgresql_corpus(corpus: Corpus, postgresql_server: str) -> Iterator[str]:
    """Name of a PostgreSQL database that holds the corpus' catalog, to be copied."""
    with postgresql.database(postgresql_server, "corpus") as url:
        source = Database.open(ServiceSettings(home=corpus.home).url)
        postgresql.copy_catalog(source, url)
        source.close()
        yield "corpus"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of modules with BOTH_DATABASES run on SQLite and on PostgreSQL, all others on SQLite alone."""
    if "database_kind" in metafunc.fixturenames:
        both = getattr(metafunc.module, "BOTH_DATABASES", False)
        metafunc.parametrize("database_kind", ["sqlite", "postgresql"] if both else ["sqlite"])


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, database_kind: str, corpus: Corpus, tmp_path: Path
) -> Iterator[ServiceSettings]:
    """A copy of the corpus' home, to be changed at will, with its catalog in a database of that kind."""
    settings = copy_of(corpus, tmp_path)
    if database_kind == "sqlite":
        yield settings
        return
    server, template = (request.getfixturevalue(name) for name in ("postgresql_server", "postgresql_corpus"))
    with postgresql.database(server, f"copy_{uuid.uuid4().hex}", template) as url:
        yield settings.model_copy(update={"database_url": url})


class KeptDecoder(Decoder):
    """Stays open when an app that has it ends."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def running_app() -> Iterator[RunningApp]:
    """Runs an app as `TestClient` does, but for its decoder: its process takes longer to start than most tests take.

    Apps of the same limits share one.
    """
    with ExitStack() as session:

        @cache
        def decoder(limits: DecoderLimits) -> Decoder:
            kept = KeptDecoder(limits)
            session.callback(Decoder.close, kept)
            return kept

        @contextmanager
        def run(settings: ServiceSettings) -> Iterator[TestClient]:
            with ExitStack() as stack:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("motiontrace.service.app.Decoder", decoder)
                    client = TestClient(create_app(settings), raise_server_exceptions=False)
                    stack.enter_context(client)
                yield client

        yield run


@pytest.fixture
def client(settings: ServiceSettings, running_app: RunningApp) -> Iterator[TestClient]:
    with running_app(settings) as client:
        yield client


@pytest.fixture
def url(settings: ServiceSettings) -> Iterator[str]:
    """A service on a real socket."""
    with serving(settings.model_copy(update={"max_upload_bytes": 4 << 20})) as (_, url):
        yield url


@pytest.fixture
def slow_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes each answer take a second more."""
    real = loop.answer

    def answer(*arguments: Any) -> Any:
        time.sleep(1)
        return real(*arguments)

    monkeypatch.setattr(loop, "answer", answer)


@pytest.fixture(scope="module")
def reader(corpus: Corpus, running_app: RunningApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The app for the many tests of a module that disturb no other."""
    with running_app(copy_of(corpus, tmp_path_factory.mktemp("reader"))) as client:
        yield client
