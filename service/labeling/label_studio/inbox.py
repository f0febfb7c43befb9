"""A thread reads the tasks that webhooks have named. Not their calls: Label Studio waits a second for an answer."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.catalog.outage import Outage
from motiontrace.catalog.records import now
from motiontrace.catalog.repositories.label_studio import LabelStudioRepository
from motiontrace.service.labeling.label_studio.connection import LabelStudioError
from motiontrace.service.labeling.label_studio.reading import UNREADABLE
from motiontrace.service.labeling.label_studio.reconcile import Reconciler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import LabelStudioProjectRecord
    from motiontrace.catalog.repositories.label_studio import Change
    from motiontrace.service.labeling.label_studio.connection import LabelStudio

POLL_SECONDS = 1.0  # changes that this process notes wake it at once; those of others it finds by looking
PORTION = 100  # changes that are taken at once
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 3600.0  # seconds between attempts: each time twice as long
MAX_ATTEMPTS = 24  # at one task, over half a day
TOLD = 20  # numbers of tasks in a line of the log
AWAY = frozenset({"label_studio_unreachable", "label_studio_token"})  # other calls would fail as this one did
SERVER_FAULT = 500  # and greater: statuses of a server that is out of order, or of a proxy that does not reach it
log = logging.getLogger(__name__)


class _AwayError(Exception):
    """Label Studio as a whole cannot be read: the task is not at fault."""


class Inbox:
    """A thread that reads the tasks that have changed, and takes over what they say. Any number may share the work.

    Changes are rows of the database: what is not seen to when the process ends is seen to after the next start.
    """

    def __init__(self, database: Database, label_studio: LabelStudio, stopping: threading.Event) -> None:
        """Once `stopping` is set nothing more is begun."""
        self._database, self._label_studio, self._stop = database, label_studio, stopping
        self._reconciler = Reconciler(database, label_studio)
        self._wake = threading.Event()
        self._outage = Outage(log, "Label Studio's inbox goes on after an error")
        # A call of Label Studio cannot be interrupted; as a daemon the thread keeps no stopped process alive.
        self._thread = threading.Thread(target=self._run, name="label-studio-inbox", daemon=True)

    def start(self) -> None:
        """Begin. A warning is logged where all known projects are of other servers."""
        with self._database.reading() as session:
            servers = LabelStudioRepository(session).servers()
        if servers and self._label_studio.url not in servers:
            log.warning(
                "No project of Label Studio at %s is known, only of %s: nothing is heard of those. If it is the same "
                "Label Studio under a new address, take them over: motiontrace labels pull --project NUMBER",
                self._label_studio.url,
                ", ".join(servers[:TOLD]),
            )
        self._thread.start()

    def wake(self) -> None:
        """Read at once: a change has been noted."""
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """End once the task in hand is done, after `timeout` seconds at the latest. Other changes stay noted."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            self._wake.clear()
            try:
                if not self._see_to_due():
                    self._wake.wait(POLL_SECONDS)
                pause = FIRST_PAUSE
            except _AwayError as error:
                log.warning("What waits of Label Studio is tried again in %g s: %s", pause, error)
                if not self._wake.wait(pause):  # else it has just called: it may be back
                    pause = min(pause * 2, LONGEST_PAUSE)
            except Exception as error:  # what is noted stays noted
                if self._stop.is_set():  # the connections were closed under it
                    return
                if not isinstance(error, DatabaseUnavailableError):  # it is logged already
                    self._outage.note(repr(error), error)
                self._stop.wait(POLL_SECONDS)

    def _see_to_due(self) -> bool:
        """Whether there was anything to do.

        Raises:
            _AwayError: what is not seen to stays due, and no attempt is counted.
        """
        with self._database.reading() as session:
            due = LabelStudioRepository(session).due(now(), PORTION, server=self._label_studio.url)
        due.sort(key=lambda change: change.project.id)  # stable: within a project the longest due stays first
        for _, group in groupby(due, key=lambda change: change.project.id):
            changes = list(group)
            self._see_to(changes[0].project, changes)
        return bool(due)

    def _see_to(self, project: LabelStudioProjectRecord, changes: Sequence[Change]) -> None:
        waiting = {change.task: change for change in changes}
        for batch in _batches(changes):
            try:
                for change, reading, outcome in self._reconciler.see_to(project, batch):
                    del waiting[change.task]
                    if outcome is not None:
                        clip = "" if reading is None or reading.clip_id is None else f", clip {reading.clip_id!r}"
                        log.info(
                            "task %d of Label Studio's project %d%s: %s", change.task, project.project, clip, outcome
                        )
                    if self._stop.is_set():
                        return
            except LabelStudioError as error:
                if self._stop.is_set() or (error.code != UNREADABLE and not self._is_there(project)):
                    return
                # What is wrong with one task must not hold up the others: from now on they are read one by one.
                self._postpone([waiting.pop(each.task) for each in batch if each.task in waiting], str(error))
            except Exception as error:
                if self._stop.is_set():  # the connections were closed under it
                    return
                log.exception("tasks of Label Studio's project %d", project.project)
                self._postpone([waiting.pop(each.task) for each in batch if each.task in waiting], repr(error))
            if not waiting:
                return

    def _is_there(self, project: LabelStudioProjectRecord) -> bool:
        """Whether the project is there, after a failure. A project that was deleted is forgotten; its labels stay.

        Raises:
            _AwayError: nothing can be read of Label Studio.
        """
        try:
            if self._label_studio.project(project.project) is not None:
                return True
        except LabelStudioError as error:
            if error.code in AWAY or (error.status is not None and error.status >= SERVER_FAULT):
                raise _AwayError(str(error)) from error
            return True
        log.warning("Label Studio has no project %d any more: it is forgotten, its labels stay", project.project)
        with self._database.writing() as session:
            LabelStudioRepository(session).forget_project(project.id)
        return False

    def _postpone(self, changes: Sequence[Change], reason: str) -> None:
        """Try changes of one project again later. Those that were tried too often are given up."""
        if not changes:
            return
        worn = [change for change in changes if change.attempts + 1 >= MAX_ATTEMPTS]
        with self._database.writing() as session:
            repository = LabelStudioRepository(session)
            # In order of their numbers, as all who write several: else two could wait for each other for ever.
            for change in sorted(changes, key=lambda change: change.task):
                of_project = (change.project.id, change.task, change.revision)
                if change in worn:
                    repository.done(*of_project)
                else:
                    pause = min(FIRST_PAUSE * 2**change.attempts, LONGEST_PAUSE)
                    repository.postpone(*of_project, now() + timedelta(seconds=pause))
        if len(changes) > len(worn):
            log.warning("%s could not be seen to, and will be later: %s", _named(changes), reason)
        if worn:
            log.error(
                "%s could not be seen to in %d attempts, and are given up (%s). Once that is mended: "
                "motiontrace labels pull --project %d",
                _named(worn),
                MAX_ATTEMPTS,
                reason,
                worn[0].project.project,
            )


def _named(changes: Sequence[Change]) -> str:
    """Tasks in words, the first `TOLD` by number."""
    numbers = ", ".join(str(change.task) for change in changes[:TOLD])
    more = f" and {len(changes) - TOLD:,} more" if len(changes) > TOLD else ""
    return f"Tasks {numbers}{more} of Label Studio's project {changes[0].project.project}"


def _batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """The changes that were never tried, together; then each of the others alone."""
    if untried := [change for change in changes if not change.attempts]:
        yield untried
    for change in changes:
        if change.attempts:
            yield [change]
