"""A folder from a zip file that a service sent: all of it or nothing, and nowhere else."""

from __future__ import annotations

import errno
import shutil
import stat
import uuid
import zipfile
from typing import TYPE_CHECKING

from service.client.errors import ServiceError

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (0, stat.S_IFREG)  # of what a zip file may hold: a link would lead out of the folder


def unpack(archive: Path, folder: Path) -> None:
    """Make `folder` of a zip file; whatever goes wrong, it is not there.

    Raises:
        ServiceError: it is no zip file, or a broken one, or holds what does not belong in a folder.
        OSError: the folder is there and not empty, the disk is too small, or nothing can be written there.
    """
    folder = folder.absolute()
    check_free(folder)
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        with zipfile.ZipFile(archive) as zipped:
            files = zipped.infolist()
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
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ServiceError(f"What the service sent is no whole zip file ({error}): ask for it again.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_free(folder: Path) -> None:
    """See that a folder can be made here.

    Raises:
        OSError: it is there already, and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(errno.EEXIST, "It is there already, and not empty: name another folder", str(folder))


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
        kind = stat.S_IFMT(file.external_attr >> 16)
        if not apart or kind not in KINDS or file.flag_bits & 1 or name.casefold() in seen:
            raise ServiceError(
                f"What the service sent holds {name[:200]!r}, which is no file of a folder: nothing was unpacked. Is "
                "it a motiontrace service that you asked?"
            )
        seen.add(name.casefold())
