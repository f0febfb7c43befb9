"""What a task of Label Studio says: the annotation that speaks for it, what that says of the clip, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from motiontrace.catalog.repositories.clip_row import MAX_ID
from motiontrace.catalog.repositories.label_studio import MAX_NUMBER
from motiontrace.service.labeling.label_studio.annotations import Review, frame_rate, read_review
from motiontrace.service.labeling.label_studio.connection import LabelStudioError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from motiontrace.service.labeling.label_studio.connection import Json
    from motiontrace.service.labeling.label_studio.people import People

MAX_AUTHOR = 200  # characters
UNREADABLE: Final = "label_studio_unreadable"  # the code of an error that one task alone makes


class Annotation(NamedTuple):
    """An annotation that was not skipped."""

    # Compared in this order: ground truth first, then the last said.
    ground_truth: bool
    updated_at: datetime
    id: int
    author: int | None  # number of the user


@dataclass(frozen=True)
class Reading:
    """What a task says."""

    task: int
    clip_id: str | None  # that its data name
    annotation: Annotation | None  # that speaks for it: ground truth before others, then the newest
    review: Review  # what the annotation says
    author: str  # of the annotation; without one, who skipped the task
    skipped: bool  # somebody skipped the task

    @property
    def state(self) -> tuple[int | None, datetime | None]:
        """The number and time of the annotation that speaks for the task, as LabelStudioTaskRecord keeps them."""
        return (None, None) if self.annotation is None else (self.annotation.id, self.annotation.updated_at)


def read_task(task: Json, people: People) -> Reading:
    """Read what a task says.

    Args:
        task: as Label Studio gives it, with its annotations, see LabelStudio.task.
        people: name the authors of annotations.

    Raises:
        LabelStudioError: the task is not as Label Studio's tasks are, or the names of people cannot be read.
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


def clip_of(task: Mapping[str, Any]) -> str | None:
    """The id of the clip that a task's data name; None: they name none, or no possible id.

    Anybody may make tasks in Label Studio.
    """
    data = task.get("data")
    clip_id = data.get("clip_id") if isinstance(data, dict) else None
    if not isinstance(clip_id, str) or not clip_id.isprintable() or len(clip_id) > MAX_ID:
        return None
    return clip_id


# Annotations that cannot be read are an error and not passed over: without them the clip's label would be withdrawn.


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
