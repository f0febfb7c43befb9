"""A Label Studio, real or recorded, a running service that knows it, and a reviewer who works there."""

from __future__ import annotations

import itertools
import os
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest
from pydantic import SecretStr

from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.publishing import open_index, publish_batch
from motiontrace.catalog.records import SecretRecord, now
from motiontrace.catalog.repositories import EntryRow, queries
from motiontrace.client import Client
from motiontrace.service.access import links
from motiontrace.service.app import Server as Uvicorn
from motiontrace.service.app import create_app
from tests.labeling.server import Server, free_port, running_label_studio
from tests.labeling.webhooks import Webhooks
from tests.labeling.wire import complaints, wire
from tests.service.conftest import copy_of
from tests.service.labeling.reviewed import UNRELATED, unrelated_clips, vector_of
from tests.service.serving import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

# The program `label-studio`: tests run against it and record. Without it they play what was recorded.
PROGRAM = os.environ.get("TEST_LABEL_STUDIO")
WIRE = Path(__file__).parent / "wire"
RECORDED = Server("http://label-studio.example", "personal.access.token", "0123456789abcdef" * 2 + "01234567")
SERVICE = "http://motiontrace.example"  # what stands for the service in recordings
# The service's own secrets, and the day to which links work: the same in every run, so that links are.
WEBHOOK_SECRET = b"\x01" * 32
LINK_SECRET = b"\x02" * 32
# The ranking of the first one, and when and where clips move: the same on every machine, as computed ones are not.
SCORES = {
    "right-red": 1.0, "right blue": 0.75, "down blue": 0.5, "down-red": 0.25, "left-red": -0.25, "left blue": -0.5,
    "up blue": -0.75, "up-red": -0.875,
}  # fmt: skip
MOTION_REGION = {
    "ranges": [{"start": 0.25, "end": 0.75}],
    "boxes": [
        {
            "keyframes": [
                {"time": 0.25, "x": 0.25, "y": 0.25, "width": 0.5, "height": 0.25, "visible": True},
                {"time": 0.75, "x": 0.5, "y": 0.25, "width": 0.5, "height": 0.25, "visible": False},
            ]
        }
    ],
}
LINKS_END = 2_208_945_600.0  # 2039-12-31T12:00Z
PASSED = pytest.StashKey[bool]()


@dataclass(frozen=True)
class LabelStudio:
    """The Label Studio of a test."""

    kind: Literal["live", "recorded"]
    url: str
    personal_token: str
    legacy_token: str
    email: str  # of the user whose tokens these are


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember whether the test passed: recordings of others are not kept."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.when == "call":
        item.stash[PASSED] = report.passed


@pytest.fixture(scope="session")
def label_studio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if PROGRAM is None:
        yield RECORDED
        return
    with running_label_studio(Path(PROGRAM).absolute(), tmp_path_factory.mktemp("label-studio")) as server:
        yield server


@pytest.fixture
def service_port() -> int:
    return free_port()


@pytest.fixture
def words(label_studio_server: Server, service_port: int) -> dict[str, str]:
    """What stands in recordings for addresses and secrets of this run."""
    return {
        label_studio_server.url: RECORDED.url,
        f"http://127.0.0.1:{service_port}": SERVICE,
        label_studio_server.personal_token: "<personal token>",
        label_studio_server.legacy_token: "<legacy token>",
        WEBHOOK_SECRET.hex(): "<webhook secret>",
    }


@pytest.fixture
def webhooks(request: pytest.FixtureRequest, words: dict[str, str]) -> Iterator[Webhooks]:
    record = PROGRAM is not None
    file = WIRE / "webhooks" / f"{_name(request.node)}.json"
    webhooks = Webhooks(file, record=record, secret=WEBHOOK_SECRET.hex(), words=words)
    yield webhooks
    if record and request.node.stash.get(PASSED, False):
        webhooks.save()
    assert not (found := webhooks.complaints + webhooks.unposted()), "\n".join(found)


