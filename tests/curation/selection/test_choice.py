"""Choosing clips: what must hold whatever the scores, labels and floors are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from motiontrace.attribution.votes import votes
from motiontrace.curation.selection.choice import Candidates, Choice, Decided, Fate, choose
from motiontrace.curation.selection.errors import SelectionError
from motiontrace.curation.selection.floors import Groups
from motiontrace.curation.selection.settings import Floor, SelectionSettings
from motiontrace.curation.selection.tally import Tally, tally
from tests.curation.selection.gradients import Held

COLUMNS = ("scene", "shape")


@dataclass(frozen=True)
class Case:
    scores: np.ndarray  # float32 [queries, clips]
    clips: Candidates
    settings: SelectionSettings
    gradients: Held

    @property
    def count(self) -> int:
        return self.scores.shape[1]

    @property
    def tally(self) -> Tally:
        return tally(self.scores, self.settings.percentile)

    def choose(self, **settings: Any) -> Choice:
        return choose(self.tally, self.clips, self.settings.model_copy(update=settings), self.gradients)


def written(amounts: st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    return st.one_of(amounts.map(str), st.integers(0, 100).map(lambda percent: f"{percent}%"))


@st.composite
def cases(draw: st.DrawFn, floors: int = 2, rules: tuple[str, ...] = ("matching", "votes")) -> Case:
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Few values, so that many scores tie.
    scores = rng.integers(-3, 4, (draw(st.integers(1, 5)), count)).astype(np.float32) / 4
    decided = rng.choice(4, count, p=[0.7, 0.1, 0.1, 0.1]).astype(np.int8)
    groups = {name: Groups(rng.integers(-1, 3, count).astype(np.int32), ("a", "b", "c")) for name in COLUMNS}
    places = st.sampled_from([*COLUMNS, "scene:a", "scene:b", "shape:c"])
    asked = draw(st.dictionaries(places, written(st.integers(0, 6)), max_size=floors))
    settings = SelectionSettings(
        percentile=draw(st.sampled_from([50, 75, 90])),
        budget=draw(st.none() | written(st.integers(0, 50))),
        drop_worst=draw(st.none() | written(st.integers(0, 20))),
        at_least=[f"{place}={amount}" for place, amount in asked.items()],
        labels=draw(st.booleans()),
        choose_by=draw(st.sampled_from(rules)),
    )
    return Case(scores, Candidates(decided, groups), settings, Held.drawn(rng, count))


def by_votes(floors: int = 2) -> st.SearchStrategy[Case]:
    return cases(floors, rules=("votes",))


def chosen_or_none(case: Case) -> Choice | None:
    try:
        return case.choose()
    except SelectionError:
        return None


def members(case: Case, column: str, value: str) -> np.ndarray:
    groups = case.clips.groups[column]
    return groups.codes == groups.values.index(value)


def room(case: Case, choice: Choice) -> int:
    """How many can be chosen."""
    dropped = np.isin(choice.fates, [Fate.dropped_as_worst, Fate.dropped_by_label]).sum()
    left = case.count - int(dropped)
    return left if case.settings.budget is None else min(left, case.settings.budget.most(case.count))


@given(cases())
def test_votes_are_those_of_the_method_and_means_those_of_numpy(case: Case) -> None:
    found, percentile = case.tally, case.settings.percentile
    assert found.votes.tolist() == votes(case.scores, percentile).tolist()
    below = np.percentile(case.scores.astype(np.float64), 100 - percentile, axis=1, keepdims=True)
    assert found.against.tolist() == (case.scores < below).sum(axis=0).tolist()
    assert found.score == pytest.approx(case.scores.mean(axis=0), abs=1e-6)
    assert not ((found.votes + found.against) > found.queries).any()


@given(cases())
def test_the_budget_is_met_to_the_clip_and_every_clip_has_one_fate(case: Case) -> None:
    choice = chosen_or_none(case)
    assume(choice is not None)
    assert choice is not None
    assert len(choice.rows) == len(set(choice.rows.tolist())) == room(case, choice)
    chosen = np.isin(choice.fates, [Fate.chosen, Fate.chosen_by_floor])
    assert sorted(choice.rows.tolist()) == np.flatnonzero(chosen).tolist()
    assert (np.diff(choice.ranks[choice.rows]) > 0).all()
    assert sorted(choice.ranks.tolist()) == list(range(1, case.count + 1))


@given(cases())
def test_what_is_dropped_is_never_chosen_and_as_much_is_dropped_as_was_asked(case: Case) -> None:
    choice = chosen_or_none(case)
    assume(choice is not None)
    assert choice is not None
    dropped = case.clips.decided == Decided.drop
    kept = case.clips.decided == Decided.keep
    if case.settings.labels:
        assert (choice.fates[dropped] == Fate.dropped_by_label).all()
        assert (choice.fates[kept] != Fate.dropped_as_worst).all()
    else:
        assert not (choice.fates == Fate.dropped_by_label).any()
        dropped = kept = np.zeros(case.count, np.bool_)
    amount = case.settings.drop_worst
    worst = 0 if amount is None else min(case.count, amount.most(case.count))
    # The worst of all, by another way of sorting.
    found = case.tally
    order = sorted(range(case.count), key=lambda row: (-found.against[row], found.score[row], row))
    expected = {row for row in order[:worst] if not dropped[row] and not kept[row]}
    assert set(np.flatnonzero(choice.fates == Fate.dropped_as_worst).tolist()) == expected


@given(by_votes(floors=0))
def test_by_votes_and_without_floors_the_best_are_chosen_by_votes_then_by_mean_score(case: Case) -> None:
    choice, found = case.choose(), case.tally
    weight = dict.fromkeys(range(case.count), 1.0)
    if case.settings.labels:
        weight |= {int(row): 0.5 for row in np.flatnonzero(case.clips.decided == Decided.down_weight)}
    left = np.flatnonzero(~np.isin(choice.fates, [Fate.dropped_as_worst, Fate.dropped_by_label])).tolist()
    best = sorted(left, key=lambda row: (-found.votes[row] * weight[row], -weight[row], -found.score[row], row))
    assert choice.rows.tolist() == best[: len(choice.rows)]
    assert [choice.weights[row] for row in left] == [weight[row] for row in left]
    assert not (choice.fates == Fate.chosen_by_floor).any()


@given(by_votes(), st.data())
def test_a_clip_with_more_votes_never_ranks_lower_than_before(case: Case, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, case.count - 1))
    before, tallied = case.choose(at_least=()), case.tally
    more = tallied.votes.copy()
    more[row] += data.draw(st.integers(1, 3))
    after = choose(replace(tallied, votes=more), case.clips, case.settings.model_copy(update={"at_least": ()}))
    assert after.ranks[row] <= before.ranks[row]
    assert row in after.rows or row not in before.rows


@given(by_votes(), st.randoms(use_true_random=False))
def test_the_order_of_queries_and_of_clips_changes_nothing(case: Case, random: Any) -> None:
    queries = random.sample(range(len(case.scores)), len(case.scores))
    clips = np.array(random.sample(range(case.count), case.count))
    groups = {name: replace(each, codes=each.codes[clips]) for name, each in case.clips.groups.items()}
    moved = Candidates(case.clips.decided[clips], groups, order=clips)
    shuffled = Case(case.scores[queries][:, clips], moved, case.settings, case.gradients)
    one, other = chosen_or_none(case), chosen_or_none(shuffled)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.rows.tolist() == clips[other.rows].tolist()
        assert one.fates[clips].tolist() == other.fates.tolist()


@given(cases())
def test_floors_are_met_as_far_as_there_are_clips(case: Case) -> None:
    choice = chosen_or_none(case)
    assume(choice is not None)
    assert choice is not None
    budget = room(case, choice)
    open_ = ~np.isin(choice.fates, [Fate.dropped_as_worst, Fate.dropped_by_label])
    asked = {(floor.column, floor.value): floor.amount.least(budget) for floor in case.settings.at_least}
    for column in COLUMNS:
        for value in "abc":
            least = asked.get((column, value), asked.get((column, None), 0))
            group = members(case, column, value)
            assert group[choice.rows].sum() >= min(least, (group & open_).sum())
    for report in choice.reports():
        group = members(case, report.column, report.value)
        assert report.asked == asked.get((report.column, report.value), asked.get((report.column, None)))
        assert (report.available, report.chosen) == ((group & open_).sum(), group[choice.rows].sum())


@given(by_votes())
def test_by_votes_a_clip_is_chosen_by_a_floor_where_its_rank_alone_would_not_have_done(case: Case) -> None:
    choice, free = chosen_or_none(case), case.choose(at_least=())
    assume(choice is not None)
    assert choice is not None
    by_rank = set(free.rows.tolist())
    assert {int(row): choice.fates[row] == Fate.chosen for row in choice.rows} == {
        int(row): int(row) in by_rank for row in choice.rows
    }


@given(cases())
def test_what_floors_add_would_not_have_been_chosen_without_and_floors_that_are_met_add_nothing(case: Case) -> None:
    choice, free = chosen_or_none(case), case.choose(at_least=())
    assume(choice is not None)
    assert choice is not None
    added = set(np.flatnonzero(choice.fates == Fate.chosen_by_floor).tolist())
    assert not added & set(free.rows.tolist())
    met = all(
        members(case, report.column, report.value)[free.rows].sum() >= min(report.asked, report.available)
        for report in choice.reports()
    )
    if met and len({floor.column for floor in case.settings.at_least}) <= 1:
        assert choice.rows.tolist() == free.rows.tolist() and not added
    if not met:
        assert added


@given(cases(floors=1))
def test_floors_of_one_column_are_refused_only_where_no_choice_could_meet_them(case: Case) -> None:
    choice = chosen_or_none(case)
    free = case.choose(at_least=())
    budget = room(case, free)
    open_ = ~np.isin(free.fates, [Fate.dropped_as_worst, Fate.dropped_by_label])
    needed = 0
    for floor in case.settings.at_least:
        for value in "abc" if floor.value is None else floor.value:
            needed += min(floor.amount.least(budget), int((members(case, floor.column, value) & open_).sum()))
    assert (choice is None) == (needed > budget)


@given(by_votes(floors=1))
def test_a_floor_of_one_column_costs_as_little_rank_as_it_can(case: Case) -> None:
    """Nobody who was left out is better than somebody chosen whom the floor does not need."""
    choice = chosen_or_none(case)
    assume(choice is not None)
    assert choice is not None
    budget = room(case, choice)
    reports = {(report.column, report.value): report for report in choice.reports()}
    left_out = np.flatnonzero(choice.fates == Fate.over_budget)
    for row in choice.rows.tolist():
        tight = [
            report
            for (column, value), report in reports.items()
            if members(case, column, value)[row] and report.chosen <= min(report.asked, report.available)
        ]
        if not tight:
            assert not len(left_out) or choice.ranks[left_out].min() > choice.ranks[row]
        else:  # of its own value none better was left out
            own = left_out[members(case, tight[0].column, tight[0].value)[left_out]]
            assert not len(own) or choice.ranks[own].min() > choice.ranks[row]
    assert len(choice.rows) == budget


@given(cases())
def test_floors_of_several_columns_that_fit_together_are_never_refused(case: Case) -> None:
    free = case.choose(at_least=())
    budget = room(case, free)
    columns = {
        floor.column: [each for each in case.settings.at_least if each.column == floor.column]
        for floor in case.settings.at_least
    }
    most = sum(
        3 * floor.amount.least(budget) if floor.value is None else floor.amount.least(budget)
        for floors in columns.values()
        for floor in floors
    )
    assume(most <= budget)
    assert chosen_or_none(case) is not None


def candidates(count: int, **columns: list[str]) -> Candidates:
    groups = {}
    for name, texts in columns.items():
        values = tuple(dict.fromkeys(texts))
        groups[name] = Groups(np.array([values.index(text) for text in texts], np.int32), values)
    return Candidates(np.zeros(count, np.int8), groups)


def ranked(count: int) -> Tally:
    """The first is the best."""
    return Tally(np.zeros(count, np.int32), np.zeros(count, np.int32), -np.arange(count, dtype=np.float32), 1)


def test_clips_that_serve_two_floors_at_once_are_taken_where_there_is_no_room_for_others() -> None:
    clips = candidates(
        6,
        scene=["day", "day", "night", "dusk", "night", "dusk"],
        shape=["ball", "ball", "ball", "ball", "ring", "cube"],
    )
    settings = SelectionSettings(choose_by="votes", budget="3", at_least=["scene=1", "shape=1"])
    choice = choose(ranked(6), clips, settings)
    assert choice.rows.tolist() == [0, 4, 5]
    assert choice.fates.tolist() == [0, 2, 2, 2, 1, 1]
    roomy = choose(ranked(6), clips, settings.model_copy(update={"budget": None}))
    assert roomy.rows.tolist() == list(range(6))


def test_a_value_may_have_a_floor_of_its_own() -> None:
    clips = candidates(10, scene=["day"] * 7 + ["night"] * 3)
    settings = SelectionSettings(choose_by="votes", budget="4", at_least=["scene=1", "scene:night=50%"])
    assert choose(ranked(10), clips, settings).rows.tolist() == [0, 1, 7, 8]
    reports = choose(ranked(10), clips, settings).reports()
    assert [(each.value, each.asked, each.available, each.chosen) for each in reports] == [
        ("day", 1, 7, 2),
        ("night", 2, 3, 2),
    ]


@pytest.mark.parametrize(
    ("floors", "said"),
    [
        (["scene=3"], "the floors need 6 clips and only 4 are chosen .6 for 2 values of scene.: lower a floor"),
        (["scene:nigth=1"], "no clip that moves has 'nigth' in the column 'scene', .* there are day, night"),
        (["weather=1"], "no clip that moves has anything in the column 'weather'"),
    ],
)
def test_floors_that_cannot_be_met_are_refused_in_words(floors: list[str], said: str) -> None:
    clips = candidates(10, scene=["day", "night"] * 5)
    clips = replace(clips, groups={**clips.groups, "weather": Groups(np.full(10, -1, np.int32), ())})
    with pytest.raises(SelectionError, match=said):
        choose(ranked(10), clips, SelectionSettings(choose_by="votes", budget="4", at_least=floors))


def test_everything_but_the_worst_needs_no_budget() -> None:
    scores = np.linspace(1, -1, 20, dtype=np.float32)[None]
    found = tally(scores, 90)
    choice = choose(found, candidates(20), SelectionSettings(drop_worst="10%"))
    assert choice.rows.tolist() == list(range(18))
    assert Counter(choice.fates.tolist()) == {Fate.chosen: 18, Fate.dropped_as_worst: 2}


@pytest.mark.parametrize("text", ["5000", "10%", "12.5%", "0%", "100%", "0.000001%"])
def test_amounts_are_written_as_they_are_read(text: str) -> None:
    assert str(SelectionSettings(budget=text).budget) == text


@pytest.mark.parametrize("text", ["-1", "101%", "ten", "5 %%", "", "1e3", "٣"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no amount|more than all"):
        SelectionSettings(budget=text)


def test_a_share_is_exact_where_floats_are_not() -> None:
    amount = SelectionSettings(budget="0.07%").budget
    assert amount is not None
    assert (amount.most(10_000), amount.least(10_000), amount.most(9_999), amount.least(9_999)) == (7, 7, 6, 7)


@given(st.text(min_size=1), st.none() | st.text(), st.integers(0, 100))
def test_floors_are_read_as_they_are_written(column: str, value: str | None, percent: int) -> None:
    from motiontrace.curation.selection.settings import Amount

    floor = Floor(column, value, Amount.parse(f"{percent}%"))
    assert Floor.parse(str(floor)) == floor


def test_settings_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="two floors for scene:a"):
        SelectionSettings(at_least=["scene:a=1", "scene:a=2"])
    with pytest.raises(ValueError, match="kept only where there is no budget"):
        SelectionSettings(budget="1", no_motion=True)
    assert SelectionSettings.model_validate(SelectionSettings().model_dump(mode="json")) == SelectionSettings()
