"""Read all tasks of a project and take over what they say. No webhook is needed for it."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import timedelta
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING

from motiontrace.catalog.records import now
from motiontrace.catalog.repositories import ClipRepository
from motiontrace.catalog.repositories.label_studio import LabelStudioRepository
from motiontrace.documents.label_studio import MAX_TITLE, PulledProject, Unread
from motiontrace.service.labeling.label_studio.connection import ANNOTATED_PAGE, LabelStudioError
from motiontrace.service.labeling.label_studio.push import fit_setup
from motiontrace.service.labeling.label_studio.reading import UNREADABLE, clip_of, read_task
from motiontrace.service.labeling.label_studio.reconcile import Reconciler
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import LabelStudioProjectRecord
    from motiontrace.catalog.repositories.label_studio import Change
    from motiontrace.service.labeling.label_studio.connection import Json, LabelStudio
    from motiontrace.service.labeling.label_studio.reading import Reading
    from motiontrace.service.labeling.label_studio.reconcile import Outcome

# The inbox reads after that time what a pull has noted and, cut off, not read itself.
NOTED_AHEAD = timedelta(minutes=5)
ROUNDS = 3  # a task is read again where another change of it was noted meanwhile
MAX_UNREAD = 100  # tasks that the answer lists
log = logging.getLogger(__name__)


def pull(database: Database, label_studio: LabelStudio, number: int) -> PulledProject:
    """Bring the labels of a project's clips in line with what is said in it now.

    What was taken over before is not taken over again, so a label that a clip got elsewhere since then stays. The label
    of a task that cannot be read stays, too: the task is listed, and counted as unchanged. A project that is new here
    is noted if its set-up is ours, and so are its tasks that show a clip of the catalog.

    Args:
        database: of the catalog.
        label_studio: the server.
        number: its number of the project.

    Raises:
        ProblemError: 404 the server has no such project; 409 it is none of ours, and its set-up not fit for clips.
        LabelStudioError: Label Studio cannot be reached, or refuses something. What was taken over until then stays.
    """
    return _Pull(database, label_studio, _project(database, label_studio, number)).run()


def _project(database: Database, label_studio: LabelStudio, number: int) -> LabelStudioProjectRecord:
    found = label_studio.project(number)
    with database.reading() as session:
        known = LabelStudioRepository(session).project(label_studio.url, number)
    if found is None:
        if known is not None:
            with database.writing() as session:
                LabelStudioRepository(session).forget_project(known.id)
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            "label_studio_project_not_found",
            f"Label Studio at {label_studio.url} has no project {number}.",
            "Take the number from the address of the project's page. Of a project that was deleted the labels stay.",
        )
    if known is not None:
        return known
    fit_setup(found)
    with database.writing() as session:
        return LabelStudioRepository(session).add_project(label_studio.url, number, str(found["title"])[:MAX_TITLE])


class _Pull:
    """One pull, and what it has come to so far."""

    def __init__(self, database: Database, label_studio: LabelStudio, project: LabelStudioProjectRecord) -> None:
        self._database, self._label_studio, self._project = database, label_studio, project
        self._reconciler = Reconciler(database, label_studio)
        with database.reading() as session:
            self._known = {task.task: task for task in LabelStudioRepository(session).tasks(project.id)}
        self._came: Counter[Outcome] = Counter()
        self._unread: list[Unread] = []

    def run(self) -> PulledProject:
        unseen = set(self._known)
        for portion in _portions(self._label_studio.export(self._project.project)):
            unseen -= {task["id"] for task in portion}
            readings = self._read(portion)
            self._see_to(self._may_change(readings))
        self._see_to(sorted(unseen))  # gone
        return PulledProject(
            tasks=sum(count for outcome, count in self._came.items() if outcome != "gone"),
            labelled=self._came["labelled"],
            changed=self._came["changed"],
            withdrawn=self._came["withdrawn"],
            unchanged=self._came["unchanged"],
            unknown=self._came["unknown"],
            left_out=tuple(self._unread),
        )

    def _read(self, portion: Sequence[Json]) -> list[Reading]:
        """What the tasks say. Those that cannot be read are listed, and their clips' labels stay."""
        readings: list[Reading] = []
        faults: list[tuple[int, str | None, LabelStudioError]] = []
        for task in portion:
            try:
                readings.append(read_task(task, self._reconciler.people))
            except LabelStudioError as error:
                if error.code != UNREADABLE:
                    raise
                faults.append((task["id"], clip_of(task), error))
        self._leave_out(faults)
        return readings

    def _leave_out(self, faults: Sequence[tuple[int, str | None, LabelStudioError]]) -> None:
        """Count tasks that cannot be read, and list those whose data name a clip of the catalog."""
        with self._database.reading() as session:
            clips = ClipRepository(session).get_many(clip for _, clip, _ in faults if clip is not None)
        for task, named, error in faults:
            known = self._known.get(task)
            clip = known.clip_id if named is None and known is not None else named
            if clip is None or (named is not None and named not in clips):
                self._came["unknown"] += 1
                continue
            self._came["unchanged"] += 1
            log.warning("task %d, clip %s: left as it was: %s", task, clip, error)
            self._tell(task, clip, error.happened)

    def _may_change(self, portion: Sequence[Reading]) -> list[int]:
        """Count the tasks in which nothing is new; return the others."""
        with self._database.reading() as session:
            clips = ClipRepository(session).get_many(each.clip_id for each in portion if each.clip_id is not None)
        tasks: list[int] = []
        for reading in portion:
            known = self._known.get(reading.task)
            if reading.clip_id not in clips and not (known is not None and reading.clip_id is None):
                self._came["unknown"] += 1
            elif (
                known is not None
                and reading.clip_id in {None, known.clip_id}
                and reading.state == (known.annotation, known.annotated_at)
            ):
                self._came["unchanged"] += 1
            else:
                tasks.append(reading.task)
        return tasks

    def _see_to(self, tasks: Sequence[int]) -> None:
        """Read tasks once more and take over what they say.

        What was read before they were noted may be old by now: the inbox may have taken over something newer.
        """
        again = list(tasks)
        for _ in range(ROUNDS):
            if not again:
                return
            with self._database.writing(durable=False) as session:
                repository = LabelStudioRepository(session)
                repository.note(self._project.id, again, now() + NOTED_AHEAD)
                changes = repository.waiting(self._project, again)
            again = []
            for change, reading, outcome in self._seen_to(changes):
                if outcome is None:
                    again.append(change.task)
                    continue
                self._came[outcome] += 1
                if reading is not None and reading.clip_id is not None and outcome in {"labelled", "changed"}:
                    self._tell(reading.task, reading.clip_id, "; ".join(reading.review.left_out))
        self._came["unchanged"] += len(again)  # by this pull: whoever noted them again reads them

    def _seen_to(self, changes: Sequence[Change]) -> Iterator[tuple[Change, Reading | None, Outcome | None]]:
        """As Reconciler.see_to, but without tasks that can no longer be read.

        Their changes stay noted: the inbox tries them again.
        """
        waiting = list(changes)
        while waiting:
            try:
                for seen in self._reconciler.see_to(self._project, tuple(waiting)):
                    del waiting[0]  # they come in the order in which they were given
                    yield seen
            except LabelStudioError as error:
                if error.code != UNREADABLE:
                    raise
                task = waiting.pop(0).task
                known = self._known.get(task)
                self._leave_out([(task, None if known is None else known.clip_id, error)])

    def _tell(self, task: int, clip: str, left_out: str) -> None:
        if left_out and len(self._unread) < MAX_UNREAD:
            self._unread.append(Unread(task=task, clip=clip, left_out=left_out))


def _portions(tasks: Iterable[Json]) -> Iterator[list[Json]]:
    iterator = iter(tasks)
    while portion := list(islice(iterator, ANNOTATED_PAGE)):
        yield portion
