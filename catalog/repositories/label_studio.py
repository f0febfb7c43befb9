"""What was pushed to Label Studio: its projects, the clips that are tasks there, and the tasks to be read again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import case, delete, or_, select, update
from sqlalchemy.engine import CursorResult

from motiontrace.catalog.records import (
    LabelRecord,
    LabelStudioChangeRecord,
    LabelStudioProjectRecord,
    LabelStudioTaskRecord,
    now,
)
from motiontrace.catalog.repositories.statements import insert, portions
from motiontrace.catalog.repositories.storable import check_storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from sqlalchemy.orm import Session

MAX_NUMBER = 2**31 - 1  # of projects, tasks and annotations, as both databases hold them


class Change(NamedTuple):
    """A task that is to be read again."""

    project: LabelStudioProjectRecord
    task: int  # Label Studio's number of it
    revision: int  # for `done` and `postpone`: what was read speaks for the task as it was then
    attempts: int  # how often reading it has failed


class LabelStudioRepository:
    """Reads and writes, in the given session, what is known of projects on Label Studio servers.

    `project_id` is always the catalog's own id, LabelStudioProjectRecord.id; `project`, `task` and `annotation` are
    numbers that Label Studio gave, 1 to 2**31 - 1.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    # Projects

    def add_project(self, server: str, project: int, title: str) -> LabelStudioProjectRecord:
        """Note a project of a server; one that is known takes over the title.

        Args:
            server: its address, without a closing slash, at most 500 characters.
            project: the server's number of it.
            title: at most 200 characters.

        Raises:
            ValueError: a text is not storable, see `check_storable`.
        """
        check_storable("The project", (server, title))
        row = insert(self._session, LabelStudioProjectRecord).values(
            server=server, project=project, title=title, created_at=now()
        )
        self._session.execute(row.on_conflict_do_update(index_elements=["server", "project"], set_={"title": title}))
        known = self.project(server, project)
        assert known is not None
        return known

    def project(self, server: str, project: int) -> LabelStudioProjectRecord | None:
        """Give the server's project of that number, or None where nothing was pushed to it."""
        query = select(LabelStudioProjectRecord).where(
            LabelStudioProjectRecord.server == server, LabelStudioProjectRecord.project == project
        )
        return self._session.scalar(query.execution_options(populate_existing=True))

    def project_titled(self, server: str, title: str) -> LabelStudioProjectRecord | None:
        """Give the server's project of that title, the newest of several, or None."""
        query = select(LabelStudioProjectRecord).where(
            LabelStudioProjectRecord.server == server, LabelStudioProjectRecord.title == title
        )
        return self._session.scalar(query.order_by(LabelStudioProjectRecord.id.desc()).limit(1))

    def projects(self, server: str) -> list[LabelStudioProjectRecord]:
        """List the projects of a server, the oldest first."""
        query = select(LabelStudioProjectRecord).where(LabelStudioProjectRecord.server == server)
        return list(self._session.scalars(query.order_by(LabelStudioProjectRecord.id)))

    def servers(self) -> list[str]:
        """List the addresses of the servers whose projects are known, in order of their letters."""
        query = select(LabelStudioProjectRecord.server).distinct().order_by(LabelStudioProjectRecord.server)
        return list(self._session.scalars(query))

    def forget_project(self, project_id: int) -> None:
        """Forget a project with its tasks and changes; labels that came from it stay."""
        self._rows(delete(LabelStudioProjectRecord).where(LabelStudioProjectRecord.id == project_id))

    # Tasks

    def put_tasks(self, project_id: int, clips: Mapping[int, str]) -> None:
        """Note which clip each task shows; of a task that shows another clip than before nothing else is kept.

        Args:
            project_id: of the project.
            clips: ids of clips in the catalog, by task.
        """
        known = LabelStudioTaskRecord
        statement = insert(self._session, known)
        same = known.clip_id == statement.excluded.clip_id
        applied = (known.annotation, known.annotated_at, known.label_id)
        kept: dict[str, Any] = {column.key: case((same, column), else_=None) for column in applied}
        statement = statement.on_conflict_do_update(
            index_elements=["project_id", "task"], set_={"clip_id": statement.excluded.clip_id, **kept}
        )
        # In order of their numbers: two that put the same tasks at once wait for each other, instead of both for ever.
        rows = [{"project_id": project_id, "task": task, "clip_id": clips[task]} for task in sorted(clips)]
        if rows:
            self._session.execute(statement, rows)

    def task(self, project_id: int, task: int) -> LabelStudioTaskRecord | None:
        """Give what is known of a task, or None."""
        return self._session.get(LabelStudioTaskRecord, (project_id, task), populate_existing=True)

    def tasks(self, project_id: int) -> list[LabelStudioTaskRecord]:
        """List what is known of a project's tasks, in order of their numbers."""
        query = select(LabelStudioTaskRecord).where(LabelStudioTaskRecord.project_id == project_id)
        ordered = query.order_by(LabelStudioTaskRecord.task).execution_options(populate_existing=True)
        return list(self._session.scalars(ordered))

    def tasks_of_annotations(self, project_id: int, annotations: Iterable[int]) -> set[int]:
        """Give the tasks whose label came from one of these annotations; others are not known here."""
        found: set[int] = set()
        for portion in portions(annotations):
            query = select(LabelStudioTaskRecord.task).where(
                LabelStudioTaskRecord.project_id == project_id, LabelStudioTaskRecord.annotation.in_(portion)
            )
            found |= set(self._session.scalars(query))
        return found

    def locked(self, project_id: int, task: int) -> LabelStudioTaskRecord | None:
        """Give a task as `task` does, and keep it from all others who ask so until the transaction ends.

        Needs a writing session: what is read of the task's state and what is `applied` are then one step.
        """
        return self._session.get(
            LabelStudioTaskRecord, (project_id, task), populate_existing=True, with_for_update=True
        )

    def applied(
        self,
        task: LabelStudioTaskRecord,
        *,
        annotation: int | None,
        annotated_at: datetime | None,
        label: LabelRecord | None,
    ) -> None:
        """Note which annotation of the task, as of when, made which label; all None: there is none any more."""
        task.annotation, task.annotated_at = annotation, annotated_at
        task.label_id = None if label is None else label.id
        self._session.flush()

    def label_is_shared(self, task: LabelStudioTaskRecord) -> bool:
        """Whether an annotation of another task, of any project, says what made this task's label.

        Two tasks of a clip that say the same have one label. Who asks this to change the label locks the clip's labels
        first (LabelRepository.lock), or of two tasks each would count on the other.
        """
        known = LabelStudioTaskRecord
        others = select(known.task).where(
            known.clip_id == task.clip_id,
            known.label_id == task.label_id,
            known.annotation.is_not(None),
            or_(known.project_id != task.project_id, known.task != task.task),
        )
        return self._session.scalar(others.limit(1)) is not None

    def forget_tasks(self, project_id: int, tasks: Iterable[int]) -> None:
        """Forget tasks that are no more; labels that came from them stay."""
        for portion in portions(tasks):
            self._rows(
                delete(LabelStudioTaskRecord).where(
                    LabelStudioTaskRecord.project_id == project_id, LabelStudioTaskRecord.task.in_(portion)
                )
            )

    # Changes

    def note(self, project_id: int, tasks: Iterable[int], due_at: datetime | None = None) -> None:
        """Note that these tasks have changed, known ones or not: they are due at once, with no attempt made so far.

        With `due_at` they are due then: for who sees to them itself, and leaves to others what it does not come to.
        """
        moment = now() if due_at is None else due_at
        statement = insert(self._session, LabelStudioChangeRecord)
        again = {"revision": LabelStudioChangeRecord.revision + 1, "attempts": 0, "due_at": moment}
        statement = statement.on_conflict_do_update(index_elements=["project_id", "task"], set_=again)
        # A random beginning: a change that was done and came again must not have the number it had before, or who
        # was slow with the first would take the second for done as well.
        rows = [
            {
                "project_id": project_id,
                "task": task,
                "revision": random.getrandbits(30),
                "attempts": 0,
                "due_at": moment,
            }
            for task in sorted(set(tasks))
        ]
        if rows:
            self._session.execute(statement, rows)

    def read_again(self, project_id: int) -> None:
        """Count all changes of a project that wait as noted again: what is being read of them holds no more."""
        of_project = LabelStudioChangeRecord.project_id == project_id
        # In order of their numbers, as in `put_tasks`.
        locked = select(LabelStudioChangeRecord.task).where(of_project).order_by(LabelStudioChangeRecord.task)
        self._session.execute(locked.with_for_update())
        again = update(LabelStudioChangeRecord).where(of_project)
        self._rows(again.values(revision=LabelStudioChangeRecord.revision + 1))

    def waiting(self, project: LabelStudioProjectRecord, tasks: Iterable[int]) -> list[Change]:
        """List the changes of these tasks of a project, due or not, by task; those without one are left out."""
        found: list[Change] = []
        for portion in portions(tasks):
            query = select(LabelStudioChangeRecord).where(
                LabelStudioChangeRecord.project_id == project.id, LabelStudioChangeRecord.task.in_(portion)
            )
            changes = self._session.scalars(query.execution_options(populate_existing=True))
            found += [Change(project, each.task, each.revision, each.attempts) for each in changes]
        return sorted(found, key=lambda change: change.task)

    def due(self, moment: datetime, limit: int, *, server: str) -> list[Change]:
        """List at most `limit` changes of a server's projects that are due at `moment`, the longest due first."""
        query = (
            select(LabelStudioProjectRecord, LabelStudioChangeRecord)
            .join(LabelStudioChangeRecord, LabelStudioChangeRecord.project_id == LabelStudioProjectRecord.id)
            .where(LabelStudioProjectRecord.server == server, LabelStudioChangeRecord.due_at <= moment)
            .order_by(LabelStudioChangeRecord.due_at, LabelStudioChangeRecord.project_id, LabelStudioChangeRecord.task)
            .limit(limit)
            .execution_options(populate_existing=True)
        )
        return [
            Change(project, change.task, change.revision, change.attempts)
            for project, change in self._session.execute(query)
        ]

    def done(self, project_id: int, task: int, revision: int) -> bool:
        """Forget a change that was seen to; False where it was noted again since, and so stays, or is gone."""
        return self._rows(delete(LabelStudioChangeRecord).where(*_still(project_id, task, revision))) == 1

    def postpone(self, project_id: int, task: int, revision: int, until: datetime) -> bool:
        """Count an attempt that failed, the next being due at `until`; False, and nothing done, as in `done`."""
        later = update(LabelStudioChangeRecord).where(*_still(project_id, task, revision))
        return self._rows(later.values(attempts=LabelStudioChangeRecord.attempts + 1, due_at=until)) == 1

    def _rows(self, statement: Any) -> int:
        result = self._session.execute(statement.execution_options(synchronize_session=False))
        assert isinstance(result, CursorResult)
        return result.rowcount


def _still(project_id: int, task: int, revision: int) -> tuple[Any, ...]:
    """The change as it was read."""
    return (
        LabelStudioChangeRecord.project_id == project_id,
        LabelStudioChangeRecord.task == task,
        LabelStudioChangeRecord.revision == revision,
    )
