"""Labels: what reviewers said of clips, and what they said before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from motiontrace.catalog.records import ClipRecord, Decision, LabelRecord, now
from motiontrace.catalog.repositories.statements import portions
from motiontrace.catalog.repositories.storable import check_storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session


class LabelRepository:
    """Reads and writes labels in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(
        self,
        clip_id: str,
        *,
        verdict: str | None,
        decision: Decision | None,
        note: str = "",
        author: str = "",
        tool: str,
        ranges: Sequence[Mapping[str, Any]] = (),
        boxes: Sequence[Mapping[str, Any]] = (),
        said_at: datetime | None = None,
        replacing: int | None = None,
    ) -> LabelRecord:
        """Store what is said of a clip; what was said before stays in its history.

        What says the same as the clip's newest label, whatever the time, adds nothing: that label is given, and counts
        as said then too. What was said before the newest label last was goes into the history only. With neither
        verdict nor decision, range nor box the label before is withdrawn: the clip has none from now on; a note says
        why. Who puts a label while another session does waits for that one's end.

        Args:
            clip_id: of a clip in the catalog.
            verdict: what the clip looks like, in the users' own words, at most 64 characters.
            decision: what training should do with it.
            note: why, for people.
            author: who says so, at most 200 characters.
            tool: where it was said, at most 64 characters: api, label-studio, ...
            ranges: parts of its time, JSON values of motiontrace.documents.regions.TimeRange.
            boxes: things in its picture, JSON values of motiontrace.documents.regions.Box.
            said_at: when it was said, with its time zone, for a tool that tells later; in the future counts as now.
                None: now, and so after all that was said before, whatever other machines' clocks say.
            replacing: id of the label whose place this one takes; where that is the clip's newest, this one counts as
                said no earlier than it.

        Returns:
            The label as stored; `current` tells whether it is the clip's newest.

        Raises:
            LookupError: there is no clip of that id.
            ValueError: a text or number is not storable, see `check_storable`.
        """
        said = {
            "verdict": verdict,
            "decision": decision,
            "note": note,
            "author": author,
            "tool": tool,
            "ranges": list(ranges),
            "boxes": list(boxes),
        }
        check_storable("The label", said)
        newest = self._locked(clip_id)
        moment = now() if said_at is None else min(said_at, now())
        if newest is not None and all(getattr(newest, name) == value for name, value in said.items()):
            if moment > newest.last_said_at:
                newest.confirmed_at = moment
                self._session.flush()
            return newest
        if newest is not None and (said_at is None or newest.id == replacing):
            moment = max(moment, newest.last_said_at)
        current = newest is None or moment >= newest.last_said_at
        if newest is not None and current:
            newest.current = False
        label = LabelRecord(clip_id=clip_id, **said, current=current, created_at=moment)
        self._session.add(label)
        self._session.flush()
        return label

    def withdraw(self, label_id: int, *, note: str = "", author: str = "", tool: str) -> LabelRecord | None:
        """Withdraw a label if it is still what its clip has; None: it is not, and nothing is done.

        Args:
            label_id: of any label; an unknown one is no clip's.
            note: why, as in `put`.
            author: who says so, as in `put`.
            tool: where it was said, as in `put`.

        Raises:
            ValueError: a text is not storable, see `check_storable`.
        """
        clip_id = self._session.scalar(select(LabelRecord.clip_id).where(LabelRecord.id == label_id))
        newest = None if clip_id is None else self._locked(clip_id)
        if newest is None or newest.id != label_id or is_withdrawal(newest):
            return None
        return self.put(newest.clip_id, verdict=None, decision=None, note=note, author=author, tool=tool)

    def current(self, clip_ids: Iterable[str]) -> dict[str, LabelRecord]:
        """Give the labels that these clips have now, by clip id; a clip without one is left out."""
        found: dict[str, LabelRecord] = {}
        for portion in portions(clip_ids):
            query = select(LabelRecord).where(LabelRecord.clip_id.in_(portion), LabelRecord.current.is_not(False))
            found |= {label.clip_id: label for label in self._session.scalars(query) if not is_withdrawal(label)}
        return found

    def history(self, clip_id: str, limit: int | None = None) -> list[LabelRecord]:
        """List what was ever said of a clip, withdrawals included, by when it was last said, the newest first.

        With `limit` only that many.
        """
        query = select(LabelRecord).where(LabelRecord.clip_id == clip_id)
        last_said_at = func.coalesce(LabelRecord.confirmed_at, LabelRecord.created_at)
        query = query.order_by(last_said_at.desc(), LabelRecord.id.desc()).limit(limit)
        return list(self._session.scalars(query))

    def history_length(self, clip_id: str) -> int:
        """Count what was ever said of a clip."""
        count = select(func.count()).select_from(LabelRecord).where(LabelRecord.clip_id == clip_id)
        return self._session.scalar(count) or 0

    def lock(self, clip_id: str) -> None:
        """Keep a clip's labels as they are for all others until the transaction ends; wait while another does.

        Raises:
            LookupError: there is no clip of that id.
        """
        # One writer a clip at a time: PostgreSQL by this lock, SQLite has one writer anyway.
        locked = select(ClipRecord.id).where(ClipRecord.id == clip_id).with_for_update(key_share=True)
        if self._session.scalar(locked) is None:
            raise LookupError(f"There is no clip {clip_id!r}.")

    def _locked(self, clip_id: str) -> LabelRecord | None:
        """Give the newest label of a clip, be it a withdrawal, which nobody else changes until the transaction ends.

        Raises:
            LookupError: there is no clip of that id.
        """
        self.lock(clip_id)
        newest = select(LabelRecord).where(LabelRecord.clip_id == clip_id, LabelRecord.current)
        return self._session.scalar(newest.execution_options(populate_existing=True))


def is_withdrawal(label: LabelRecord) -> bool:
    """Whether it says nothing but that the label before holds no more.

    A range or a box says something of the clip by itself; a note alone only says why the label was withdrawn.
    """
    return label.verdict is None and label.decision is None and not label.ranges and not label.boxes
