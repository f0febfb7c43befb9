"""The videos of queries on disk: each in a folder of its own below the directory of uploads."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

INCOMING = "incoming"  # the folder of uploads that have not arrived as a whole
KEPT = "The upload"  # the name of each that has: errors name the file, and people know theirs by another one
ABANDONED_SECONDS = 86_400.0  # no upload takes as long, the looking at all videos of a batch included


def remove_upload(directory: Path, video: str) -> None:
    """Remove a query's video with its folder; only what lies in `directory`, whatever the row says."""
    folder = Path(video).parent
    if folder.parent == directory:
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a video's folder; needs no descriptor where it holds what it should."""
    with suppress(OSError):
        (folder / KEPT).unlink(missing_ok=True)
        folder.rmdir()
        return
    shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(directory: Path, named: Collection[str]) -> None:
    """Remove the folders of videos that no query names; one of the last day may be about to be named."""
    if not directory.is_dir():
        return
    limit = time.time() - ABANDONED_SECONDS
    for path in directory.iterdir():
        try:
            if path.name != INCOMING and path.name not in named and path.stat().st_mtime < limit:
                remove_folder(path)
        except FileNotFoundError:
            continue  # another process was quicker
