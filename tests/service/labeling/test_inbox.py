"""The inbox: what was noted is seen to, now or later, whatever goes wrong."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.catalog.repositories import LabelStudioRepository
from motiontrace.service.labeling.label_studio import connection
from motiontrace.service.labeling.label_studio import inbox as inboxes
from motiontrace.service.labeling.label_studio.connection import LabelStudio
from motiontrace.service.labeling.label_studio.inbox import Inbox
from motiontrace.service.labeling.label_studio.reconcile import Reconciler
from tests.service.asking import until
from tests.service.labeling.reviews import (
    add_project,
    add_to,
    annotation,
    changes,
    history,
    note,
    said,
    task,
    verdict,
)
from tests.service.labeling.standin import TOKEN, RefusalError, StandIn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import LabelStudioProjectRecord

BOTH_DATABASES = True
CLIP, OTHER = "left-red", "up blue"
CARTOON = annotation(3, verdict("cartoon"), 5)
STATIC = annotation(4, verdict("static"), 6)


@pytest.fixture
def project(database: Database, studio: StandIn) -> LabelStudioProjectRecord:
    """Task 5 says cartoon of the clip, task 6 static of the other."""
    project = add_project(database, {5: CLIP, 6: OTHER}, server=studio.url)
    add_to(studio, project, task(5, CLIP, CARTOON), task(6, OTHER, STATIC))
    return project


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses in milliseconds."""
    monkeypatch.setattr(inboxes, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(inboxes, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(inboxes, "POLL_SECONDS", 0.02)


@contextmanager
def working(database: Database, url: str, token: str = TOKEN) -> Iterator[Inbox]:
    with LabelStudio(url, token) as label_studio:
        inbox = Inbox(database, label_studio, threading.Event())
        inbox.start()
        try:
            yield inbox
        finally:
            inbox.stop(10)


def failing(times: int, error: Callable[[], Exception], call: str = "GET tasks") -> Callable[[str], None]:
    """Refuse a call so many times."""
    left = [times]

    def refuse(name: str) -> None:
        if name == call and left[0]:
            left[0] -= 1
            raise error()

    return refuse


def test_what_is_noted_is_seen_to_at_once(
    database: Database, studio: StandIn, project: LabelStudioProjectRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inboxes, "POLL_SECONDS", 60.0)
    with working(database, studio.url) as inbox:
        time.sleep(0.3)  # it sleeps by now
        note(database, project, 5)
        inbox.wake()
        until(lambda: said(database, CLIP) == "cartoon", 10)
        until(lambda: not changes(database))
    assert said(database, OTHER) is None


def test_what_another_process_noted_or_one_before_is_found(
    database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    note(database, project, 5)
    with working(database, studio.url):
        until(lambda: said(database, CLIP) == "cartoon", 10)
        note(database, project, 6)  # and nobody wakes it
        until(lambda: said(database, OTHER) == "static", 10)


def test_many_changes_are_read_in_portions(
    database: Database, studio: StandIn, project: LabelStudioProjectRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inboxes, "PORTION", 10)
    for number in range(10, 45):
        add_to(studio, project, task(number, CLIP, annotation(number, verdict("cartoon"), number)))
    note(database, project, *range(10, 45))
    with working(database, studio.url):
        until(lambda: not changes(database), 30)
    assert studio.calls["GET tasks"] == 4


def test_projects_of_another_server_are_left_alone(
    database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    elsewhere = add_project(database, {5: OTHER}, server="http://other.example")
    note(database, elsewhere, 5)
    note(database, project, 5)
    with working(database, studio.url):
        until(lambda: said(database, CLIP) == "cartoon", 10)
    assert changes(database) == {5: 0}
    assert said(database, OTHER) is None


@pytest.mark.parametrize("status", [500, 503, 403])
def test_a_failure_is_tried_again(
    database: Database,
    studio: StandIn,
    project: LabelStudioProjectRecord,
    quick: None,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    studio.refuse = failing(3, lambda: RefusalError(status, "not now"))
    note(database, project, 5)
    with working(database, studio.url):
        until(lambda: said(database, CLIP) == "cartoon", 10)
    assert changes(database) == {}
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert (
        sum("Tasks 5 of Label Studio's project 7 could not be seen to, and will be later" in line for line in told) == 3
    )


@pytest.mark.parametrize(
    ("url", "token"), [("http://127.0.0.1:9", TOKEN), (None, "0" * 40)], ids=["unreachable", "wrong token"]
)
def test_pauses_double_while_label_studio_is_away(
    database: Database,
    studio: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    url: str | None,
    token: str,
) -> None:
    monkeypatch.setattr(inboxes, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr(inboxes, "LONGEST_PAUSE", 0.8)
    project = add_project(database, {5: CLIP}, server=url or studio.url)
    note(database, project, 5)
    with working(database, url or studio.url, token):
        until(lambda: len(tries(caplog)) == 5, 10)
    assert [pause for _, pause in tries(caplog)] == [0.2, 0.4, 0.8, 0.8, 0.8]
    moments = [moment for moment, _ in tries(caplog)]
    waited = [after - before for before, after in pairwise(moments)]
    assert all(seconds >= pause - 0.02 for seconds, (_, pause) in zip(waited, tries(caplog)[:4], strict=True))


def tries(caplog: pytest.LogCaptureFixture) -> list[tuple[float, float]]:
    """When Label Studio was found away, and the pauses in seconds that were to follow."""
    told = [record for record in caplog.records if record.msg.startswith("What waits of Label Studio is tried again")]
    return [(record.created, record.args[0]) for record in told]  # type: ignore[index, misc]


@pytest.mark.parametrize("status", [401, 502], ids=["token", "proxy"])
def test_what_was_said_is_kept_however_long_label_studio_is_away(
    database: Database,
    studio: StandIn,
    project: LabelStudioProjectRecord,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    monkeypatch.setattr(inboxes, "MAX_ATTEMPTS", 3)

    def refuse(call: str) -> None:
        raise RefusalError(status, "away")

    studio.refuse = refuse
    note(database, project, 5, 6)
    with working(database, studio.url):
        until(lambda: len(tries(caplog)) >= 10, 10)
        assert changes(database) == {5: 0, 6: 0}
        studio.refuse = lambda call: None
        until(lambda: (said(database, CLIP), said(database, OTHER)) == ("cartoon", "static"), 10)


def test_a_webhook_ends_the_pause(
    database: Database,
    studio: StandIn,
    project: LabelStudioProjectRecord,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(inboxes, "FIRST_PAUSE", 3600.0)
    note(database, project, 5)
    projects = failing(1, lambda: RefusalError(401, "away"), "GET projects")
    tasks = failing(1, lambda: RefusalError(401, "away"))

    def refuse(call: str) -> None:
        projects(call)
        tasks(call)

    studio.refuse = refuse
    with working(database, studio.url) as inbox:
        until(lambda: len(tries(caplog)) == 1, 10)
        note(database, project, 6)
        inbox.wake()
        until(lambda: (said(database, CLIP), said(database, OTHER)) == ("cartoon", "static"), 10)


def test_a_task_that_alone_fails_as_if_label_studio_were_away_holds_up_no_other(
    database: Database,
    studio: StandIn,
    project: LabelStudioProjectRecord,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(inboxes, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 10_000)
    add_to(studio, project, task(4, CLIP, annotation(8, verdict("cartoon", note="x" * 20_000), 5)))
    note(database, project, 4, 6)
    with working(database, studio.url):
        until(lambda: said(database, OTHER) == "static", 10)
        until(lambda: not changes(database), 10)
    (given_up,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert given_up.startswith("Tasks 4 of Label Studio's project 7 could not be seen to in 3 attempts")


def test_what_is_postponed_is_locked_in_the_order_in_which_webhooks_lock(
    database: Database,
    studio: StandIn,
    project: LabelStudioProjectRecord,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two that lock the same rows in different orders wait for each other on PostgreSQL, until one of them fails."""
    locked: list[int] = []
    real = LabelStudioRepository.postpone

    def postpone(self: LabelStudioRepository, project_id: int, task: int, *arguments: Any) -> bool:
        locked.append(task)
        return real(self, project_id, task, *arguments)

    monkeypatch.setattr(LabelStudioRepository, "postpone", postpone)
    studio.refuse = failing(1, lambda: RefusalError(500, "not now"))
    for number in (6, 9, 5):  # the longest due first
        note(database, project, number)
    with working(database, studio.url):
        until(lambda: not changes(database), 10)
    assert locked == [5, 6, 9]


@pytest.mark.parametrize("known", [False, True], ids=["only elsewhere", "here, too"])
def test_a_label_studio_whose_address_was_changed_is_warned_of(
    database: Database, studio: StandIn, caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    add_project(database, {5: CLIP}, server="http://localhost:8090")
    if known:
        add_project(database, {5: CLIP}, server=studio.url)
    with working(database, studio.url):
        pass
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    warning = f"No project of Label Studio at {studio.url} is known, only of http://localhost:8090"
    assert [line.startswith(warning) and "motiontrace labels pull" in line for line in told] == [True] * (not known)


def test_what_fails_too_often_is_given_up_and_the_way_out_is_told(
    database: Database,
    studio: StandIn,
    project: LabelStudioProjectRecord,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(inboxes, "MAX_ATTEMPTS", 3)
    studio.refuse = failing(1000, lambda: RefusalError(500, "broken"))
    note(database, project, 5)
    with working(database, studio.url):
        until(lambda: not changes(database), 10)
    assert said(database, CLIP) is None
    (given_up,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert given_up.startswith("Tasks 5 of Label Studio's project 7 could not be seen to in 3 attempts")
    assert given_up.endswith("motiontrace labels pull --project 7")


def test_one_task_that_cannot_be_read_holds_up_no_other(
    database: Database,
    studio: StandIn,
    project: LabelStudioProjectRecord,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inboxes, "MAX_ATTEMPTS", 10_000)
    studio.tasks[4] = task(4, CLIP, {"id": 1, "result": []})  # no time: it is not told what of it was taken over
    studio.tasks[9] = task(9, CLIP, {"id": 2, "result": []})
    note(database, project, 4, 5, 6, 9)
    with working(database, studio.url):
        until(lambda: (said(database, CLIP), said(database, OTHER)) == ("cartoon", "static"), 10)
        until(lambda: set(changes(database)) == {4, 9}, 10)


def test_a_fault_of_our_own_is_survived(
    database: Database,
    studio: StandIn,
    project: LabelStudioProjectRecord,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, faults = Reconciler.see_to, [RuntimeError("a fault"), RuntimeError("another")]

    def see_to(self: Reconciler, *arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return real(self, *arguments)

    monkeypatch.setattr(Reconciler, "see_to", see_to)
    note(database, project, 5)
    with working(database, studio.url):
        until(lambda: said(database, CLIP) == "cartoon", 10)


def test_a_project_that_is_gone_is_forgotten_and_its_labels_stay(
    database: Database, studio: StandIn, project: LabelStudioProjectRecord, quick: None
) -> None:
    note(database, project, 5)
    with working(database, studio.url):
        until(lambda: said(database, CLIP) == "cartoon", 10)
        studio.projects.clear()
        note(database, project, 5, 6)
        until(lambda: not changes(database), 10)
        with database.reading() as session:
            assert LabelStudioRepository(session).projects(studio.url) == []
    assert said(database, CLIP) == "cartoon"


def test_a_project_that_only_seems_gone_is_kept(
    database: Database, studio: StandIn, project: LabelStudioProjectRecord, quick: None
) -> None:
    studio.refuse = failing(2, lambda: RefusalError(404, "no such page"))  # of a proxy that was set up wrongly, say
    note(database, project, 5)
    with working(database, studio.url):
        until(lambda: said(database, CLIP) == "cartoon", 10)


def test_it_ends_soon_although_label_studio_hangs(
    database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    hanging, over = threading.Event(), threading.Event()

    def hang(call: str) -> None:
        hanging.set()
        over.wait(30)

    studio.refuse = hang
    note(database, project, 5)
    with LabelStudio(studio.url, TOKEN) as label_studio:
        inbox = Inbox(database, label_studio, threading.Event())
        inbox.start()
        assert hanging.wait(10)
        begun = time.monotonic()
        inbox.stop(0.5)
        assert time.monotonic() - begun < 5
    over.set()
    assert changes(database) == {5: 0}  # for the next start


def test_two_inboxes_take_over_what_is_said_once(
    database: Database, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    both = threading.Barrier(2, timeout=5)

    def meet(call: str) -> None:
        if call == "GET tasks" and studio.calls[call] <= 2:
            both.wait()

    studio.refuse = meet
    note(database, project, 5, 6)
    with working(database, studio.url), working(database, studio.url):
        until(lambda: not changes(database), 10)
    assert (history(database, CLIP), history(database, OTHER)) == ([("cartoon", "")], [("static", "")])
