"""The vectors that queries are answered from, while they are opened, renewed and damaged."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from motiontrace.answering.searchers import Searchers
from motiontrace.catalog.errors import StoreDamagedError
from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.vectors import Searcher
from tests.catalog.stores import DIGEST, fill
from tests.catalog.vectors import vectors

if TYPE_CHECKING:
    from pathlib import Path


def index(name: str) -> IndexRecord:
    return IndexRecord(name=name, recipe_digest=DIGEST)


def renew(directory: Path) -> None:
    """Replace the manifest by an equal one."""
    manifest = directory / "manifest.json"
    text = manifest.read_bytes()
    manifest.unlink()
    manifest.write_bytes(text + b"\n")


class Gate:
    """Holds the calls of a Searcher's method until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str, only: str = "") -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        real = getattr(Searcher, method)

        def held(*arguments):  # type: ignore[no-untyped-def]
            if not only or arguments[0].name == only:
                self.reached.set()
                assert self.opened.wait(10)
            return real(*arguments)

        monkeypatch.setattr(Searcher, method, held)


def test_a_damaged_new_version_leaves_the_old_one_serving(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "a", vectors("abc"))
    searchers = Searchers(tmp_path)
    assert searchers.of(index("a")).total == 3
    (tmp_path / "a" / "manifest.json").write_text("{")
    assert searchers.of(index("a")).total == searchers.of(index("a")).total == 3
    assert searchers.trouble(index("a")) is None
    assert caplog.text.count("queries go on with the version before") == 1


def test_vectors_that_cannot_be_opened_are_an_error_and_told_again_without_opening(tmp_path: Path) -> None:
    fill(tmp_path / "a", vectors("abc"))
    (tmp_path / "a" / "manifest.json").write_text("{")
    searchers = Searchers(tmp_path)
    assert searchers.trouble(index("a")) == "its vectors are being opened"
    with pytest.raises(StoreDamagedError):
        searchers.of(index("a"))
    assert "manifest.json" in (searchers.trouble(index("a")) or "")


def test_while_a_newer_version_is_opened_the_old_one_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = fill(tmp_path / "a", vectors("abc"))
    searchers = Searchers(tmp_path)
    old = searchers.of(index("a"))
    gate = Gate(monkeypatch, "latest")
    renew(directory)
    with ThreadPoolExecutor(1) as pool:
        newer = pool.submit(searchers.of, index("a"))
        assert gate.reached.wait(10)
        assert searchers.of(index("a")) is old
        gate.opened.set()
        assert newer.result() is not old
    assert searchers.of(index("a")) is newer.result()


def test_an_index_that_is_being_opened_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        fill(tmp_path / name, vectors("abc"))
    searchers = Searchers(tmp_path)
    gate = Gate(monkeypatch, "open", only="a")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(searchers.of, index("a"))
        assert gate.reached.wait(10)
        second = pool.submit(searchers.of, index("a"))
        assert searchers.of(index("b")).total == 3
        gate.opened.set()
        assert first.result() is second.result()
