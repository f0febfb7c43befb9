import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from motiontrace.catalog.durable_files import write_atomically
from motiontrace.catalog.errors import StoreDamagedError
from motiontrace.catalog.vectors.segment import Segment, half_floats, write_segment

IDS = ["", "B", "a", "ä", "映像"]
ROWS = np.random.default_rng(0).standard_normal((5, 24)).astype(np.float32)


def test_a_segment_gives_back_what_was_written(tmp_path: Path) -> None:
    path = write_segment(tmp_path, IDS, ROWS)
    segment = Segment.open(path)
    assert (segment.count, segment.dim) == (5, 24)
    assert list(segment.ids) == segment.ids.all() == segment.ids[:] == IDS
    assert segment.ids[-1] == "映像"
    assert [segment.ids.row(clip_id) for clip_id in [*IDS, "0", "b", "語"]] == [
        0,
        1,
        2,
        3,
        4,
        None,
        None,
        None,
    ]
    np.testing.assert_array_equal(segment.vectors, ROWS)
    assert segment.vectors.ctypes.data % 4 == 0
    with pytest.raises(IndexError):
        segment.ids[5]


def test_equal_content_has_an_equal_name_and_other_content_another(tmp_path: Path) -> None:
    path = write_segment(tmp_path, IDS, ROWS)
    before = path.read_bytes()
    assert write_segment(tmp_path, IDS, ROWS.copy()) == path
    assert path.read_bytes() == before
    assert write_segment(tmp_path, [*IDS[:4], "x"], ROWS) != path
    assert write_segment(tmp_path, IDS, np.nextafter(ROWS, np.float32(9))) != path


def test_a_flipped_byte_anywhere_is_found_and_said(tmp_path: Path) -> None:
    path = write_segment(tmp_path, IDS, ROWS)
    whole = path.read_bytes()
    padding = range(128 + 8 * 5 + sum(len(clip_id.encode()) for clip_id in IDS), len(whole) - ROWS.nbytes)
    for position in set(range(len(whole))) - set(padding):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(StoreDamagedError, match=path.name):
            _ = Segment.open(path).vectors


@pytest.mark.parametrize("length", [0, 1, 127, 128, 200, -1])
def test_a_segment_cut_short_is_found_and_said(tmp_path: Path, length: int) -> None:
    path = write_segment(tmp_path, IDS, ROWS)
    os.truncate(path, length % path.stat().st_size)
    with pytest.raises(StoreDamagedError, match="Run `motiontrace index` again"):
        Segment.open(path)


def test_a_missing_segment_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreDamagedError, match="is missing"):
        Segment.open(tmp_path / "x.segment")


def test_a_segment_outlives_its_file(tmp_path: Path) -> None:
    path = write_segment(tmp_path, IDS, ROWS)
    segment = Segment.open(path)
    path.unlink()
    np.testing.assert_array_equal(segment.vectors, ROWS)


def test_half_floats_are_rounded_to_nearest_even() -> None:
    # 1 + 2^-11 lies midway between two half floats, and so does 1 + 3 * 2^-11.
    midway = np.array([[1 + 2**-11, 1 + 3 * 2**-11, 2**-25, 3 * 2**-25]], dtype=np.float32)
    rounded = np.array([[1, 1 + 2**-9, 0, 2**-23]], dtype=np.float16)
    np.testing.assert_array_equal(half_floats(midway), rounded)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, [b"old"])

    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, pieces())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def pieces() -> Iterator[bytes]:
        yield b"fir"
        write_atomically(path, [b"second"])  # as another thread would
        yield b"st"

    write_atomically(path, pieces())
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", [b""])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
