"""A folder from a zip file that a service sent: all of it or nothing, and nowhere else."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
import zipfile
import zlib
from typing import TYPE_CHECKING

from motiontrace.client.errors import ServiceError

if TYPE_CHECKING:
    from pathlib import Path

COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what the service sends, and every Python can read
KINDS = (0, stat.S_IFREG)  # of what a zip file may hold: a link would lead out of the folder


def unpack(archive: Path, folder: Path) -> None:
    """Make `folder` of a zip file; whatever goes wrong, it is not there.

    Raises:
        ServiceError: it is no zip file, or a broken one, or holds what does not belong in a folder.
        OSError: the folder cannot be made, as `check_free` tells; the disk is too small; nothing can be written there.
    """
    folder = folder.absolute()
    check_free(folder)
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        with zipfile.ZipFile(archive) as zipped:
            files = zipped.infolist()
            if any(file.header_offset < 0 for file in files):
                raise zipfile.BadZipFile("a file of it begins before it does")
            _check(files)
            folder.parent.mkdir(parents=True, exist_ok=True)
            needed = sum(file.file_size for file in files)
            if needed > shutil.disk_usage(folder.parent).free:
                raise OSError(errno.ENOSPC, f"The disk has no room for {needed:,} bytes", str(folder.parent))
            unfinished.mkdir()
            for file in files:
                path = unfinished / file.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(file) as content, path.open("xb") as written:
                    shutil.copyfileobj(content, written, 1 << 20)
                if file.external_attr >> 16 & stat.S_IXUSR:
                    path.chmod(path.stat().st_mode | stat.S_IXUSR)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise ServiceError(f"What the service sent is no whole zip file ({error}): ask for it again.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_free(folder: Path) -> None:
    """See that a folder can be made here.

    Raises:
        OSError: it is there already and not empty, or is a link, or the folder that the program is in.
    """
    if folder.is_symlink():
        raise FileExistsError(errno.EEXIST, "It is a link: name the folder itself, or another one", str(folder))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(errno.EEXIST, "It is there already, and not empty: name another folder", str(folder))
    if folder.exists() and folder.samefile(os.curdir):
        # It would be replaced by another one, and this would be none any more for who is in it.
        raise FileExistsError(errno.EEXIST, "It is the current folder: name one in it", str(folder))


def check_new(file: Path) -> None:
    """See that a file can be made here.

    Raises:
        OSError: something is there already.
    """
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, "It is a folder: name a file for the table", str(file))
    if os.path.lexists(file):
        raise FileExistsError(errno.EEXIST, "It is there already: name another file, or remove it", str(file))


def put_in_place(whole: Path, file: Path) -> None:
    """Give a whole file its name, which nothing may have; raises what `check_new` raises."""
    try:
        os.link(whole, file)  # unlike a renaming, it takes the place of nothing that came there meanwhile
    except FileExistsError:
        check_new(file)
        raise
    except OSError:  # a file system without links
        check_new(file)
        whole.rename(file)


def _check(files: list[zipfile.ZipInfo]) -> None:
    """See that every file lies in the folder, and is one.

    Raises:
        ServiceError: one is not; says which.
    """
    seen: set[str] = set()
    for file in files:
        name = file.filename
        parts = name.split("/")
        apart = all(part not in {"", ".", ".."} for part in parts) and not set(name) & set("\\:") and name.isprintable()
        plain = file.compress_type in COMPRESSION and not file.flag_bits & 1  # which says that it is encrypted
        kind = stat.S_IFMT(file.external_attr >> 16)
        if not apart or not plain or kind not in KINDS or name.casefold() in seen:
            raise ServiceError(
                f"What the service sent holds {name[:200]!r}, which is no file of a folder: nothing was unpacked. Is "
                "it a motiontrace service that you asked?"
            )
        seen.add(name.casefold())
