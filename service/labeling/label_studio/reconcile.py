"""What a task of Label Studio says now becomes the label of its clip: the one way by which verdicts come back.

A webhook only names tasks; what they say is read from Label Studio. So tasks may be read again, late, in any order,
and by several processes at once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from motiontrace.catalog.repositories import ClipRepository, LabelRepository, LabelStudioRepository
from motiontrace.service.labeling.label_studio.people import People
from motiontrace.service.labeling.label_studio.reading import read_task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.orm import Session

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import LabelRecord, LabelStudioProjectRecord, LabelStudioTaskRecord
    from motiontrace.catalog.repositories.label_studio import Change
    from motiontrace.service.labeling.label_studio.connection import LabelStudio
    from motiontrace.service.labeling.label_studio.reading import Reading

TOOL = "label-studio"  # the tool of labels that came from there
SKIPPED = "The clip was skipped in Label Studio."
DELETED = "Its annotation in Label Studio was deleted."
SAYS_NOTHING = "Its annotation in Label Studio says nothing of the clip any more."
log = logging.getLogger(__name__)

# What came of a task.
# labelled: its clip has a label from it for the first time. changed: another one. withdrawn: none any more.
# unchanged: the clip's label stays; that may be because what the task says is older. gone: the task was deleted, and
# the clip's label stays. unknown: it shows no clip of the catalog.
Outcome = Literal["labelled", "changed", "withdrawn", "unchanged", "gone", "unknown"]


class Reconciler:
    """Reads tasks that have changed, or may have, and brings the labels of their clips up to date."""

    def __init__(self, database: Database, label_studio: LabelStudio) -> None:
        self._database, self._label_studio = database, label_studio
        self.people = People(label_studio)

    def see_to(
        self, project: LabelStudioProjectRecord, changes: Sequence[Change]
    ) -> Iterator[tuple[Change, Reading | None, Outcome | None]]:
        """Read the tasks of these changes of a project, all at once, and take over what each says, one by one.

        Yields:
            Each change with what its task says (None: the task was deleted) and what came of it. The change is then
            done with. The outcome is None where somebody noted the change again since it was listed, or has seen to
            it: what was read may be old, so nothing is done.

        Raises:
            LabelStudioError: the tasks cannot be read.
        """
        read = {
            task["id"]: task for task in self._label_studio.tasks_of(project.project, [each.task for each in changes])
        }
        for change in changes:
            task = read.get(change.task)
            reading = None if task is None else read_task(task, self.people)
            # Not durable: a power cut takes back the label and that the change is done with, or neither of them.
            with self._database.writing(durable=False) as session:
                repository = LabelStudioRepository(session)
                outcome: Outcome | None = None
                if repository.done(project.id, change.task, change.revision):
                    outcome = _gone(repository, change) if reading is None else reconcile(session, project.id, reading)
            yield change, reading, outcome


def _gone(repository: LabelStudioRepository, change: Change) -> Outcome:
    """Forget a task that was deleted. Its label stays: people clear projects that they have finished."""
    repository.forget_tasks(change.project.id, [change.task])
    return "gone"


def reconcile(session: Session, project_id: int, reading: Reading) -> Outcome:
    """Take over what a task says, in a writing session.

    What was taken over once is not taken over again, so a label that the clip got elsewhere since then holds.

    Args:
        session: its transaction also marks the change as done.
        project_id: the catalog's own id of the project.
        reading: the task as it is now.
    """
    repository, labels = LabelStudioRepository(session), LabelRepository(session)
    task = _known(session, project_id, reading)
    if task is None:
        return "unknown"
    if (task.annotation, task.annotated_at) == reading.state:
        return "unchanged"
    annotation, review = reading.annotation, reading.review
    first = task.annotation is None or task.label_id is None
    labels.lock(task.clip_id)
    own = None if repository.label_is_shared(task) else task.label_id  # what nobody but this task says
    if review.left_out:
        log.warning("task %d, clip %s: left out of its label: %s", task.task, task.clip_id, "; ".join(review.left_out))
    if annotation is not None and review.says_something:
        said = labels.put(
            task.clip_id,
            verdict=review.verdict,
            decision=review.decision,
            note=review.note,
            author=reading.author,
            tool=TOOL,
            ranges=[each.model_dump(mode="json") for each in review.ranges],
            boxes=[each.model_dump(mode="json") for each in review.boxes],
            said_at=annotation.updated_at,
            # Both may be older than the label they replace: the annotation that is left when a newer one is deleted,
            # and one whose skipping is taken back (a withdrawal has our clock's time, it has Label Studio's).
            replacing=own,
        )
        label: LabelRecord | None = said
        outcome: Outcome = "unchanged" if not said.current else "labelled" if first else "changed"
    else:
        label = None if own is None else _withdraw(labels, own, reading)
        outcome = "unchanged" if label is None else "withdrawn"
    number, updated_at = reading.state
    repository.applied(task, annotation=number, annotated_at=updated_at, label=label)
    return outcome


def _known(session: Session, project_id: int, reading: Reading) -> LabelStudioTaskRecord | None:
    """The record of the task, locked; None: no clip of the catalog is known to be the one that it shows.

    A task that shows one gets a record here: pushes are not the only way for tasks to come to a project.
    """
    repository = LabelStudioRepository(session)
    task = repository.locked(project_id, reading.task)
    if reading.clip_id is None or (task is not None and task.clip_id == reading.clip_id):
        return task
    if ClipRepository(session).get(reading.clip_id) is None:
        return None
    repository.put_tasks(project_id, {reading.task: reading.clip_id})
    return repository.locked(project_id, reading.task)


def _withdraw(labels: LabelRepository, label_id: int, reading: Reading) -> LabelRecord | None:
    """Withdraw the label that this task made; None where the clip has another label by now."""
    if reading.annotation is not None:
        note = reading.review.note or SAYS_NOTHING
    else:
        note = SKIPPED if reading.skipped else DELETED
    return labels.withdraw(label_id, note=note, author=reading.author, tool=TOOL)
