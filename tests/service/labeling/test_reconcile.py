"""What a task says becomes its clip's label: whoever said it, however often it is read, and whatever else is said."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiontrace.catalog.records import now
from motiontrace.catalog.repositories import LabelRepository, LabelStudioRepository
from motiontrace.service.labeling.label_studio.connection import LabelStudio, LabelStudioError
from motiontrace.service.labeling.label_studio.people import People
from motiontrace.service.labeling.label_studio.reading import read_task
from motiontrace.service.labeling.label_studio.reconcile import (
    DELETED,
    SAYS_NOTHING,
    SKIPPED,
    Reconciler,
    reconcile,
)
from tests.service.labeling.reviews import (
    KIM,
    LEE,
    MORNING,
    add_project,
    add_to,
    annotation,
    changes,
    current,
    history,
    note,
    said,
    task,
    verdict,
)
from tests.service.labeling.standin import TOKEN, StandIn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.orm import Session

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import LabelStudioProjectRecord

BOTH_DATABASES = True
CLIP, OTHER = "left-red", "up blue"


@pytest.fixture
def label_studio(studio: StandIn) -> Iterator[LabelStudio]:
    with LabelStudio(studio.url, TOKEN) as label_studio:
        yield label_studio


@pytest.fixture
def project(database: Database, studio: StandIn) -> LabelStudioProjectRecord:
    """Its task 5 shows the clip."""
    return add_project(database, {5: CLIP}, server=studio.url)


class Reader:
    """Takes over task 5 as it is said to be."""

    def __init__(self, database: Database, label_studio: LabelStudio, project: LabelStudioProjectRecord) -> None:
        self._database, self._people, self._project = database, People(label_studio), project

    def __call__(self, *annotations: Any, number: int = 5, clip: str | None = CLIP) -> str:
        with self._database.writing() as session:
            return self.within(session, *annotations, number=number, clip=clip)

    def within(self, session: Session, *annotations: Any, number: int = 5, clip: str | None = CLIP) -> str:
        reading = read_task(task(number, clip, *annotations), self._people)
        return reconcile(session, self._project.id, reading)


@pytest.fixture
def take_over(database: Database, label_studio: LabelStudio, project: LabelStudioProjectRecord) -> Reader:
    return Reader(database, label_studio, project)


def label(database: Database, word: str, **more: Any) -> None:
    """Say something of the clip by the service's own API."""
    with database.writing() as session:
        LabelRepository(session).put(CLIP, verdict=word, decision=None, tool="api", **more)


def test_an_annotation_becomes_the_label_as_of_when_it_was_said(database: Database, take_over: Reader) -> None:
    result = verdict("unrealistic", "down-weight", "slides")
    assert take_over(annotation(3, result, 5, completed_by=LEE)) == "labelled"
    found = current(database, CLIP)
    assert found is not None
    assert (found.verdict, found.decision, found.note) == ("unrealistic", "down_weight", "slides")
    assert (found.author, found.tool) == ("lee@example.com", "label-studio")
    assert found.created_at == MORNING + timedelta(minutes=5)


def test_what_was_taken_over_is_not_taken_over_again(database: Database, take_over: Reader) -> None:
    first = annotation(3, verdict("cartoon"), 5)
    take_over(first)
    label(database, "realistic")
    assert take_over(first) == "unchanged"
    assert said(database, CLIP) == "realistic"
    assert take_over(annotation(3, verdict("static"), 7)) == "unchanged"  # said before the other: kept, and not held
    assert said(database, CLIP) == "realistic"
    assert [word for word, _ in history(database, CLIP)] == ["realistic", "static", "cartoon"]


def test_of_several_the_last_said_counts_and_ground_truth_before_all(database: Database, take_over: Reader) -> None:
    kim = annotation(3, verdict("cartoon"), 5, completed_by=KIM)
    lee = annotation(4, verdict("static"), 7, completed_by=LEE)
    take_over(lee, kim)
    assert said(database, CLIP) == "static"
    assert take_over(kim | {"ground_truth": True, "updated_at": "2026-03-01T08:09:00Z"}, lee) == "changed"
    assert said(database, CLIP) == "cartoon"


def test_what_is_left_counts_again_although_it_is_older(database: Database, take_over: Reader) -> None:
    """Also where more was said in between, but of no account to this task: the newest label was its own."""
    older, newer = annotation(3, verdict("cartoon"), 5), annotation(4, verdict("static"), 7, completed_by=LEE)
    take_over(older, newer)
    assert take_over(older) == "changed"
    found = current(database, CLIP)
    assert found is not None
    assert (found.verdict, found.author) == ("cartoon", "kim@example.com")
    assert [word for word, _ in history(database, CLIP)] == ["cartoon", "static"]


