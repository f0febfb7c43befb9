"""Zip files as they are sent, the names in them, and the folders that are made of them."""

from __future__ import annotations

import io
import itertools
import re
import shutil
import stat
import subprocess
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from motiontrace.client import ServiceError, unpack
from motiontrace.formats.archive import ZipStream
from motiontrace.formats.file_names import Names, suffix

if TYPE_CHECKING:
    from collections.abc import Iterator

MOMENT = datetime(2026, 3, 1, 12, 30, 10, tzinfo=UTC)
FILES = {
    "data/a.mp4": b"\x00\x01" * 5000,
    "data/b.mp4": b"",
    "labels.json": b'{"a": 1}' * 1000,
    "run.sh": b"#!/bin/sh\n",
}


def zipped() -> bytes:
    stream = ZipStream(MOMENT)
    pieces: list[bytes] = []
    for name, content in FILES.items():
        halves = [content[: len(content) // 2], content[len(content) // 2 :]]
        video = name.endswith(".mp4")
        pieces += stream.add(
            name, halves, compressed=not video, size=len(content) if video else None, executable=name == "run.sh"
        )
    return b"".join([*pieces, *stream.end()])


def test_a_zip_file_holds_what_was_put_in_and_videos_as_they_are(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(zipped())) as found:
        assert found.testzip() is None
        assert {name: found.read(name) for name in found.namelist()} == FILES
        kinds = {file.filename: file.compress_type for file in found.infolist()}
        assert kinds == {name: 0 if name.endswith(".mp4") else zipfile.ZIP_DEFLATED for name in FILES}
        assert {file.date_time for file in found.infolist()} == {(2026, 3, 1, 12, 30, 10)}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_makes_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped())
    done = subprocess.run(["unzip", "-q", "a.zip", "-d", "folder"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {name: (tmp_path / "folder" / name).read_bytes() for name in FILES} == FILES


def test_a_file_beyond_the_bound_of_old_zip_files_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    content = zipped()
    monkeypatch.undo()
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert {name: found.read(name) for name in found.namelist()} == FILES


def test_a_large_video_takes_little_memory() -> None:
    def video() -> Iterator[bytes]:
        for number in range(256):
            yield bytes([number]) * (1 << 18)

    stream = ZipStream(MOMENT)
    tracemalloc.start()
    sent = largest = 0
    for piece in stream.add("a.mp4", video(), compressed=False, size=256 << 18):
        sent += len(piece)
        largest = max(largest, len(piece))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent > 64 << 20
    assert largest < 1 << 19
    assert peak < 4 << 20


def test_a_folder_is_made_of_a_zip_file(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped())
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "folder", tmp_path / "empty"):
        unpack(tmp_path / "a.zip", folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {str(path.relative_to(folder)): path.read_bytes() for path in files} == FILES
        executable = {path.name for path in files if path.stat().st_mode & stat.S_IXUSR}
        assert executable == {"run.sh"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "empty", "new"]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    for taken in ("folder", "folder/mine"):
        with pytest.raises(FileExistsError, match="name another folder"):
            unpack(tmp_path / "a.zip", tmp_path / taken)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["mine"]


@pytest.mark.parametrize("kept", [0, 100, 5000, -1, -30])
def test_a_zip_file_that_broke_off_makes_no_folder(tmp_path: Path, kept: int) -> None:
    (tmp_path / "a.zip").write_bytes(zipped()[:kept])
    with pytest.raises(ServiceError, match="no whole zip file"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_damaged_file_makes_no_folder(tmp_path: Path) -> None:
    content = bytearray(zipped())
    content[content.index(b"\x00\x01" * 100) + 50] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ServiceError, match="no whole zip file"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_wherever_a_zip_file_is_damaged_no_folder_is_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 40)  # whatever size is told of a file, it is not refused
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    text = np.random.default_rng(7).choice(list(b"abcdefgh"), 600).astype(np.uint8).tobytes()
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("data/a.json", text)
        zipped.writestr("b.json", text)
    whole = (tmp_path / "whole.zip").read_bytes()
    refused = 0
    for place, bits in itertools.product(range(len(whole)), (0x01, 0x80)):
        content = bytearray(whole)
        content[place] ^= bits
        (tmp_path / "a.zip").write_bytes(content)
        try:
            unpack(tmp_path / "a.zip", tmp_path / "folder")
        except ServiceError:
            refused += 1
            assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "whole.zip"]
        else:  # it was a date, or such
            assert (tmp_path / "folder").is_dir()
            shutil.rmtree(tmp_path / "folder")
    assert refused > len(whole)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_files_that_are_compressed_as_the_service_does_not_are_refused(tmp_path: Path, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as zipped:
        zipped.writestr("data/a", "a" * 1000)
    with pytest.raises(ServiceError, match="nothing was unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_encrypted_files_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("data/a", "a" * 1000)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[6] |= 1  # the flags of the file itself, and in the list of contents
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ServiceError, match="nothing was unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_link_and_the_current_folder_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(zipped())
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "loose").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path / "empty")
    for folder, why in (("../link", "a link"), ("../loose", "a link"), (".", "current"), ("../empty", "current")):
        with pytest.raises(FileExistsError, match=why):
            unpack(tmp_path / "a.zip", Path(folder))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "empty", "link", "loose"]


def test_a_folder_that_the_disk_has_no_room_for_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(zipped())
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="no room for 18,010 bytes"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


LINK = zipfile.ZipInfo("data/link")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16
DEVICE = zipfile.ZipInfo("data/device")
DEVICE.external_attr = (stat.S_IFBLK | 0o777) << 16
BAD: list[Any] = [
    "../outside", "/outside", "data/../../outside", "data/./a", "data//a", "data\\..\\a", "c:outside", "data/", ".",
    "data/a\x1b[31m", LINK, DEVICE,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD, ids=str)
def test_a_zip_file_that_leads_out_of_the_folder_is_refused_as_a_whole(tmp_path: Path, name: Any) -> None:
    (tmp_path / "here").mkdir()
    with zipfile.ZipFile(tmp_path / "here" / "a.zip", "w") as zipped:
        zipped.writestr("data/good", "good")
        zipped.writestr(name, "/etc/passwd")
    with pytest.raises(ServiceError, match="nothing was unpacked"):
        unpack(tmp_path / "here" / "a.zip", tmp_path / "here" / "folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "a.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("twice", ["data/a", "DATA/A"])
def test_a_zip_file_with_a_file_twice_is_refused(tmp_path: Path, twice: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("data/a", "1")
        zipped.writestr(twice, "2")
    with pytest.raises(ServiceError, match="nothing was unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")


IDS = st.text(min_size=1, max_size=200)


@given(st.lists(IDS, unique=True, max_size=20))
@example(["a b", "a_b", "a  b", "A B"])
@example(["a b", "a_b-c8687a08aa", "a_b-c8687a08aa5d6ed2044328fa6a697ab8e96dc34291e8c2034ae8c38e6fcc6d65"])
@example(["clip", "CLIP", "Clip", "-clip", ".clip", "clip."])
@example(["con", "con.mp4", "com1", "aux", ".", "..", "../a", "~", "é" * 200, "日本/動画", "a\nb", "a\x00b"])
def test_names_are_files_everywhere_and_each_clips_own(clip_ids: list[str]) -> None:
    names = Names()
    given = [names.of(clip_id) for clip_id in clip_ids]
    assert len({name.casefold() for name in given}) == len(clip_ids)
    assert [names.of(clip_id) for clip_id in clip_ids] == given
    for name in given:
        assert re.fullmatch(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?", name), name
        assert not re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name)
        assert len(name) <= 150


def test_an_id_made_to_look_like_anothers_name_gets_its_own() -> None:
    names = Names()
    clip_ids = ["a b"]
    for _ in range(5):
        name = names.of(clip_ids[-1])
        clip_ids.append(name)  # the id that the next clip has
        assert names.of(name) != name
        clip_ids.append(names.of(name))
    assert len({names.of(clip_id) for clip_id in clip_ids}) == len(set(clip_ids))


@pytest.mark.parametrize("clip_id", ["bounce-0412", "bounce_0412.v2", "0"])
def test_a_clip_whose_id_is_a_name_keeps_it(clip_id: str) -> None:
    assert Names().of(clip_id) == clip_id


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/b.mp4", ".mp4"), ("/a/b.MOV", ".mov"), ("/a/b", ".mp4"), ("/a/b.q?", ".mp4"), ("/a.x/b.webm", ".webm")],
)
def test_a_suffix_is_one_that_tools_know(path: str, expected: str) -> None:
    assert suffix(path) == expected
