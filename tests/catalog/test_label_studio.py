"""What is known of Label Studio's projects, their tasks, and the tasks to be read again."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError

from motiontrace.catalog.records import LabelStudioTaskRecord, now
from motiontrace.catalog.repositories import ClipRepository, ClipRow, LabelRepository, LabelStudioRepository
from motiontrace.catalog.repositories.label_studio import MAX_NUMBER

if TYPE_CHECKING:
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import LabelRecord

SERVER = "http://labels.example.org"
OTHER = "http://127.0.0.1:8090"


@pytest.fixture
def project(database: Database) -> int:
    """The id of a project in a catalog of the clips a, b and c."""
    with database.writing() as session:
        ClipRepository(session).upsert(ClipRow(id=clip_id, path=f"/{clip_id}", caption="") for clip_id in "abc")
        return LabelStudioRepository(session).add_project(SERVER, 1, "review").id


def put_tasks(database: Database, project: int, clips: dict[int, str]) -> None:
    with database.writing() as session:
        LabelStudioRepository(session).put_tasks(project, clips)


def task(database: Database, project: int, number: int) -> LabelStudioTaskRecord:
    with database.reading() as session:
        found = LabelStudioRepository(session).task(project, number)
    assert found is not None
    return found


def due(database: Database, limit: int = 100, *, hours: float = 0) -> list[tuple[int, int]]:
    """Task and attempts of what is due in so many hours."""
    with database.reading() as session:
        found = LabelStudioRepository(session).due(now() + timedelta(hours=hours), limit, server=SERVER)
    return [(change.task, change.attempts) for change in found]


def revision(database: Database, number: int) -> int:
    with database.reading() as session:
        found = LabelStudioRepository(session).due(now() + timedelta(days=1), 100, server=SERVER)
    return next(change.revision for change in found if change.task == number)


def note(database: Database, project: int, *tasks: int) -> None:
    with database.writing() as session:
        LabelStudioRepository(session).note(project, tasks)


def test_projects_are_known_by_server_and_number(database: Database) -> None:
    with database.writing() as session:
        projects = LabelStudioRepository(session)
        first = projects.add_project(SERVER, 1, "review")
        second = projects.add_project(SERVER, 2, "review")
        other = projects.add_project(OTHER, 1, "review")
        assert (first.server, first.project, first.title) == (SERVER, 1, "review")
        assert projects.add_project(SERVER, 1, "renamed") is first
        assert first.title == "renamed"
    with database.reading() as session:
        projects = LabelStudioRepository(session)
        assert [found.id for found in projects.projects(SERVER)] == [first.id, second.id]
        known = projects.project(OTHER, 1)
        assert known is not None
        assert known.id == other.id
        assert projects.project(OTHER, 2) is None
        titled = projects.project_titled(SERVER, "review")
        assert titled is not None
        assert titled.id == second.id
        assert projects.project_titled("http://elsewhere", "review") is None


def test_the_newest_project_of_a_title_is_found(database: Database) -> None:
    with database.writing() as session:
        projects = LabelStudioRepository(session)
        projects.add_project(SERVER, 5, "review")
        newest = projects.add_project(SERVER, 9, "review")
        projects.add_project(OTHER, 10, "review")
        assert projects.project_titled(SERVER, "review") is newest


def test_a_title_that_cannot_be_stored_is_refused(database: Database) -> None:
    with database.writing() as session, pytest.raises(ValueError, match="null character"):
        LabelStudioRepository(session).add_project(SERVER, 1, "a\0b")


def test_a_project_that_two_add_at_once_is_one(database: Database) -> None:
    start, found, failed = threading.Barrier(6), [], []

    def add(number: int) -> None:
        try:
            start.wait(10)
            with database.writing() as session:
                found.append(LabelStudioRepository(session).add_project(SERVER, 7, f"title {number}").id)
        except BaseException as error:
            failed.append(error)

    run(*[threading.Thread(target=add, args=(number,)) for number in range(6)])
    assert not failed
    assert len(found) == 6
    assert len(set(found)) == 1


def run(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_tasks_are_put_and_forgotten(database: Database, project: int) -> None:
    put_tasks(database, project, {})
    put_tasks(database, project, {12: "a", 11: "b", MAX_NUMBER: "c"})
    with database.writing() as session:
        tasks = LabelStudioRepository(session)
        assert [(each.task, each.clip_id) for each in tasks.tasks(project)] == [(11, "b"), (12, "a"), (MAX_NUMBER, "c")]
        assert tasks.task(project, 13) is None
        assert tasks.task(project + 1, 11) is None
        tasks.forget_tasks(project, [12, 99])
        assert [each.task for each in tasks.tasks(project)] == [11, MAX_NUMBER]


def test_a_task_of_an_unknown_clip_is_refused(database: Database, project: int) -> None:
    with pytest.raises(IntegrityError):
        put_tasks(database, project, {1: "nobody"})


def test_what_was_applied_stays_while_the_task_shows_the_same_clip(database: Database, project: int) -> None:
    put_tasks(database, project, {1: "a"})
    moment = now()
    with database.writing() as session:
        label = LabelRepository(session).put("a", verdict="cartoon", decision=None, tool="label-studio")
        tasks = LabelStudioRepository(session)
        found = tasks.locked(project, 1)
        assert found is not None
        tasks.applied(found, annotation=5, annotated_at=moment, label=label)
    put_tasks(database, project, {1: "a", 2: "b"})
    kept = task(database, project, 1)
    assert (kept.annotation, kept.annotated_at, kept.label_id) == (5, moment, label.id)
    with database.reading() as session:
        assert LabelStudioRepository(session).tasks_of_annotations(project, [4, 5, 6]) == {1}
        assert LabelStudioRepository(session).tasks_of_annotations(project + 1, [5]) == set()

    put_tasks(database, project, {1: "c"})
    other = task(database, project, 1)
    assert (other.clip_id, other.annotation, other.annotated_at, other.label_id) == ("c", None, None, None)


def test_a_task_whose_annotation_is_gone_has_none(database: Database, project: int) -> None:
    put_tasks(database, project, {1: "a"})
    with database.writing() as session:
        tasks = LabelStudioRepository(session)
        found = tasks.locked(project, 1)
        assert found is not None
        tasks.applied(found, annotation=5, annotated_at=now(), label=None)
        tasks.applied(found, annotation=None, annotated_at=None, label=None)
        assert tasks.tasks_of_annotations(project, [5]) == set()
    assert task(database, project, 1).annotated_at is None


def test_a_label_is_shared_where_an_annotation_of_another_task_made_it_too(database: Database, project: int) -> None:
    with database.writing() as session:
        tasks, labels = LabelStudioRepository(session), LabelRepository(session)
        other = tasks.add_project(OTHER, 1, "review").id
        tasks.put_tasks(project, {1: "a", 2: "a", 3: "b"})
        tasks.put_tasks(other, {1: "a"})
        label, before = (labels.put("a", verdict=word, decision=None, tool="x") for word in ("cartoon", "static"))
        moment = now()

        def made(project_id: int, number: int, annotation: int | None, by: LabelRecord | None) -> LabelStudioTaskRecord:
            found = tasks.locked(project_id, number)
            assert found is not None
            tasks.applied(found, annotation=annotation, annotated_at=annotation and moment, label=by)
            return found

        assert not tasks.label_is_shared(made(project, 3, None, None))  # nor are two without any label one's
        first = made(project, 1, 5, label)
        assert not tasks.label_is_shared(first)
        made(project, 2, 6, before)
        assert not tasks.label_is_shared(first)
        made(project, 2, None, label)
        assert not tasks.label_is_shared(first)
        made(project, 2, 6, label)
        assert tasks.label_is_shared(first)
        made(project, 2, None, None)
        second = made(other, 1, 5, label)  # of the same number, in another project
        assert tasks.label_is_shared(first)
        assert tasks.label_is_shared(second)
        tasks.forget_project(other)
        assert not tasks.label_is_shared(first)


def test_an_unknown_task_cannot_be_locked(database: Database, project: int) -> None:
    with database.writing() as session:
        assert LabelStudioRepository(session).locked(project, 1) is None


def test_one_at_a_time_works_on_a_task(database: Database, project: int) -> None:
    """Eight threads apply the next annotation each: what one has read, no other writes over."""
    put_tasks(database, project, {1: "a", 2: "b"})
    start, failed = threading.Barrier(8), []

    def work() -> None:
        try:
            start.wait(10)
            for _ in range(10):
                with database.writing() as session:
                    tasks = LabelStudioRepository(session)
                    found = tasks.locked(project, 1)
                    assert found is not None
                    number = (found.annotation or 0) + 1
                    label = LabelRepository(session).put("a", verdict=str(number), decision=None, tool="label-studio")
                    tasks.applied(found, annotation=number, annotated_at=now(), label=label)
        except BaseException as error:
            failed.append(error)

    run(*[threading.Thread(target=work) for _ in range(8)])
    assert not failed
    assert task(database, project, 1).annotation == 80
    with database.reading() as session:
        history = LabelRepository(session).history("a")
    assert [label.verdict for label in history] == [str(number) for number in range(80, 0, -1)]
    assert task(database, project, 1).label_id == history[0].id


def test_a_forgotten_project_takes_its_tasks_and_changes_along_and_no_label(database: Database, project: int) -> None:
    put_tasks(database, project, {1: "a"})
    note(database, project, 1)
    with database.writing() as session:
        LabelRepository(session).put("a", verdict="cartoon", decision=None, tool="label-studio")
        LabelStudioRepository(session).forget_project(project)
    with database.reading() as session:
        known = LabelStudioRepository(session)
        assert (known.projects(SERVER), known.tasks(project)) == ([], [])
        assert known.due(now() + timedelta(days=1), 10, server=SERVER) == []
        assert LabelRepository(session).current("a").keys() == {"a"}


def test_changes_are_due_at_once_the_longest_due_first(database: Database, project: int) -> None:
    note(database, project, 3, 1, 3)
    note(database, project, 2)
    note(database, project)
    assert due(database) == [(1, 0), (3, 0), (2, 0)]
    assert due(database, 2) == [(1, 0), (3, 0)]
    note(database, project, 1)
    assert [number for number, _ in due(database)] == [3, 2, 1]
    with database.reading() as session:
        known = LabelStudioRepository(session)
        assert known.due(now() - timedelta(hours=1), 10, server=SERVER) == []
        found = known.due(now(), 10, server=SERVER)
        assert {(change.project.id, change.project.server, change.project.project) for change in found} == {
            (project, SERVER, 1)
        }


def test_changes_of_another_server_wait_for_it(database: Database, project: int) -> None:
    with database.writing() as session:
        other = LabelStudioRepository(session).add_project(OTHER, 1, "review").id
    note(database, other, 1)
    note(database, project, 2)
    assert due(database) == [(2, 0)]


def test_a_change_of_an_unknown_project_is_refused(database: Database, project: int) -> None:
    with pytest.raises(IntegrityError):
        note(database, project + 1, 1)


def test_a_change_is_done_only_as_it_was_read(database: Database, project: int) -> None:
    note(database, project, 1, 2)
    first = revision(database, 1)
    note(database, project, 1)  # while the task was read
    assert revision(database, 1) == first + 1
    with database.writing() as session:
        changes = LabelStudioRepository(session)
        assert not changes.done(project, 1, first)
        assert not changes.postpone(project, 1, first, now() + timedelta(hours=1))
    assert due(database) == [(2, 0), (1, 0)]
    with database.writing() as session:
        assert LabelStudioRepository(session).done(project, 1, first + 1)
        assert not LabelStudioRepository(session).done(project, 1, first + 1)
    assert due(database) == [(2, 0)]


def test_a_change_that_was_done_and_comes_again_has_another_revision(database: Database, project: int) -> None:
    """Of two who read it one is slow: the other's `done` must not let it take what came afterwards for done."""
    seen = set()
    for _ in range(20):
        note(database, project, 1)
        with database.writing() as session:
            (change,) = LabelStudioRepository(session).due(now(), 1, server=SERVER)
            seen.add(change.revision)
            assert LabelStudioRepository(session).done(project, 1, change.revision)
    assert len(seen) == 20


