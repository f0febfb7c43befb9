"""Clips' files as callers of the service may see them, and have them."""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from motiontrace.answering.media import OUTSIDE, given_away
from motiontrace.service.problem import ProblemError

if TYPE_CHECKING:
    from motiontrace.service.settings import ServiceSettings


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
    """The file that a clip's `path` leads to, where it may leave the machine: see answering.media.

    Raises:
        ProblemError: 404, it may not. Where it lies is not said.
    """
    real = given_away(path, settings)
    if real is None:
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            "outside_media_roots",
            OUTSIDE,
            "Move the clip and index it again, or have its directory added to the setting media_roots.",
        )
    return real
