"""The service's own secrets: made once, the same for all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from motiontrace.catalog.records import SecretRecord
from motiontrace.catalog.repositories import SecretRepository

if TYPE_CHECKING:
    from motiontrace.catalog.database import Database


def test_a_secret_is_made_once_and_is_nobody_elses(database: Database) -> None:
    with database.writing() as session:
        links = SecretRepository(session).get_or_create("media links")
        webhook = SecretRepository(session).get_or_create("label-studio webhook")
    assert len(links) == len(webhook) == 32
    assert links != webhook
    with database.writing() as session:
        assert SecretRepository(session).get_or_create("media links") == links
        assert session.scalar(select(func.count()).select_from(SecretRecord)) == 2


def test_a_secret_that_was_not_committed_is_not_known(database: Database) -> None:
    made = []
    try:
        with database.writing() as session:
            made.append(SecretRepository(session).get_or_create("media links"))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    with database.writing() as session:
        assert SecretRepository(session).get_or_create("media links") != made[0]


def test_all_who_ask_at_once_get_the_same(database: Database) -> None:
    start, given, failed = threading.Barrier(8), [], []

    def ask() -> None:
        try:
            start.wait(10)
            for number in range(10):
                with database.writing() as session:
                    given.append((number, SecretRepository(session).get_or_create(f"secret {number}")))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert len(given) == 80
    assert len(set(given)) == 10


def test_who_comes_second_gets_what_the_first_one_made(database: Database) -> None:
    """The second one begins before the first has committed, and waits for it."""
    begun, given = threading.Event(), []

    def ask() -> None:
        begun.set()
        with database.writing() as session:
            given.append(SecretRepository(session).get_or_create("media links"))

    thread = threading.Thread(target=ask)
    with database.writing() as session:
        first = SecretRepository(session).get_or_create("media links")
        thread.start()
        begun.wait(10)
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(30)
    assert given == [first]