def test_a_postponed_change_is_due_later_and_new_news_make_it_due_at_once(database: Database, project: int) -> None:
    note(database, project, 1)
    for attempt in range(3):
        with database.writing() as session:
            until = now() + timedelta(hours=1)
            assert LabelStudioRepository(session).postpone(project, 1, revision(database, 1), until)
        assert due(database) == []
        assert due(database, hours=2) == [(1, attempt + 1)]
    note(database, project, 1)
    assert due(database) == [(1, 0)]


def test_two_who_note_or_put_the_same_tasks_in_any_order_wait_for_each_other(database: Database, project: int) -> None:
    put_tasks(database, project, dict.fromkeys(range(1, 41), "a"))
    start, failed = threading.Barrier(2), []

    def work(numbers: list[int]) -> None:
        try:
            start.wait(10)
            for _ in range(15):
                note(database, project, *numbers)
                put_tasks(database, project, dict.fromkeys(numbers, "b"))
        except BaseException as error:
            failed.append(error)

    numbers = list(range(1, 41))
    run(threading.Thread(target=work, args=(numbers,)), threading.Thread(target=work, args=(numbers[::-1],)))
    assert not failed
    assert len(due(database)) == 40


def test_no_news_are_lost_where_many_note_and_many_work(database: Database, project: int) -> None:
    """Each worker reads a counter as it would a task; what was counted after the last reading is still due."""
    counters = dict.fromkeys(range(1, 6), 0)
    read = dict(counters)
    guard, stop, failed = threading.Lock(), threading.Event(), []

    def notes() -> None:
        try:
            for _ in range(20):
                for number in counters:
                    with guard:
                        counters[number] += 1
                    note(database, project, number)
        except BaseException as error:
            failed.append(error)

    def works() -> None:
        try:
            while True:
                ended = stop.is_set()
                with database.reading() as session:
                    changes = LabelStudioRepository(session).due(now(), 3, server=SERVER)
                for change in changes:
                    with guard:
                        read[change.task] = max(read[change.task], counters[change.task])
                    with database.writing(durable=False) as session:
                        LabelStudioRepository(session).done(project, change.task, change.revision)
                if ended and not changes:
                    return
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=works) for _ in range(3)]
    writers = [threading.Thread(target=notes) for _ in range(3)]
    for thread in workers:
        thread.start()
    run(*writers)
    stop.set()
    for thread in workers:
        thread.join(60)
        assert not thread.is_alive()
    assert not failed
    assert read == counters == dict.fromkeys(counters, 60)
    assert due(database, hours=1) == []
