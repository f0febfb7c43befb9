"""Selections of clips for training, the gradients that they were made by, and what an index went through since."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import defer

from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.records import EntryRecord, IndexRecord, LabelRecord, SelectionRecord, VideoGradientRecord, now
from motiontrace.catalog.repositories.queries import pack_gradient, unpack_gradient
from motiontrace.catalog.repositories.statements import upsert
from motiontrace.catalog.repositories.storable import check_storable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

MAX_NAME = 200  # characters
_EXAMPLES = 5


@dataclass(frozen=True)
class VideoGradient:
    """What a video gave by a recipe."""

    gradient: NDArray[np.float32] | None  # [dim], unit length; None: nothing moves
    motion_peak: float  # pixels a frame


@dataclass(frozen=True)
class Change:
    """Clips of an index with which the same has happened."""

    count: int
    examples: list[str]  # ids of some of them, ascending


@dataclass(frozen=True)
class IndexChanges:
    """What has happened to an index since a moment. A clip may be counted in several ways."""

    computed: Change  # anew, or for the first time
    labelled: Change
    described: Change  # with another caption, file or metadata


class SelectionRepository:
    """Reads and writes selections in the given session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(
        self,
        index: IndexRecord,
        *,
        selection_id: str,
        name: str | None,
        manifest_version: int,
        settings: Mapping[str, Any],
        queries: Sequence[Mapping[str, Any]],
        gradients: NDArray[np.float32],
        counts: Mapping[str, Any],
        chosen_sha256: str,
        created_at: datetime,
    ) -> SelectionRecord:
        """Store a selection.

        Args:
            index: what was chosen from.
            selection_id: 32 hex digits, new.
            name: the users' own name of it, 1 to 200 characters, not taken; None: none.
            manifest_version: of the vectors that were ranked.
            settings: how was chosen, JSON values.
            queries: what was chosen by, JSON values; first those that voted.
            gradients: float32 [queries that voted, dim], in that order.
            counts: how many clips came to what, JSON values.
            chosen_sha256: of what was chosen, hex.
            created_at: a moment before anything was read for it.

        Raises:
            CatalogError: the name is taken, or cannot be one.
            ValueError: a text is not storable, see `check_storable`.
        """
        if name is not None:
            check_selection_name(name)
        for what, value in (("The settings", dict(settings)), ("The queries", list(map(dict, queries)))):
            check_storable(what, value)
        selection = SelectionRecord(
            id=selection_id,
            name=name,
            index_id=index.id,
            index_name=index.name,
            recipe_digest=index.recipe_digest,
            manifest_version=manifest_version,
            settings=dict(settings),
            queries=[dict(query) for query in queries],
            gradients=pack_gradient(gradients),
            counts=dict(counts),
            chosen_sha256=chosen_sha256,
            created_at=created_at,
        )
        try:
            with self._session.begin_nested():
                self._session.add(selection)
        except IntegrityError:
            raise CatalogError(f"A selection named {name!r} is there already: choose another name.") from None
        return selection

    def find(self, id_or_name: str) -> SelectionRecord | None:
        """Give the selection of that id or name, or None; an id wins over a name that looks like it."""
        same = or_(SelectionRecord.id == id_or_name, SelectionRecord.name == id_or_name)
        found = list(self._session.scalars(select(SelectionRecord).where(same)))
        return min(found, key=lambda selection: selection.id != id_or_name, default=None)

    def latest(self, limit: int = 50) -> list[SelectionRecord]:
        """List selections, the newest first, without the gradients."""
        order = (SelectionRecord.created_at.desc(), SelectionRecord.id.desc())
        wanted = select(SelectionRecord).options(defer(SelectionRecord.gradients)).order_by(*order)
        return list(self._session.scalars(wanted.limit(limit)))

    def changes(self, index_id: int, since: datetime) -> IndexChanges:
        """Tell what has happened to the clips that are in an index now since a moment."""
        entries = select(EntryRecord.clip_id).where(EntryRecord.index_id == index_id)
        computed = entries.where(EntryRecord.computed_at >= since)
        labelled = entries.where(
            EntryRecord.clip_id.in_(
                select(LabelRecord.clip_id).where(
                    or_(LabelRecord.created_at >= since, LabelRecord.confirmed_at >= since)
                )
            )
        )
        described = entries.where(EntryRecord.described_at >= since)
        return IndexChanges(self._change(computed), self._change(labelled), self._change(described))

    def _change(self, clips: Select[Any]) -> Change:
        count = self._session.scalar(select(func.count()).select_from(clips.subquery())) or 0
        examples = self._session.scalars(clips.order_by(EntryRecord.clip_id).limit(_EXAMPLES))
        return Change(count, list(examples))


class VideoGradientRepository:
    """Reads and writes the gradients of videos that are no clips, in the given session."""

    def __init__(self, session: Session, recipe_digest: str) -> None:
        self._session = session
        self._recipe_digest = recipe_digest

    def get(self, video_sha256: str, prompt: str) -> VideoGradient | None:
        """Give what the video gave under the prompt by the recipe; None where nobody has computed it."""
        key = (self._recipe_digest, video_sha256, _digest(prompt))
        found = self._session.get(VideoGradientRecord, key, populate_existing=True)
        if found is None:
            return None
        return VideoGradient(None if found.gradient is None else unpack_gradient(found.gradient), found.motion_peak)

    def put(self, video_sha256: str, prompt: str, computed: VideoGradient) -> None:
        """Keep what the video gave; what was kept of the same before is replaced."""
        row = {
            "recipe_digest": self._recipe_digest,
            "video_sha256": video_sha256,
            "prompt_sha256": _digest(prompt),
            "gradient": None if computed.gradient is None else pack_gradient(computed.gradient),
            "motion_peak": computed.motion_peak,
            "created_at": now(),
        }
        upsert(self._session, VideoGradientRecord, [row])


def check_selection_name(name: str) -> None:
    """See that a selection can have this name.

    Raises:
        CatalogError: it cannot.
    """
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise CatalogError(
            f"The name {name[:40]!r} cannot be a selection's: use 1 to {MAX_NAME} printable characters, with no space "
            "at either end."
        )


def _digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()
