"""Names that files keep in one folder, whatever they are called and whatever system reads them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiontrace.catalog.kept_names import KeptNames
from motiontrace.formats.file_names import suffix


def named(*paths: str) -> list[str]:
    names = KeptNames()
    return [names.of(path, f"id {number}") + suffix(path) for number, path in enumerate(paths)]


@pytest.mark.parametrize(
    "name",
    ["0001.mp4", "Kid jumps (1).webm", "映像.v2.mov", "a.b.c.mkv", "contest.mp4", "trainer_7.avi", "Ü.gif"],
)
def test_a_file_keeps_its_name(name: str) -> None:
    assert named(f"/clips/{name}") == [name]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/c/.hidden.mp4", "hidden.mp4"),
        ("/c/-rf.mp4", "rf.mp4"),
        ("/c/  spaced .mp4", "spaced.mp4"),
        ("/c/COM¹.mp4", "_COM¹.mp4"),
        ("/c/conin$.mp4", "_conin$.mp4"),
        ("/c/con.mp4", "_con.mp4"),
        ("/c/NUL.tar.mp4", "_NUL.tar.mp4"),
        ("/c/a:b?c.mp4", "a_b_c.mp4"),
        ("/c/a\nb\tc.mp4", "a_b_c.mp4"),
        ("/c/right\u202eleft.mp4", "right_left.mp4"),
        ("/c/....mp4", "clip.mp4"),
        ("/c/A.MP4", "A.mp4"),
        ("/c/no suffix", "no suffix.mp4"),
        ("/c/at 10.11 h", "at 10.11 h.mp4"),
        ("/c/clip.txt", "clip.txt.mp4"),
        ("/c/scores.jsonl", "scores.jsonl.mp4"),
        ("/c/~home.mp4", "home.mp4"),
        ("/c/test.mp4", "test~.mp4"),
        ("/c/fetch_test_2.mp4", "fetch_test~_2.mp4"),
        ("/c/" + unicodedata.normalize("NFD", "é.mp4"), "é.mp4"),
    ],
)
def test_a_name_that_is_not_safe_is_made_so(path: str, name: str) -> None:
    assert named(path) == [name]


@pytest.mark.parametrize(
    "paths",
    [
        ("/a/1.mp4", "/b/1.mp4"),
        ("/a/x.mp4", "/a/X.mp4"),
        ("/a/é.mp4", "/b/e\u0301.mp4"),
        ("/a/x.mp4", "/a/x.webm"),
        ("/a/x.mp4", "/a/x.MP4"),
        ("/a/straße.mp4", "/a/STRASSE.mp4"),
        ("/a/a?.mp4", "/a/a_.mp4"),
        ("/a/" + "x" * 250 + "1.mp4", "/a/" + "x" * 250 + "2.mp4"),
        ("/a/" + "é" * 120 + "1.mp4", "/b/" + "é" * 120 + ".mp4"),
    ],
)
def test_files_whose_names_some_system_takes_for_one_get_two(paths: tuple[str, str]) -> None:
    first, second = named(*paths)
    stems = [unicodedata.normalize("NFC", name.rpartition(".")[0].casefold()) for name in (first, second)]
    assert stems[0] != stems[1]
    assert named(*paths) == [first, second]  # the same each time
    assert max(len(name.encode()) for name in (first, second)) < 200


def test_a_name_that_is_cut_behind_a_splits_word_makes_no_split() -> None:
    (name,) = named("/c/" + "x" * 134 + "_testimony of a witness.mp4")
    assert name.startswith("x" * 134 + "_test~-")


@given(st.lists(st.text(min_size=1).filter(lambda name: "/" not in name and "\0" not in name), max_size=20))
def test_names_are_safe_and_each_files_own(found: list[str]) -> None:
    names = KeptNames()
    kept = [names.of(f"/clips/{name.encode(errors='replace').decode()}", "the same id") for name in found]
    assert len({unicodedata.normalize("NFC", name.casefold()) for name in kept}) == len(found)
    for name in kept:
        assert name.isprintable()
        assert name == name.strip(" .") and not name.startswith(("-", "~"))
        assert not set(name) & set('<>:"/\\|?*')
        assert len(name.encode()) <= 170
