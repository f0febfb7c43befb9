"""Which files may leave the machine as a clip: a catalog row, or a link put in its file's place, can name any."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motiontrace.answering.settings import AnsweringSettings

OUTSIDE = "The clip's file lies where this service serves no files from."
_SYSTEM = (Path("/proc"), Path("/sys"))  # a process's environment looks like a file, too


def given_away(path: str, settings: AnsweringSettings) -> Path | None:
    """The file that a clip's `path` leads to, without links and ".."; None: it may not leave the machine.

    It lies in a directory of settings.media_roots, or anywhere where there are none. It never lies among what is kept
    in the home (the database, indexes, queries' videos), nor among the system's own.
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
        or any(real.is_relative_to(directory) for directory in (*private, *_SYSTEM))
    ):
        return None
    return real
