"""Labels: the newest holds, the history stays."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from catalog.records import LabelRecord
from catalog.repositories import ClipRepository, ClipRow, LabelRepository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from catalog.database import Database


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


def test_an_unknown_clip_takes_no_label(session: Session) -> None:
    with pytest.raises(LookupError, match="'nobody'"):
        LabelRepository(session).put("nobody", verdict="cartoon", decision=None, tool="api")


def test_what_the_catalog_cannot_hold_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="null character"):
        LabelRepository(session).put("a", verdict="x", decision=None, note="\0", tool="api")


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
