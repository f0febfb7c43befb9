import hashlib
import os
import pickle
import socket
import threading
from pathlib import Path

import pytest

from motiontrace.files import FileError, check_file, file_sha256, open_file, read_file


@pytest.fixture
def places(tmp_path):
    """A path of each kind that is no readable file, by its kind."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "nothing").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "broken").symlink_to("away")
    (tmp_path / "to-pipe").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("pipe", "not_a_file", "is a named pipe (FIFO), not a file"),
        ("to-pipe", "not_a_file", "is a named pipe (FIFO), not a file"),
        ("socket", "not_a_file", "is a socket, not a file"),
        ("/dev/null", "not_a_file", "is a device, not a file"),
        ("folder", "folder", "is a folder, not a file"),
        ("nothing", "empty", "is empty (0 bytes)"),
        ("away", "missing", "does not exist"),
        ("nothing/inside", "missing", "does not exist"),
        ("broken", "missing", "is a link to a file that does not exist"),
        ("loop", "missing", "is a link that leads back to itself"),
        ("n" * 300, "missing", "cannot be the name of a file: it is too long"),
        ("null\0character", "missing", "cannot be the name of a file"),
        ("half\ud800", "missing", "cannot be the name of a file"),
    ],
)
def test_what_is_no_file_is_refused_by_name_without_waiting(places, name, code, reason):
    for read in (check_file, open_file, read_file, file_sha256):
        with pytest.raises(FileError) as raised:
            read(places / name)
        assert (raised.value.code, raised.value.reason, raised.value.path) == (code, reason, places / name)
        assert str(raised.value) == f"{places / name} {reason}"


def test_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_text("a")
    file.chmod(0)
    if os.geteuid() == 0:  # root may read everything
        monkeypatch.setattr(os, "access", lambda *given, **more: False)
        monkeypatch.setattr(os, "supports_effective_ids", {os.access})
    with pytest.raises(FileError, match="may not be read: check its permissions") as raised:
        check_file(file)
    assert raised.value.code == "unreadable"


def test_sizes_are_looked_at_before_anything_is_read(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "three").write_bytes(b"abc")
    assert check_file(tmp_path / "empty", empty=True).st_size == 0
    assert check_file(str(tmp_path / "three"), most_bytes=3).st_size == 3
    with pytest.raises(FileError, match="three has 3 bytes; at most 2 are read") as raised:
        check_file(tmp_path / "three", most_bytes=2)
    assert raised.value.code == "too_large"


def test_file_is_read_and_hashed(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    with open_file(tmp_path / "link") as stream:
        assert stream.read() == b"abc"
    assert read_file(tmp_path / "link", most_bytes=3) == b"abc"
    assert file_sha256(tmp_path / "link") == hashlib.sha256(b"abc").hexdigest()


def test_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_text("a")
    look = os.access

    def swap(*given, **more):
        file.unlink()
        os.mkfifo(file)
        return look(*given, **more)

    monkeypatch.setattr(os, "access", swap)
    monkeypatch.setattr(os, "supports_effective_ids", {swap})
    said = []

    def read():
        try:
            open_file(file)
        except FileError as error:
            said.append(error.code)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    assert said == ["not_a_file"]


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(FileError("empty", Path("a"), "is empty (0 bytes)")))
    assert (str(error), error.code, error.path) == ("a is empty (0 bytes)", "empty", Path("a"))
