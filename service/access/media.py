"""Which files may leave the machine as a clip: a catalog row, or a link put in its file's place, can name any."""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from motiontrace.service.settings import ServiceSettings

SYSTEM = (Path("/proc"), Path("/sys"))  # a process's environment looks like a file, too


def below_a_root(path: str, settings: ServiceSettings) -> str | None:
    """A clip's path as callers of the service may see it: from the media root that it lies below, with slashes.

    None: it lies below none, or there are none. Nobody looks at the file: it may be gone.
    """
    told = Path(os.path.normpath(path))
    for root in settings.media_roots:
        if told.is_relative_to(root):
            return told.relative_to(root).as_posix()
    if settings.media_roots:  # by links on the way, but not by one that the file itself is: its name stays
        real = Path(os.path.realpath(told.parent), told.name)
        for folder in map(os.path.realpath, settings.media_roots):
            if real.is_relative_to(folder):
                return real.relative_to(folder).as_posix()
    return None


def servable(path: str, settings: ServiceSettings) -> Path:
    """The file that a clip's `path` leads to, without links and "..".

    It lies in a directory of settings.media_roots, or anywhere where there are none; never among what the service
    itself keeps in its home (the database, indexes, queries' videos), nor among the system's own.

    Raises:
        ProblemError: 404, it lies elsewhere. Where is not said.
    """
    real = Path(os.path.realpath(path))
    roots = [Path(os.path.realpath(root)) for root in settings.media_roots]
    home = Path(os.path.realpath(settings.home))
    kept = (
        settings.index_directory,
        settings.basis_directory,
        settings.calibration_directory,
        settings.upload_directory,
        settings.thumbnail_directory,
    )
    private = [Path(os.path.realpath(directory)) for directory in kept]
    if (
        (roots and not any(real.is_relative_to(root) for root in roots))
        or real.parent == home
        or any(real.is_relative_to(directory) for directory in (*private, *SYSTEM))
    ):
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            "outside_media_roots",
            "The clip's file lies where this service serves no files from.",
            "Move the clip and index it again, or have its directory added to the setting media_roots.",
        )
    return real
