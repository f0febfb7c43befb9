"""A selection: made by queries, stored so that it can be repeated, and made again from what is stored."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.catalog.records import now
from motiontrace.catalog.repositories import IndexRepository, SelectionRepository
from motiontrace.catalog.repositories.queries import unpack_gradient
from motiontrace.catalog.repositories.selections import check_selection_name
from motiontrace.catalog.vectors import Direction, Searcher
from motiontrace.curation.selection.errors import ChangedError, SelectionError
from motiontrace.curation.selection.outcome import choose_from
from motiontrace.curation.selection.queries import LeftOut, Voter, voters_of
from motiontrace.curation.selection.settings import SelectionSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import IndexRecord, SelectionRecord
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.curation.selection.outcome import Outcome


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen, with all that is reported of it."""

    id: str
    name: str | None
    index: IndexRecord
    manifest_version: int
    created_at: datetime
    settings: SelectionSettings
    queries: list[dict[str, Any]]
    """As SelectionRecord has them."""
    chosen_sha256: str
    """Of the ids and weights of the chosen clips, in order."""
    outcome: Outcome

    @property
    def counts(self) -> dict[str, Any]:
        """How many clips came to what, JSON values."""
        return self.outcome.counts


def make_selection(
    database: Database,
    places: CatalogSettings,
    index: IndexRecord,
    answers: Sequence[Voter | LeftOut],
    settings: SelectionSettings,
    *,
    name: str | None = None,
    on_scored: Callable[[int, int], None] = lambda done, total: None,
) -> Selection:
    """Choose clips of an index by the scores of queries, and store the selection.

    Args:
        database: of the catalog.
        places: where the index's vectors are.
        index: what to choose from.
        answers: what `QueryGradients` gave for each query; the order changes nothing.
        settings: how to choose.
        name: the users' own name of the selection, not taken; None: none.
        on_scored: is called with its progress, as that of `choose_from`.

    Raises:
        SelectionError: no query can vote, no clip moves, the floors cannot be met, no clip is chosen, or the name is
            taken.
        CatalogError: the index cannot be read, or the name cannot be one.
    """
    check_name(database, name)
    moment = now()
    searcher = Searcher.open(places.index_directory / index.name, index.recipe_digest)
    voters, left_out = _with_directions(searcher, *voters_of(answers), settings)
    gradients = np.stack([voter.gradient for voter, _ in voters])
    outcome = choose_from(database, searcher, index, [direction for _, direction in voters], settings, on_scored)
    if not len(outcome):
        raise SelectionError(_none_chosen(outcome))
    queries = [voter.document for voter, _ in voters]
    queries += [{**each.document, "left_out": each.reason} for each in left_out]
    selection_id, digest = uuid.uuid4().hex, outcome.digest()
    with database.writing() as session:
        SelectionRepository(session).create(
            index,
            selection_id=selection_id,
            name=name,
            manifest_version=searcher.manifest_version,
            settings=settings.model_dump(mode="json"),
            queries=queries,
            gradients=gradients,
            counts=outcome.counts,
            chosen_sha256=digest,
            created_at=moment,
        )
    return Selection(selection_id, name, index, searcher.manifest_version, moment, settings, queries, digest, outcome)


def repeat_selection(
    database: Database,
    places: CatalogSettings,
    record: SelectionRecord,
    *,
    on_scored: Callable[[int, int], None] = lambda done, total: None,
) -> Selection:
    """Choose the same clips again, by what is stored: the queries' gradients and the settings.

    Raises:
        ChangedError: they cannot be the same, since the index has changed: says how.
        SelectionError: the index is gone.
        CatalogError: the index cannot be read.
    """
    index = index_of(database, record)
    settings, voters = settings_of(record), voters_of_record(record)
    searcher = Searcher.open(places.index_directory / index.name, index.recipe_digest)
    kept, _ = _with_directions(searcher, voters, [], settings)
    outcome = choose_from(database, searcher, index, [direction for _, direction in kept], settings, on_scored)
    digest = outcome.digest()
    if digest != record.chosen_sha256:
        raise ChangedError(_what_changed(database, record, index, outcome))
    return Selection(
        record.id,
        record.name,
        index,
        record.manifest_version,
        record.created_at,
        settings,
        record.queries,
        digest,
        outcome,
    )