@pytest.fixture
def label_studio(
    request: pytest.FixtureRequest, label_studio_server: Server, words: dict[str, str]
) -> Iterator[LabelStudio]:
    """What is said to it until the test ends is recorded, or was."""
    server, record = label_studio_server, PROGRAM is not None
    file = WIRE / f"{_name(request.node)}.json"
    with wire(file, server.url, record=record, words=words) as cassette:
        yield LabelStudio(
            "live" if record else "recorded", server.url, server.personal_token, server.legacy_token, server.email
        )
        passed = request.node.stash.get(PASSED, False)
        if not passed:
            cassette.dirty = False
        elif record:
            file.unlink(missing_ok=True)  # where nothing was said, nothing is written
    assert not (found := complaints(cassette)), "\n".join(["`make test-labeling` records anew.", *found])


def _name(test: pytest.Item) -> str:
    module = test.path.stem.removeprefix("test_")
    return re.sub(r"[^\w.-]+", "-", f"{module}.{test.name.removeprefix('test_')}").rstrip("-")


@pytest.fixture
def reviewer(label_studio: LabelStudio, webhooks: Webhooks) -> Iterator[httpx.Client]:
    """A person at Label Studio, by its API. What they do there sets off webhooks, which arrive within the call."""
    with httpx.Client(
        base_url=label_studio.url,
        headers={"Authorization": f"Token {label_studio.legacy_token}"},
        event_hooks=webhooks.hooks(),
        timeout=60,
    ) as client:
        yield client


class Service:
    """The service on a socket, which can be down for a while."""

    def __init__(self, settings: ServiceSettings, webhooks: Webhooks) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.port}"
        self.client = Client(self.url)
        self._webhooks = webhooks
        webhooks.url = self.url
        self._running: AbstractContextManager[str] | None = None

    def start(self) -> None:
        app = create_app(self.settings)
        server = Uvicorn(app, host="127.0.0.1", port=self.settings.port)
        server.config.app = self._webhooks.listening(app)
        self._running = running(server)
        self._running.__enter__()

    def stop(self) -> None:
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None


@pytest.fixture
def settings(corpus: Corpus, label_studio: LabelStudio, service_port: int, tmp_path: Path) -> ServiceSettings:
    """Of a service that knows the Label Studio by its user's personal token.

    It has the corpus' index "tiny", with SCORES and MOTION_REGION instead of what was computed, and UNRELATED clips.
    """
    settings = copy_of(corpus, tmp_path).model_copy(
        update={
            "port": service_port,
            "label_studio_url": label_studio.url,
            "label_studio_token": SecretStr(label_studio.personal_token),
            "media_link_days": (LINKS_END - time.time()) / links.DAY_SECONDS,
        }
    )
    upgrade(settings.url)
    database = Database.open(settings.url)
    with database.writing() as session:
        for name, value in (("label-studio webhook", WEBHOOK_SECRET), (links.SECRET, LINK_SECRET)):
            session.add(SecretRecord(name=name, value=value, created_at=now()))
    scores = SCORES | UNRELATED
    entries = [
        EntryRow(clip_id=clip, outcome="indexed", fingerprint="0" * 64, motion_region=MOTION_REGION) for clip in scores
    ]
    index, store, _ = open_index(database, settings, "tiny", recipe=corpus.recipe, model=str(corpus.model))
    with store:
        vectors = {clip: vector_of(score) for clip, score in scores.items()}
        publish_batch(database, store, index, unrelated_clips(), entries, vectors)
    database.close()
    return settings


@pytest.fixture
def numbered_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries get the same ids in every run: tasks name them."""
    ids = (uuid.UUID(int=number) for number in itertools.count(1))
    monkeypatch.setattr(queries, "uuid", SimpleNamespace(uuid4=lambda: next(ids)))


@pytest.fixture
def service(settings: ServiceSettings, webhooks: Webhooks, numbered_queries: None) -> Iterator[Service]:
    service = Service(settings, webhooks)
    service.start()
    with service.client:
        yield service
    service.stop()
