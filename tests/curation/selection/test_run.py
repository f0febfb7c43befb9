"""Selections from a real index: what queries, labels and floors make of it, stored and chosen again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import inspect

from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.repositories import ClipRow, EntryRepository, IndexRepository, SelectionRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import Searcher
from motiontrace.curation.selection.errors import ChangedError, SelectionError
from motiontrace.curation.selection.queries import LeftOut, Voter
from motiontrace.curation.selection.report import write_report
from motiontrace.curation.selection.run import voters_of_record
from tests.catalog.indexing import NAME, RECIPE
from tests.catalog.vectors import vector
from tests.curation.selection.indexes import Clip, Index, chosen_ids, moving, opened, publish, voter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDS = [f"{number:02}" for number in range(60)] + ["B", "ä", "映像"]
STILL = ["still 1", "still 2", "still 3"]


def corpus() -> list[Clip]:
    scenes = ("day", "night", "dusk")
    clips = [Clip(each, vector(each), {"scene": scenes[place % 3], "n": place % 2}) for place, each in enumerate(IDS)]
    return [*clips, *map(Clip, STILL)]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    places = CatalogSettings(home=tmp_path / "home")
    publish(places, corpus(), compacted=True)
    with opened(places) as index:
        yield index


def test_clips_are_chosen_by_the_votes_that_a_plain_count_gives(index: Index) -> None:
    selection = index.select("a", "b", "c", budget="10", percentile=80, choose_by="votes")
    rounded = {clip_id: vector(clip_id).astype(np.float16).astype(np.float64) for clip_id in IDS}
    votes, means = dict.fromkeys(IDS, 0), dict.fromkeys(IDS, 0.0)
    for name in "abc":
        scores = {clip_id: float(rounded[clip_id] @ voter(name).gradient) for clip_id in IDS}
        cut = np.percentile(list(scores.values()), 80)
        for clip_id, score in scores.items():
            votes[clip_id] += score > cut
            means[clip_id] += score / 3
    expected = sorted(IDS, key=lambda clip_id: (-votes[clip_id], -means[clip_id]))[:10]
    chosen = list(selection.outcome.chosen())
    assert [clip.id for clip in chosen] == expected
    assert [clip.votes for clip in chosen] == [votes[clip_id] for clip_id in expected]
    assert [clip.score for clip in chosen] == pytest.approx([means[clip_id] for clip_id in expected], abs=1e-5)
    assert [clip.rank for clip in chosen] == list(range(1, 11))
    assert {clip.reason for clip in chosen} <= {"votes", "mean score"}
    assert selection.counts["by_votes"] == {
        str(count): sum(votes[clip_id] == count for clip_id in expected)
        for count in sorted({votes[clip_id] for clip_id in expected}, reverse=True)
    }


def together(query: np.ndarray, count: int) -> set[str]:
    """The clips that greedy matching finds, one by one and in so many words."""
    gradients = {clip_id: vector(clip_id).astype(np.float16).astype(np.float64) for clip_id in IDS}
    found: list[str] = []
    for _ in range(count):
        total = sum((gradients[clip_id] for clip_id in found), np.zeros(len(query)))

        def cosine(clip_id: str, total: np.ndarray = total) -> float:
            return float((total + gradients[clip_id]) @ query / np.linalg.norm(total + gradients[clip_id]))

        found.append(max((each for each in IDS if each not in found), key=cosine))
    return set(found)


def test_a_budget_is_filled_by_the_clips_that_together_point_most_nearly_where_the_queries_do(index: Index) -> None:
    selection = index.select("a", "b", "c", budget="10")
    chosen = list(selection.outcome.chosen())
    expected = together(np.mean([voter(name).gradient for name in "abc"], axis=0), 10)
    assert {clip.id for clip in chosen} == expected
    assert set(chosen_ids(index.select("a", "b", "c", budget="10", choose_by="votes"))) != expected
    ranks = [clip.rank for clip in chosen if clip.rank is not None]
    assert len(ranks) == 10 and ranks == sorted(ranks) and max(ranks) > 10
    assert {clip.reason for clip in chosen} == {"matching"}


def test_centred_queries_are_matched_by_where_they_point_and_not_by_what_all_scores_lack(index: Index) -> None:
    searcher = Searcher.open(index.places.index_directory / NAME, index.record.recipe_digest)
    direction = searcher.statistics().precondition(voter("a").gradient, "centre", 0.1)
    assert direction.vector is not None and abs(direction.offset) > 0.01
    assert set(chosen_ids(index.select("a", budget="12", precondition="centre"))) == together(direction.vector, 12)


def test_where_a_budget_takes_all_nothing_is_said_to_have_been_chosen(index: Index) -> None:
    assert {clip.reason for clip in index.select("a", budget="100%").outcome.chosen()} == {"not dropped"}


def test_neither_the_order_of_queries_nor_of_segments_changes_what_is_chosen(index: Index, tmp_path: Path) -> None:
    settings = {"budget": "20%", "at_least": ["scene=2"], "drop_worst": "10%"}
    one = index.select("a", "b", "c", **settings)
    other = index.select("c", "a", "b", **settings)
    assert one.chosen_sha256 == other.chosen_sha256
    assert one.id != other.id
    scattered = CatalogSettings(home=tmp_path / "scattered")
    clips = corpus()
    publish(scattered, clips[::-3], clips[0:9], clips, clips[5:20])
    with opened(scattered) as spread:
        again = spread.select("b", "c", "a", **settings)
    assert again.chosen_sha256 == one.chosen_sha256
    assert list(again.outcome.chosen()) == list(one.outcome.chosen())


def test_what_reviewers_decided_is_honoured_and_can_be_ignored(index: Index) -> None:
    plain = chosen_ids(index.select("a", "b", budget="12", drop_worst="12"))
    worst = [
        clip_id for clip_id, fate in zip(index_ids(index), fates(index, drop_worst="12"), strict=True) if fate == 4
    ]
    index.label("drop", plain[0], plain[5])
    index.label("down_weight", plain[1])
    index.label("keep", worst[0])
    selection = index.select("a", "b", drop_worst="12")
    chosen = {clip.id: clip for clip in selection.outcome.chosen()}
    assert not {plain[0], plain[5]} & chosen.keys()
    assert worst[0] in chosen
    assert not set(worst[1:]) & chosen.keys()
    assert (chosen[plain[1]].weight, chosen[plain[1]].reason) == (0.5, "not dropped; weighed down by a reviewer")
    assert chosen[plain[1]].rank > 2
    counts = selection.counts
    assert (counts["dropped_by_label"], counts["dropped_as_worst"], counts["weighed_down"]) == (2, 11, 1)
    assert counts["chosen"] == len(IDS) - 13
    assert chosen_ids(index.select("a", "b", budget="12", drop_worst="12", labels=False)) == plain


def index_ids(index: Index) -> list[str]:
    return list(Searcher.open(index.places.index_directory / NAME, RECIPE.digest).ids)


def fates(index: Index, **settings: str) -> list[int]:
    return index.select("a", "b", **settings).outcome.choice.fates.tolist()


def test_floors_are_of_columns_of_the_manifest(index: Index) -> None:
    selection = index.select("a", budget="9", at_least=["scene=30%", "n:1=4"], choose_by="votes")
    extras = {clip.id: clip.extra for clip in corpus()}
    chosen = list(selection.outcome.chosen())
    assert len(chosen) == 9
    for scene in ("day", "night", "dusk"):
        assert sum(extras[clip.id]["scene"] == scene for clip in chosen) == 3
    assert sum(extras[clip.id]["n"] == 1 for clip in chosen) >= 4
    reasons = {clip.reason for clip in chosen if clip.rank > 9}
    assert reasons
    assert all(reason.startswith("floor of scene:") for reason in reasons)
    assert {(floor["column"], floor["value"]) for floor in selection.counts["floors"]} == {
        ("scene", "day"),
        ("scene", "night"),
        ("scene", "dusk"),
        ("n", "1"),
    }


def test_still_clips_are_counted_and_kept_only_when_asked(index: Index) -> None:
    index.label("drop", "still 2")
    index.label("down_weight", "still 3")
    without = index.select("a", drop_worst="10%")
    assert not set(STILL) & set(chosen_ids(without))
    assert (without.counts["no_motion"], without.counts["no_motion_kept"], without.counts["ranked"]) == (3, 0, len(IDS))
    kept = index.select("a", drop_worst="10%", no_motion=True)
    last = list(kept.outcome.chosen())[-2:]
    assert [(clip.id, clip.rank, clip.score, clip.weight) for clip in last] == [
        ("still 1", None, None, 1.0),
        ("still 3", None, None, 0.5),
    ]
    assert kept.counts["no_motion_kept"] == 2
    everything = index.select("a", drop_worst="10%", no_motion=True, labels=False)
    assert everything.counts["no_motion_kept"] == 3


def test_queries_that_cannot_vote_are_stored_with_their_reason_and_twins_vote_once(index: Index) -> None:
    broken = LeftOut("it is no video", {"video": "/broken.mp4", "prompt": "x"})
    twin = Voter(voter("a").gradient.copy(), {"query": "f" * 32})
    selection = index.select("a", "b", answers=[broken, twin], budget="5")
    assert selection.outcome.tally.queries == 2
    left_out = [query for query in index.stored(selection.id).queries if "left_out" in query]
    assert left_out == [
        {"video": "/broken.mp4", "prompt": "x", "left_out": "it is no video"},
        {"query": "f" * 32, "left_out": "it is the same as /a.mp4, which votes once"},
    ]
    assert selection.chosen_sha256 == index.select("a", "b", budget="5").chosen_sha256
    with pytest.raises(SelectionError, match=r"no query can vote: /broken\.mp4: it is no video"):
        index.select(answers=[broken], budget="5")


def test_a_selection_is_chosen_again_from_what_is_stored(index: Index) -> None:
    index.label("drop", *IDS[:3])
    first = index.select("a", "b", budget="10", drop_worst="5", at_least=["scene=1"], name="mine")
    again = index.repeat(first)
    assert (again.id, again.name, again.queries, again.counts) == (first.id, "mine", first.queries, first.counts)
    assert list(again.outcome.chosen()) == list(first.outcome.chosen())
    record = index.stored("mine")
    assert [each.document for each in voters_of_record(record)] == first.queries
    with index.database.writing() as session:  # that changes nothing of what was chosen
        row = ClipRow(id="05", path="/elsewhere", caption="x", extra={"scene": "dusk"})
        EntryRepository(session).refresh(index.record.id, [row])
    assert index.repeat(first).chosen_sha256 == first.chosen_sha256


def test_a_selection_of_before_there_was_matching_is_chosen_again_by_votes(index: Index) -> None:
    first = index.select("a", "b", budget="8", choose_by="votes")
    with index.database.writing() as session:
        record = SelectionRepository(session).find(first.id)
        assert record is not None
        record.settings = {name: value for name, value in record.settings.items() if name != "choose_by"}
    assert index.repeat(first).chosen_sha256 == first.chosen_sha256


def test_what_changed_in_the_index_is_told_where_the_same_cannot_be_chosen_again(index: Index) -> None:
    first = index.select("a", "b", budget="10")
    time.sleep(0.002)
    publish(index.places, [Clip("new", voter("a").gradient)])
    with pytest.raises(ChangedError) as told:
        index.repeat(first)
    assert "the same 10 clips cannot be chosen again" in str(told.value)
    assert "it had 66 clips and has 67; 1 indexed anew or for the first time (new)" in str(told.value)
    assert "labelled" not in str(told.value)
    second = index.select("a", "b", budget="10")
    time.sleep(0.002)
    index.label("drop", chosen_ids(second)[0])
    with pytest.raises(ChangedError, match=rf"UTC: 1 labelled by reviewers \({chosen_ids(second)[0]}\)\. To choose"):
        index.repeat(second)


def test_a_selection_whose_index_is_gone_says_so(index: Index) -> None:
    first = index.select("a", budget="10")
    with index.database.writing() as session:
        IndexRepository(session).delete(NAME)
    with pytest.raises(SelectionError, match="the index 'demo' that the selection was made from is gone"):
        index.repeat(first)


def test_centred_queries_score_all_clips_zero_on_average(index: Index) -> None:
    plain, centred = (index.select("a", "b", budget="10", precondition=kind) for kind in ("none", "centre"))
    assert abs(float(centred.outcome.tally.score.mean())) < 1e-6 < abs(float(plain.outcome.tally.score.mean()))
    whitened = index.select("a", "b", budget="10", precondition="whiten", damping=0.01)
    assert whitened.chosen_sha256 != plain.chosen_sha256
    assert index.repeat(whitened).chosen_sha256 == whitened.chosen_sha256


def test_a_query_that_is_what_all_clips_share_is_left_out_when_centred(tmp_path: Path) -> None:
    places = CatalogSettings(home=tmp_path)
    shared = vector("shared")
    publish(places, [Clip(each, shared) for each in "abc"])
    with opened(places) as index:
        common = Voter(shared.astype(np.float16).astype(np.float32), {"video": "/common.mp4"})
        selection = index.select("a", answers=[common], budget="1", precondition="centre")
        assert [query.get("left_out") for query in selection.queries] == [
            None,
            "it is what all clips have in common, and nothing more",
        ]
        with pytest.raises(SelectionError, match="no query can vote: they are what all clips have in common"):
            index.select(answers=[common], budget="1", precondition="centre")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"budget": "0"}, r"that move 0 are dropped and the budget 0 comes to 0"),
        ({"budget": "1%"}, r"the budget 1% comes to 0"),
        ({"drop_worst": "100%"}, r"of the (\d+) that move \1 are dropped$"),
    ],
)
def test_a_selection_of_nothing_is_refused_and_not_stored(index: Index, settings: dict[str, str], said: str) -> None:
    with pytest.raises(SelectionError, match=said):
        index.select("a", name="none", **settings)
    with index.database.reading() as session:
        assert SelectionRepository(session).find("none") is None


def test_selections_are_listed_the_newest_first_without_their_gradients(index: Index) -> None:
    made = [index.select(name, budget="3").id for name in ("a", "b", "c")]
    with index.database.reading() as session:
        listed = SelectionRepository(session).latest(2)
        assert [each.id for each in listed] == made[:0:-1]
        assert all("gradients" in inspect(each).unloaded for each in listed)


def test_what_cannot_be_chosen_from_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    places = CatalogSettings(home=tmp_path)
    publish(places, [Clip("still")])
    with opened(places) as index:
        with pytest.raises(SelectionError, match="holds no clip that moves"):
            index.select("a", budget="1")
        with pytest.raises(CatalogError, match="cannot be a selection's"):
            index.select("a", budget="1", name=" ")
    publish(places, moving("a", "b"))
    with opened(places) as index:
        index.select("a", budget="1", name="taken")
        with pytest.raises(SelectionError, match="named 'taken' is there already"):
            index.select("b", budget="1", name="taken")


def test_of_the_clips_that_are_dropped_as_least_related_those_that_fight_are_counted(tmp_path: Path) -> None:
    axis, rng = voter("a").gradient, np.random.default_rng(0)
    against = []
    for number in range(3):
        opposite = -axis + rng.normal(0, 0.1 / np.sqrt(len(axis)), len(axis))
        unit = (opposite / np.linalg.norm(opposite)).astype(np.float32)
        against.append(Clip(f"against {number}", unit))
    places = CatalogSettings(home=tmp_path / "home")
    publish(places, [*corpus(), *against])
    with opened(places) as index:
        selection = index.select("a", drop_worst="10")
        write_report(index.database, selection, tmp_path / "report.jsonl")
        none = index.select("b", drop_worst="10")
    assert (selection.counts["dropped_as_worst"], selection.counts["dropped_that_fight"]) == (10, 3)
    assert (selection.counts["chosen_that_fight"], none.counts["dropped_that_fight"]) == (0, 0)
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows if row["queries_fought"]} == {clip.id for clip in against}
