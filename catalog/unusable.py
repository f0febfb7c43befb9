"""Why a database cannot be used, and what to do: in words, from what its driver says."""

import sqlite3

from sqlalchemy.exc import DBAPIError

ELSEWHERE = (
    "put the catalog on a local disk with --home or MOTIONTRACE_HOME, or into PostgreSQL with MOTIONTRACE_DATABASE_URL"
)
"""The way out where a file system will not do."""

_BUSY, _PERM, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 3, 8, 10, 11, 13, 14, 26
_SHARED_MEMORY = {"SQLITE_IOERR_SHMOPEN", "SQLITE_IOERR_SHMMAP", "SQLITE_IOERR_SHMLOCK", "SQLITE_IOERR_SHMSIZE"}
_WORDS = {
    _BUSY: "another process is writing it, and has been for a while: wait until it has ended, or stop it",
    _PERM: "this user may not use it: check its permissions and those of its folder",
    _READONLY: "it cannot be written: check its permissions and those of its folder, or name another place with --home",
    _IOERR: "the disk cannot read or write it: check the disk, and that its volume is mounted",
    _CORRUPT: "it is damaged: restore it from a backup",
    _FULL: "its volume is full: make room",
    _CANTOPEN: "it cannot be opened: check its permissions and those of its folder, and that its volume is mounted",
    _NOTADB: "it is no SQLite database: name the right file with --home or MOTIONTRACE_DATABASE_URL",
}


def why_unusable(error: DBAPIError) -> str:
    """The cause, and what to do about it."""
    said = " ".join(str(error.orig).split())
    if not isinstance(error.orig, sqlite3.Error):
        check = "the host, name, user and password in MOTIONTRACE_DATABASE_URL, and that the server is running"
        return f"{said}: check {check}"
    if getattr(error.orig, "sqlite_errorname", "") in _SHARED_MEMORY:
        return f"{said}: its file system has no memory that processes share, as many of the network: {ELSEWHERE}"
    words = _WORDS.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)
    return said if words is None else f"{said}: {words}"
