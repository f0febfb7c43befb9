"""What a machine runs out of: room on its disks and descriptors; nobody's fault, and it may pass."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from motiontrace.answering.errors import NO_DESCRIPTORS, NO_ROOM
from motiontrace.catalog.errors import DatabaseFullError

if TYPE_CHECKING:
    from motiontrace.service.settings import ServiceSettings

UNUSABLE = frozenset({errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.ENODEV, errno.ENOTCONN})


@dataclass(frozen=True)
class Shortage:
    """What the problem says to callers, and what is logged."""

    status: HTTPStatus
    code: str
    detail: str
    todo: str
    pause: int  # seconds until another attempt is worth while
    reason: str  # for the log: it may name files


def shortage(error: BaseException) -> Shortage | None:
    """What an error, or one that it came of, says that there is too little of; None where it says nothing like it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DatabaseFullError):
            return _no_room(str(cause))
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return _no_room(_where(cause))
        if isinstance(cause, OSError) and cause.errno in NO_DESCRIPTORS:
            reason = f"{_where(cause)}: raise the limit of open files (ulimit -n)"
            return _unavailable("no_descriptors", "The service has as many files open as it may.", reason)
        cause = cause.__cause__
    return None


def out_of_order(error: OSError) -> Shortage | None:
    """A disk that cannot be used, as the same kind of error; None where the error says nothing like it."""
    if error.errno not in UNUSABLE:
        return None
    return _unavailable("storage_unavailable", "The service's disk cannot be used.", _where(error))


def _where(error: OSError) -> str:
    return f"{error.strerror}{f' ({error.filename})' if error.filename else ''}"


def _no_room(reason: str) -> Shortage:
    return Shortage(
        HTTPStatus.INSUFFICIENT_STORAGE,
        "no_room",
        "The service has no room left on its disk.",
        "Send it again once whoever runs the service has made room; GET /readyz tells.",
        60,
        reason,
    )


def _unavailable(code: str, detail: str, reason: str) -> Shortage:
    todo = "Send it again later; if it stays, tell whoever runs the service, whose log says more."
    return Shortage(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, todo, 10, reason)


def disk_full(settings: ServiceSettings) -> str | None:
    """Why the disk under home takes no more videos, None if it does."""
    free, needed = shutil.disk_usage(settings.home).free, settings.max_upload_bytes
    if free >= needed:
        return None
    return (
        f"The disk of {settings.home} has {free:,} bytes left, less than the largest video that a query may bring "
        f"({needed:,}): make room, or lower MOTIONTRACE_MAX_UPLOAD_BYTES."
    )
