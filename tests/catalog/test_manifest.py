import json
from pathlib import Path

import pytest

from motiontrace.catalog.errors import StoreDamagedError, StoreMissingError
from motiontrace.catalog.vectors.manifest import Manifest, SegmentEntry

ENTRY = SegmentEntry(name="a.segment", sha256="0" * 64, count=5, dead=(1, 3))
MANIFEST = Manifest(version=7, recipe_digest="ab" * 32, dim=512, segments=(ENTRY,))


def test_a_manifest_gives_back_what_was_written(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST
    assert MANIFEST.total == 3
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_the_next_version_leaves_out_segments_without_a_live_row() -> None:
    emptied = ENTRY.without([0, 2, 4])
    assert emptied.dead == (0, 1, 2, 3, 4)
    following = MANIFEST.succeeded_by([emptied, ENTRY.without([1])])
    assert (following.version, following.segments) == (8, (ENTRY,))


def test_a_flipped_byte_anywhere_is_found_and_said(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    path = tmp_path / "manifest.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 7)
        path.write_bytes(damaged)
        try:
            read = Manifest.read(tmp_path)
        except StoreDamagedError as error:
            assert str(path) in str(error)
        else:
            assert read == MANIFEST  # white space, say


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"\xff", b'{"sha256": "x", "version": 1}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(StoreDamagedError, match="Delete it and run"):
        Manifest.read(tmp_path)


def test_a_manifest_with_a_field_too_many_is_refused(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))
    with pytest.raises(StoreDamagedError):
        Manifest.read(tmp_path)


def test_a_directory_without_a_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="make the index with `motiontrace index`"):
        Manifest.read(tmp_path)
