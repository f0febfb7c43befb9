"""Labels: what reviewers said of clips, and what they said before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from catalog.records import ClipRecord, Decision, LabelRecord, now
from catalog.repositories.statements import portions
from catalog.repositories.storable import check_storable

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    ) -> LabelRecord:
        """Store what is said of a clip now; what was said before stays in its history.

        With neither verdict nor decision the label before is withdrawn: the clip has none from now on. Who puts a
        label while another session does waits for that one's end.

        Args:
            clip_id: of a clip in the catalog.
            verdict: what the clip looks like, in the users' own words, at most 64 characters.
            decision: what training should do with it.
            note: why, for people.
            author: who says so, at most 200 characters.
            tool: where it was said, at most 64 characters: api, label-studio, ...

        Raises:
            LookupError: there is no clip of that id.
            ValueError: a text is not storable, see `check_storable`.
        """
        check_storable("The label", (verdict, note, author, tool))
        # One writer a clip at a time: PostgreSQL by this lock, SQLite has one writer anyway.
        locked = select(ClipRecord.id).where(ClipRecord.id == clip_id).with_for_update(key_share=True)
        if self._session.scalar(locked) is None:
            raise LookupError(f"There is no clip {clip_id!r}.")
        before = update(LabelRecord).where(LabelRecord.clip_id == clip_id, LabelRecord.current)
        self._session.execute(before.values(current=False))
        label = LabelRecord(
            clip_id=clip_id, verdict=verdict, decision=decision, note=note, author=author, tool=tool,
            current=True, created_at=now(),
        )  # fmt: skip
        self._session.add(label)
        self._session.flush()
        return label

    def current(self, clip_ids: Iterable[str]) -> dict[str, LabelRecord]:
        """Give the labels that these clips have now, by clip id; a clip without one is left out."""
        found: dict[str, LabelRecord] = {}
        for portion in portions(clip_ids):
            query = select(LabelRecord).where(LabelRecord.clip_id.in_(portion), LabelRecord.current.is_not(False))
            found |= {label.clip_id: label for label in self._session.scalars(query) if not is_withdrawal(label)}
        return found

    def history(self, clip_id: str) -> list[LabelRecord]:
        """List all that was ever said of a clip, newest first, withdrawals included."""
        query = select(LabelRecord).where(LabelRecord.clip_id == clip_id).order_by(LabelRecord.id.desc())
        return list(self._session.scalars(query))


def is_withdrawal(label: LabelRecord) -> bool:
    """Whether it says nothing but that the label before holds no more."""
    return label.verdict is None and label.decision is None
