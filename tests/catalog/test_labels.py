"""Labels: the newest holds, the history stays."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from motiontrace.catalog.records import LabelRecord, now
from motiontrace.catalog.repositories import ClipRepository, ClipRow, LabelRepository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from motiontrace.catalog.database import Database

RANGE = {"start": 0.1, "end": 1.0, "label": "bad motion"}
BOX = {
    "label": "ball",
    "keyframes": [{"time": 0, "x": 0.1, "y": 1 / 3, "width": 1e-9, "height": 0.5, "visible": True}],
}


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.writing() as session:
        add_clips(session)
        yield session


def add_clips(session: Session) -> None:
    ClipRepository(session).upsert(ClipRow(id=clip_id, path=f"/{clip_id}", caption="") for clip_id in "abc")


def test_the_newest_label_holds_and_the_history_stays(session: Session) -> None:
    labels = LabelRepository(session)
    labels.put("a", verdict="cartoon", decision="drop", note="flat", author="kim", tool="api")
    labels.put("a", verdict="realistic", decision=None, tool="label-studio")
    labels.put("b", verdict=None, decision="keep", tool="api")
    current = labels.current(["a", "b", "c", "nobody"])
    assert {clip_id: (label.verdict, label.decision) for clip_id, label in current.items()} == {
        "a": ("realistic", None),
        "b": (None, "keep"),
    }
    history = labels.history("a")
    assert [(label.verdict, label.note, label.author, label.tool, label.current) for label in history] == [
        ("realistic", "", "", "label-studio", True),
        ("cartoon", "flat", "kim", "api", False),
    ]
    assert history[0].created_at >= history[1].created_at


def test_a_withdrawn_label_is_history(session: Session) -> None:
    labels = LabelRepository(session)
    labels.put("a", verdict="cartoon", decision="drop", tool="api")
    labels.put("a", verdict=None, decision=None, note="mistaken", tool="api")
    assert labels.current("a") == {}
    assert [(label.verdict, label.note) for label in labels.history("a")] == [(None, "mistaken"), ("cartoon", "")]
    labels.put("a", verdict="realistic", decision=None, tool="api")
    assert labels.current("a")["a"].verdict == "realistic"


def test_ranges_and_boxes_are_kept_as_they_are(session: Session) -> None:
    labels = LabelRepository(session)
    labels.put("a", verdict=None, decision=None, tool="api", ranges=[RANGE], boxes=[BOX])
    session.expire_all()
    label = labels.current("a")["a"]
    assert (label.ranges, label.boxes) == ([RANGE], [BOX])
    assert (label.verdict, label.decision) == (None, None)


def test_a_range_or_a_box_alone_is_a_label_and_a_note_alone_is_a_withdrawal(session: Session) -> None:
    labels = LabelRepository(session)
    for clip_id, marked in (("a", {"ranges": [RANGE]}), ("b", {"boxes": [BOX]}), ("c", {})):
        labels.put(clip_id, verdict="cartoon", decision=None, tool="api")
        labels.put(clip_id, verdict=None, decision=None, note="see there", tool="api", **marked)
    assert labels.current("abc").keys() == {"a", "b"}


SAID: dict[str, Any] = {
    "verdict": "cartoon", "decision": "drop", "note": "flat", "author": "kim", "tool": "api", "ranges": [RANGE],
    "boxes": [BOX],
}  # fmt: skip


def test_what_says_the_same_adds_nothing(session: Session) -> None:
    labels = LabelRepository(session)
    first = labels.put("a", **SAID)
    session.expire_all()
    assert labels.put("a", **SAID) is first
    assert labels.put("a", **SAID, said_at=now() - timedelta(days=1)) is first
    assert labels.put("a", **SAID, said_at=now() + timedelta(days=1)) is first
    assert labels.history("a") == [first]
    withdrawn = labels.put("a", verdict=None, decision=None, note="mistaken", tool="api")
    assert labels.put("a", verdict=None, decision=None, note="mistaken", tool="api") is withdrawn
    assert labels.put("a", **SAID) is not first  # withdrawn in between: said anew
    assert labels.history_length("a") == 3


@pytest.mark.parametrize(
    "other",
    [
        {"verdict": "realistic"},
        {"decision": None},
        {"note": ""},
        {"author": ""},
        {"tool": "label-studio"},
        {"ranges": []},
        {"ranges": [{**RANGE, "end": 1.5}]},
        {"boxes": []},
        {"boxes": [BOX, BOX]},
    ],
    ids=str,
)
def test_what_differs_in_anything_is_a_label_of_its_own(session: Session, other: dict[str, Any]) -> None:
    labels = LabelRepository(session)
    first = labels.put("a", **SAID)
    second = labels.put("a", **(SAID | other))
    assert labels.history("a") == [second, first]
    assert labels.current("a") == {"a": second}


def test_what_was_said_before_the_current_label_goes_into_the_history_only(session: Session) -> None:
    labels = LabelRepository(session)
    noon = now() - timedelta(days=1)

    def say(verdict: str | None, hours: float) -> LabelRecord:
        return labels.put("a", verdict=verdict, decision=None, tool="x", said_at=noon + timedelta(hours=hours))

    assert say("noon", 0).current
    assert not say("eleven", -1).current
    assert say("one", 1).current
    assert not say("half past twelve", 0.5).current
    assert labels.current("a")["a"].verdict == "one"
    assert not say(None, 0.75).current  # a withdrawal of what was said before does not touch it
    assert labels.current("a")["a"].verdict == "one"
    assert say(None, 2).current
    assert labels.current("a") == {}
    assert not say("late news", 1.5).current  # it was withdrawn after that
    assert labels.current("a") == {}
    assert say("same moment", 2).current
    history = labels.history("a")
    assert [label.verdict for label in history] == [
        "same moment", None, "late news", "one", None, "half past twelve", "noon", "eleven",
    ]  # fmt: skip
    assert [label.current for label in history] == [True] + [False] * 7


def test_a_label_that_is_said_again_is_as_new_as_that(session: Session) -> None:
    labels = LabelRepository(session)
    noon = now() - timedelta(days=1)

    def say(verdict: str | None, hours: float) -> LabelRecord:
        return labels.put("a", verdict=verdict, decision=None, tool="x", said_at=noon + timedelta(hours=hours))

    first = say("noon", 0)
    assert say("noon", 3) is first
    assert say("noon", 2) is first  # what was said later stays so
    assert (first.created_at, first.last_said_at) == (noon, noon + timedelta(hours=3))
    older = say("half past two", 2.5)
    assert not older.current
    assert labels.current("a") == {"a": first}
    assert labels.history("a") == [first, older]
    assert labels.history("a", 1) == [first]

    again = labels.put("a", verdict="noon", decision=None, tool="x")  # now
    assert again is first
    assert not say("this morning", 20).current
    newest = labels.put("a", verdict="new", decision=None, tool="x")
    assert newest.created_at >= first.last_said_at
    assert labels.current("a") == {"a": newest}
    assert labels.history("a")[:2] == [newest, first]


def test_a_withdrawal_that_is_said_again_is_as_new_as_that(session: Session) -> None:
    labels = LabelRepository(session)
    noon = now() - timedelta(days=1)
    labels.put("a", **SAID, said_at=noon)
    for hours in (1, 3):
        labels.put("a", verdict=None, decision=None, tool="x", said_at=noon + timedelta(hours=hours))
    assert not labels.put("a", verdict="late news", decision=None, tool="x", said_at=noon + timedelta(hours=2)).current
    assert labels.current("a") == {}


def test_what_takes_the_place_of_the_newest_label_holds_although_it_is_older(session: Session) -> None:
    labels = LabelRepository(session)
    noon = now() - timedelta(days=1)
    taken: dict[str, Any] = {"decision": None, "tool": "x", "said_at": noon - timedelta(hours=1)}
    first = labels.put("a", verdict="noon", decision=None, tool="x", said_at=noon)
    labels.put("a", verdict="noon", decision=None, tool="x", said_at=noon + timedelta(hours=1))
    second = labels.put("a", verdict="eleven", **taken, replacing=first.id)
    assert (second.current, second.created_at) == (True, noon + timedelta(hours=1))
    assert labels.history("a") == [second, first]
    later = labels.put("a", verdict="noon", decision=None, tool="x", said_at=noon + timedelta(hours=2))
    assert not labels.put("a", verdict="ten", **taken, replacing=second.id).current  # that is not the newest any more
    assert labels.current("a") == {"a": later}


def test_what_is_said_now_holds_whatever_a_tools_clock_said(session: Session) -> None:
    labels = LabelRepository(session)
    ahead = labels.put("a", verdict="x", decision=None, tool="label-studio", said_at=now() + timedelta(hours=1))
    assert ahead.created_at <= now()
    ahead.created_at = later = now() + timedelta(hours=1)  # as a machine whose clock is ahead wrote it
    session.flush()
    said = labels.put("a", verdict="y", decision=None, tool="api")
    assert (said.current, said.created_at) == (True, later)
    assert labels.history("a") == [said, ahead]


def test_a_label_is_withdrawn_only_while_it_is_the_clips(session: Session) -> None:
    labels = LabelRepository(session)
    first = labels.put("a", **SAID)
    withdrawn = labels.withdraw(first.id, note="skipped", author="kim", tool="label-studio")
    assert withdrawn is not None
    assert (withdrawn.note, withdrawn.author, withdrawn.tool) == ("skipped", "kim", "label-studio")
    assert labels.current("a") == {}
    assert labels.withdraw(first.id, tool="label-studio") is None
    assert labels.withdraw(withdrawn.id, tool="label-studio") is None  # it is one itself
    second = labels.put("a", verdict="realistic", decision=None, tool="api")
    assert labels.withdraw(first.id, tool="label-studio") is None
    assert labels.withdraw(10**6, tool="label-studio") is None
    assert labels.current("a") == {"a": second}
    assert labels.history_length("a") == 3


def test_a_long_history_is_given_in_part(session: Session) -> None:
    labels = LabelRepository(session)
    for number in range(5):
        labels.put("a", verdict=str(number), decision=None, tool="api")
    assert [label.verdict for label in labels.history("a", 2)] == ["4", "3"]
    assert len(labels.history("a")) == labels.history_length("a") == 5
    assert (labels.history("b"), labels.history_length("b")) == ([], 0)


def test_an_unknown_clip_takes_no_label(session: Session) -> None:
    with pytest.raises(LookupError, match="'nobody'"):
        LabelRepository(session).put("nobody", verdict="cartoon", decision=None, tool="api")


def test_what_the_catalog_cannot_hold_is_refused(session: Session) -> None:
    put = LabelRepository(session).put
    with pytest.raises(ValueError, match="null character"):
        put("a", verdict="x", decision=None, note="\0", tool="api")
    with pytest.raises(ValueError, match="null character"):
        put("a", verdict="x", decision=None, tool="api", ranges=[{**RANGE, "label": "\0"}])
    with pytest.raises(ValueError, match="no JSON"):
        put("a", verdict="x", decision=None, tool="api", boxes=[{"keyframes": [{"time": float("nan")}]}])


def test_labels_put_at_once_leave_one_current(database: Database) -> None:
    with database.writing() as session:
        add_clips(session)
    start, failed = threading.Barrier(4), []

    def write(author: int) -> None:
        try:
            start.wait()
            for number in range(15):
                with database.writing() as session:
                    LabelRepository(session).put("a", verdict=f"{author}-{number}", decision=None, tool="api")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(author,)) for author in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    with database.reading() as session:
        history = LabelRepository(session).history("a")
        current = select(func.count()).where(LabelRecord.current)
        assert (len(history), session.scalar(current)) == (60, 1)
        assert history[0].current
        assert LabelRepository(session).current(["a"]) == {"a": history[0]}


def test_a_label_that_another_session_replaces_meanwhile_is_not_withdrawn(database: Database) -> None:
    """Whoever is second waits for the first one's end and sees what it did."""
    with database.writing() as session:
        add_clips(session)
        old = LabelRepository(session).put("a", **SAID)
    begun, result = threading.Event(), []

    def withdraw() -> None:
        begun.set()
        with database.writing() as session:
            result.append(LabelRepository(session).withdraw(old.id, tool="label-studio"))

    thread = threading.Thread(target=withdraw)
    with database.writing() as session:
        new = LabelRepository(session).put("a", verdict="realistic", decision=None, tool="api")
        thread.start()
        begun.wait(10)
        thread.join(0.3)
        assert thread.is_alive()  # it waits
    thread.join(30)
    assert result == [None]
    with database.reading() as session:
        assert LabelRepository(session).current("a")["a"].id == new.id