def test_what_is_left_does_not_count_before_what_was_said_elsewhere_since(
    database: Database, take_over: Reader
) -> None:
    older, newer = annotation(3, verdict("cartoon"), 5), annotation(4, verdict("static"), 7, completed_by=LEE)
    take_over(older, newer)
    label(database, "realistic")
    take_over(older)
    assert said(database, CLIP) == "realistic"


def test_what_was_said_before_another_label_was_confirmed_does_not_hold(database: Database, take_over: Reader) -> None:
    label(database, "realistic", said_at=MORNING)
    label(database, "realistic")  # now
    assert take_over(annotation(3, verdict("cartoon"), 5)) == "unchanged"
    assert said(database, CLIP) == "realistic"
    assert [word for word, _ in history(database, CLIP)] == ["realistic", "cartoon"]


def while_it_waits(database: Database, work: Callable[[], object], meanwhile: Callable[[Session], object]) -> None:
    """Do `work` in a thread while a session that has done `meanwhile` goes on."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    with database.writing() as session:
        meanwhile(session)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()  # it waits
    thread.join(30)
    assert not thread.is_alive()
    assert not failed


def test_what_is_left_does_not_count_before_what_is_said_elsewhere_at_the_same_time(
    database: Database, take_over: Reader
) -> None:
    older, newer = annotation(3, verdict("cartoon"), 5), annotation(4, verdict("static"), 7, completed_by=LEE)
    take_over(older, newer)
    while_it_waits(
        database,
        lambda: take_over(older),
        lambda session: LabelRepository(session).put(CLIP, verdict="realistic", decision=None, tool="api"),
    )
    assert said(database, CLIP) == "realistic"


@pytest.fixture
def elsewhere(database: Database, studio: StandIn, label_studio: LabelStudio) -> Reader:
    """Takes over task 5 of another project, that shows the same clip."""
    return Reader(database, label_studio, add_project(database, {5: CLIP}, server=studio.url, number=8))


def test_a_label_that_another_task_still_says_is_not_withdrawn(
    database: Database, take_over: Reader, elsewhere: Reader
) -> None:
    assert take_over(annotation(3, verdict("cartoon"), 5)) == "labelled"
    assert elsewhere(annotation(4, verdict("cartoon"), 7)) == "labelled"
    assert take_over(annotation(3, verdict("cartoon"), 8, was_cancelled=True)) == "unchanged"
    assert take_over() == "unchanged"
    assert said(database, CLIP) == "cartoon"
    assert elsewhere() == "withdrawn"
    assert said(database, CLIP) is None
    assert history(database, CLIP) == [(None, DELETED), ("cartoon", "")]


def test_what_is_left_of_a_task_does_not_replace_what_another_still_says(
    database: Database, take_over: Reader, elsewhere: Reader
) -> None:
    older, newer = annotation(3, verdict("static"), 5), annotation(4, verdict("cartoon"), 7)
    take_over(older, newer)
    elsewhere(annotation(6, verdict("cartoon"), 7))
    assert take_over(older) == "unchanged"
    assert said(database, CLIP) == "cartoon"


def test_of_two_tasks_that_take_their_label_back_at_once_neither_counts_on_the_other(
    database: Database, take_over: Reader, elsewhere: Reader
) -> None:
    for reader in (take_over, elsewhere):
        reader(annotation(3, verdict("cartoon"), 5))
    while_it_waits(database, elsewhere, lambda session: take_over.within(session))
    assert said(database, CLIP) is None


@pytest.mark.parametrize(
    ("then", "why", "author"),
    [
        ((), DELETED, ""),
        ((annotation(3, verdict("cartoon"), 7, was_cancelled=True),), SKIPPED, "kim@example.com"),
        ((annotation(3, [], 7),), SAYS_NOTHING, "kim@example.com"),
        ((annotation(3, verdict("x" * 65, note="no word fits"), 7),), "no word fits", "kim@example.com"),
    ],
    ids=["deleted", "skipped", "emptied", "noted"],
)
def test_a_label_is_withdrawn_with_what_it_came_from(
    database: Database, take_over: Reader, then: tuple[Any, ...], why: str, author: str
) -> None:
    take_over(annotation(3, verdict("cartoon"), 5))
    assert take_over(*then) == "withdrawn"
    assert current(database, CLIP) is None
    assert history(database, CLIP) == [(None, why), ("cartoon", "")]
    with database.reading() as session:
        assert LabelRepository(session).history(CLIP)[0].author == author
    assert take_over(*then) == "unchanged"
    assert len(history(database, CLIP)) == 2


@pytest.mark.parametrize("then", [(), (annotation(3, verdict("cartoon"), 7, was_cancelled=True),)])
def test_what_was_said_elsewhere_since_is_not_withdrawn(
    database: Database, take_over: Reader, then: tuple[Any, ...]
) -> None:
    take_over(annotation(3, verdict("cartoon"), 5))
    label(database, "realistic")
    assert take_over(*then) == "unchanged"
    assert said(database, CLIP) == "realistic"


def test_skipping_is_taken_back_although_label_studios_clock_is_behind(database: Database, take_over: Reader) -> None:
    take_over(annotation(3, verdict("cartoon"), 5))
    take_over(annotation(3, verdict("cartoon"), 6, was_cancelled=True))  # noted by our clock: months later
    assert take_over(annotation(3, verdict("cartoon"), 7)) == "labelled"
    assert said(database, CLIP) == "cartoon"


def test_a_time_to_come_counts_as_now(database: Database, take_over: Reader) -> None:
    ahead = (now() - MORNING) / timedelta(minutes=1) + 90
    take_over(annotation(3, verdict("cartoon"), ahead))
    take_over(annotation(3, verdict("static"), ahead + 1))
    assert said(database, CLIP) == "static"
    label(database, "realistic")
    assert said(database, CLIP) == "realistic"


@pytest.mark.parametrize("cancelled", [{}, {"was_cancelled": True}])
def test_a_task_that_says_nothing_makes_no_label(database: Database, take_over: Reader, cancelled: Any) -> None:
    assert take_over() == "unchanged"
    assert take_over(annotation(3, [], 5, **cancelled)) == "unchanged"
    assert history(database, CLIP) == []


def test_a_task_of_no_clip_that_is_known_is_unknown(database: Database, take_over: Reader) -> None:
    first = annotation(3, verdict("cartoon"), 5)
    for clip in (None, "nobody", 17):
        assert take_over(first, number=6, clip=clip) == "unknown"  # type: ignore[arg-type]
    assert take_over(first, clip="nobody") == "unknown"  # known, and now said to show another clip
    assert take_over(first, clip=None) == "labelled"  # known: what its data say of it was lost there
    assert said(database, CLIP) == "cartoon"


def test_a_task_that_others_made_is_known_from_now_on(
    database: Database, take_over: Reader, project: LabelStudioProjectRecord
) -> None:
    assert take_over(annotation(3, verdict("cartoon"), 5), number=6, clip=OTHER) == "labelled"
    assert said(database, OTHER) == "cartoon"
    with database.reading() as session:
        found = LabelStudioRepository(session).task(project.id, 6)
    assert found is not None
    assert (found.clip_id, found.annotation) == (OTHER, 3)


def test_a_task_that_shows_another_clip_now_leaves_the_first_ones_label(database: Database, take_over: Reader) -> None:
    first = annotation(3, verdict("cartoon"), 5)
    take_over(first)
    assert take_over(first, clip=OTHER) == "labelled"
    assert (said(database, CLIP), said(database, OTHER)) == ("cartoon", "cartoon")
    assert take_over(clip=OTHER) == "withdrawn"
    assert (said(database, CLIP), said(database, OTHER)) == ("cartoon", None)


@pytest.mark.parametrize(
    "annotations",
    [
        [{"updated_at": "2026-03-01T08:05:00Z"}],
        [{"id": 3}],
        [{"id": "3", "updated_at": "2026-03-01T08:05:00Z"}],
        [{"id": 3, "updated_at": "2026-03-01T08:05:00"}],
        ["?"],
        None,
        {},
    ],
)
def test_annotations_that_cannot_be_told_apart_withdraw_nothing(
    database: Database, take_over: Reader, label_studio: LabelStudio, annotations: Any
) -> None:
    take_over(annotation(3, verdict("cartoon"), 5))
    with pytest.raises(LabelStudioError, match=r"[Tt]ask 5") as unread:
        read_task(task(5, CLIP) | {"annotations": annotations}, People(label_studio))
    assert unread.value.code == "label_studio_unreadable"
    assert said(database, CLIP) == "cartoon"


def test_people_are_asked_for_once_and_named_by_number_where_they_are_not_known(
    database: Database, take_over: Reader, studio: StandIn
) -> None:
    for minutes, who in enumerate((KIM, LEE, 9, None)):
        take_over(annotation(3, verdict("cartoon"), minutes, completed_by=who))
        found = current(database, CLIP)
        assert found is not None
        assert found.author == {KIM: "kim@example.com", LEE: "lee@example.com", 9: "user 9", None: ""}[who]
    assert studio.calls["GET users"] == 1


STATES = st.lists(
    st.tuples(st.sampled_from(["cartoon", "static"]), st.booleans(), st.booleans()), max_size=3
)  # verdict, skipped, ground truth of each annotation


MINUTES = itertools.count()  # each reading is later than all before it, those of other examples included


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(st.lists(STATES, min_size=1, max_size=4))
def test_only_the_last_reading_decides(
    database: Database, take_over: Reader, states: list[list[tuple[str, bool, bool]]]
) -> None:
    """Whatever was read before, and however often: the label is that of the task as it is now."""
    last = states[-1]
    for state in states:
        minutes = next(MINUTES)
        made = [
            annotation(number, verdict(word), minutes + number / 8, was_cancelled=skipped, ground_truth=truth)
            for number, (word, skipped, truth) in enumerate(state, 1)
        ]
        for _ in range(2):
            take_over(*made)
    counted = [(truth, number, word) for number, (word, skipped, truth) in enumerate(last) if not skipped]
    assert said(database, CLIP) == (max(counted)[2] if counted else None)


# A reader of changes


def see_to(database: Database, label_studio: LabelStudio, project: LabelStudioProjectRecord) -> list[str | None]:
    with database.reading() as session:
        waiting = LabelStudioRepository(session).waiting(project, changes(database))
    return [outcome for _, _, outcome in Reconciler(database, label_studio).see_to(project, waiting)]


def test_changes_are_seen_to_in_one_call(
    database: Database, label_studio: LabelStudio, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    add_to(studio, project, task(5, CLIP, annotation(3, verdict("cartoon"), 5)), task(6, OTHER))
    note(database, project, 5, 6, 8)
    assert see_to(database, label_studio, project) == ["labelled", "unchanged", "gone"]
    assert (said(database, CLIP), changes(database)) == ("cartoon", {})
    assert studio.calls["GET tasks"] == 1


def test_a_task_that_is_gone_is_forgotten_and_its_label_stays(
    database: Database, label_studio: LabelStudio, studio: StandIn, project: LabelStudioProjectRecord, take_over: Reader
) -> None:
    take_over(annotation(3, verdict("cartoon"), 5))
    add_to(studio, project)
    note(database, project, 5)
    assert see_to(database, label_studio, project) == ["gone"]
    assert said(database, CLIP) == "cartoon"
    with database.reading() as session:
        assert LabelStudioRepository(session).task(project.id, 5) is None


def test_what_changed_while_it_was_read_is_left_for_the_next_reading(
    database: Database, label_studio: LabelStudio, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    add_to(studio, project, task(5, CLIP, annotation(3, verdict("cartoon"), 5)))
    note(database, project, 5)

    def changed(call: str) -> None:
        if call == "GET tasks, done":  # deleted right behind, and told of before what was read is taken over
            studio.tasks[5] = task(5, CLIP)
            note(database, project, 5)
            studio.refuse = lambda call: None

    studio.refuse = changed
    assert see_to(database, label_studio, project) == [None]
    assert history(database, CLIP) == []
    assert see_to(database, label_studio, project) == ["unchanged"]
    assert (history(database, CLIP), changes(database)) == ([], {})


def test_what_another_has_seen_to_meanwhile_is_not_overwritten(
    database: Database, label_studio: LabelStudio, studio: StandIn, project: LabelStudioProjectRecord
) -> None:
    """Two processes read the same task; the one that read it first comes last."""
    add_to(studio, project, task(5, CLIP, annotation(3, verdict("cartoon"), 5)))
    note(database, project, 5)

    def overtake(call: str) -> None:
        if call == "GET tasks, done":
            studio.refuse = lambda call: None
            studio.tasks[5] = task(5, CLIP, annotation(3, verdict("static"), 6))
            other = Reader(database, label_studio, project)
            with database.reading() as session:
                (change,) = LabelStudioRepository(session).waiting(project, [5])
            with database.writing() as session:
                assert LabelStudioRepository(session).done(project.id, 5, change.revision)
            other(annotation(3, verdict("static"), 6))

    label_studio.users()
    studio.refuse = overtake
    assert see_to(database, label_studio, project) == [None]
    assert [word for word, _ in history(database, CLIP)] == ["static"]
