"""What a task of Label Studio says now becomes the label of its clip: the one way by which verdicts come back.

Nothing is taken from what a webhook tells: the task itself is read, whatever it was that said it had changed. So it
does not matter how often, how late and in which order tasks are read, or who else does it at the same time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from motiontrace.catalog.repositories import ClipRepository, LabelRepository, LabelStudioRepository
from motiontrace.catalog.repositories.label_studio import MAX_NUMBER
from motiontrace.service.labeling.label_studio.annotations import Review, frame_rate, read_review
from motiontrace.service.labeling.label_studio.connection import LabelStudioError
from motiontrace.service.labeling.label_studio.people import People
from motiontrace.service.labeling.label_studio.tasks import clip_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.orm import Session

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import LabelRecord, LabelStudioProjectRecord, LabelStudioTaskRecord
    from motiontrace.catalog.repositories.label_studio import Change
    from motiontrace.service.labeling.label_studio.connection import Json, LabelStudio

TOOL = "label-studio"  # the tool of labels that came from there
MAX_AUTHOR = 200  # characters
SKIPPED = "The clip was skipped in Label Studio."
DELETED = "Its annotation in Label Studio was deleted."
SAYS_NOTHING = "Its annotation in Label Studio says nothing of the clip any more."
UNREADABLE: Final = "label_studio_unreadable"  # the code of an error that one task alone makes
log = logging.getLogger(__name__)

# labelled: it has a label from this task for the first time; changed: another one; withdrawn: none any more; unchanged:
# the clip's label stays, be it that what was said is older; gone: the task is no more, and its clip's label stays;
# unknown: no clip of the catalog is known to be its clip.
Outcome = Literal["labelled", "changed", "withdrawn", "unchanged", "gone", "unknown"]


class Annotation(NamedTuple):
    """An annotation that was not skipped."""

    # Compared in this order: ground truth first, then the last said.
    ground_truth: bool
    updated_at: datetime
    id: int
    author: int | None  # number of the user


@dataclass(frozen=True)
class Reading:
    """A task as it was read."""

    task: int
    clip_id: str | None  # as the task's data say
    annotation: Annotation | None  # that speaks for it
    review: Review  # what that says
    author: str  # who says so; without an annotation, who skipped it
    skipped: bool  # somebody did

    @property
    def state(self) -> tuple[int | None, datetime | None]:
        """Which annotation speaks for the task, as of when; what LabelStudioTaskRecord keeps of it."""
        return (None, None) if self.annotation is None else (self.annotation.id, self.annotation.updated_at)


def read_task(task: Json, people: People) -> Reading:
    """Read what a task says.

    Args:
        task: as Label Studio gives it, with its annotations, see LabelStudio.task.
        people: whose annotations they are.

    Raises:
        LabelStudioError: it is not as Label Studio's tasks are, or people have to be asked for, and cannot.
    """
    counted: list[tuple[Annotation, Any]] = []
    skipped: list[Annotation] = []
    for each in _annotations(task):
        annotation = _annotation(task["id"], each)
        if each.get("was_cancelled"):
            skipped.append(annotation)
        else:
            counted.append((annotation, each.get("result")))
    speaking, result = max(counted, key=lambda pair: pair[0][:3], default=(None, None))
    said_by = speaking or max(skipped, key=lambda each: each[:3], default=None)
    return Reading(
        task=task["id"],
        clip_id=clip_of(task),
        annotation=speaking,
        review=read_review(result, frame_rate(task.get("data"))),
        author="" if said_by is None else people.name(said_by.author)[:MAX_AUTHOR],
        skipped=bool(skipped),
    )


# What cannot be read is not passed over here: a task without annotations is one whose label is withdrawn.


def _annotations(task: Json) -> list[Any]:
    found = task.get("annotations")
    if not isinstance(found, list):
        raise _unreadable(f"Task {task['id']} comes without its annotations")
    return found


def _annotation(task: int, each: Any) -> Annotation:
    try:
        number, author, updated_at = each["id"], each.get("completed_by"), datetime.fromisoformat(each["updated_at"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(f"An annotation of task {task} has no number or no time") from error
    if not isinstance(number, int) or not 0 < number <= MAX_NUMBER or updated_at.tzinfo is None:
        raise _unreadable(f"An annotation of task {task} has no number, or a time without a zone")
    return Annotation(each.get("ground_truth") is True, updated_at, number, author if isinstance(author, int) else None)


def _unreadable(what: str) -> LabelStudioError:
    return LabelStudioError(
        UNREADABLE,
        f"{what}: Label Studio sends what its known versions do not.",
        "Report it with Label Studio's version, which its page /version tells.",
    )


class Reconciler:
    """Reads tasks that have changed, or may have, and brings the labels of their clips up to date."""

    def __init__(self, database: Database, label_studio: LabelStudio) -> None:
        self._database, self._label_studio = database, label_studio
        self.people = People(label_studio)

    def see_to(
        self, project: LabelStudioProjectRecord, changes: Sequence[Change]
    ) -> Iterator[tuple[Change, Reading | None, Outcome | None]]:
        """Read the tasks of these changes of a project, all at once, and take over what each says, one by one.

        A change is done with where it is given: with what its task says (None: the task is gone) and what came of it.
        The latter is None where the change was noted again since it was listed, or somebody else has seen to it:
        what was read may be old, and nothing is done.

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
    """People clear projects that they are through with: that takes no label back."""
    repository.forget_tasks(change.project.id, [change.task])
    return "gone"


def reconcile(session: Session, project_id: int, reading: Reading) -> Outcome:
    """Take over what a task says, in a writing session.

    What was taken over before is not taken over again: what was said of the clip elsewhere since then holds.

    Args:
        session: its transaction also says that the change is done with.
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
            # What is left where a newer annotation counts no more is older than what was made of that one. And where
            # skipping is taken back, the withdrawal has our clock's time, the annotation Label Studio's.
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
    """What is known of the task, which nobody else changes meanwhile; None: it shows no clip of the catalog.

    One that shows a clip is known from now on: tasks come to a project by other ways than a push, too.
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
    """Withdraw the label that this task made; None where it is not what its clip has."""
    if reading.annotation is not None:
        note = reading.review.note or SAYS_NOTHING
    else:
        note = SKIPPED if reading.skipped else DELETED
    return labels.withdraw(label_id, note=note, author=reading.author, tool=TOOL)