def settings_of(record: SelectionRecord) -> SelectionSettings:
    """How the clips of a stored selection were chosen."""
    # Before there was matching, clips were chosen by votes.
    return SelectionSettings.model_validate({"choose_by": "votes"} | record.settings)


def voters_of_record(record: SelectionRecord) -> list[Voter]:
    """The queries that voted for a stored selection."""
    documents = [document for document in record.queries if "left_out" not in document]
    gradients = unpack_gradient(record.gradients).reshape(len(documents), -1)
    return [Voter(gradient, document) for gradient, document in zip(gradients, documents, strict=True)]


def check_name(database: Database, name: str | None) -> None:
    """See that a selection can have this name; None is no name.

    Raises CatalogError where it cannot, and SelectionError where another one has it.
    """
    if name is None:
        return
    check_selection_name(name)
    with database.reading() as session:
        taken = SelectionRepository(session).find(name)
    if taken is not None:
        raise SelectionError(f"a selection named {name!r} is there already: choose another name")


def index_of(database: Database, record: SelectionRecord) -> IndexRecord:
    """The index that a selection was made from; raises SelectionError where it is gone or another one."""
    with database.reading() as session:
        index = None if record.index_id is None else IndexRepository(session).by_id(record.index_id)
    if index is None or index.recipe_digest != record.recipe_digest:
        what = "is gone" if index is None else "has another recipe now"
        raise SelectionError(
            f"the index {record.index_name!r} that the selection was made from {what}: index the clips again and make"
            " the selection anew"
        )
    return index


def _with_directions(
    searcher: Searcher, voters: list[Voter], left_out: list[LeftOut], settings: SelectionSettings
) -> tuple[list[tuple[Voter, Direction]], list[LeftOut]]:
    """The voters with what clips are scored against for each; one that has nothing left to say is left out too."""
    found, left_out = [], list(left_out)
    for voter in voters:
        direction = Direction(voter.gradient)
        if settings.precondition != "none":
            statistics = searcher.statistics()
            direction = statistics.precondition(voter.gradient, settings.precondition, settings.damping)
        if direction.vector is None:
            left_out.append(LeftOut("it is what all clips have in common, and nothing more", voter.document))
        else:
            found.append((voter, direction))
    if not found:
        raise SelectionError("no query can vote: they are what all clips have in common, and nothing more")
    return found, left_out


def _none_chosen(outcome: Outcome) -> str:
    counts, budget = outcome.counts, outcome.settings.budget
    dropped = counts["dropped_by_label"] + counts["dropped_as_worst"]
    asked = "" if budget is None else f" and the budget {budget} comes to {budget.most(counts['ranked']):,}"
    return f"no clip would be chosen: of the {counts['ranked']:,} that move {dropped:,} are dropped{asked}"


def _what_changed(database: Database, record: SelectionRecord, index: IndexRecord, outcome: Outcome) -> str:
    with database.reading() as session:
        changes = SelectionRepository(session).changes(index.id, record.created_at)
    outcomes = ("ranked", "no_motion", "failed")
    before, after = (sum(counts[name] for name in outcomes) for counts in (record.counts, outcome.counts))
    said = [f"it had {before:,} clips and has {after:,}"] if before != after else []
    for change, what in (
        (changes.computed, "indexed anew or for the first time"),
        (changes.labelled, "labelled by reviewers"),
        (changes.described, "given another caption, file or metadata"),
    ):
        if change.count:
            more = ", ..." if change.count > len(change.examples) else ""
            said.append(f"{change.count:,} {what} ({', '.join(change.examples)}{more})")
    if not said:
        said = ["nothing in it was changed; scores are rounded otherwise by another kind of processor or library"]
    chosen = record.counts["chosen"] + record.counts["no_motion_kept"]
    return (
        f"the same {chosen:,} clips cannot be chosen again. What has happened to the index {index.name!r} since"
        f" {record.created_at:%Y-%m-%d %H:%M} UTC: {'; '.join(said)}. To choose by the same queries and settings from"
        " the index as it is now, add --allow-changes: that is a new selection"
    )
