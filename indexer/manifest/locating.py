"""Where a manifest's videos are.

Paths are relative to the folder that the manifest was named in. In a cache of the Hub, in DVC, git-annex or a mounted
ConfigMap a manifest is a link into a store of contents, and the names stand beside the link. A file is also found by
the other Unicode normal form of its name, which archives and disks of other systems leave behind, and by a path that
Windows wrote, as far as it is relative.
"""

from __future__ import annotations

import os
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from motiontrace.indexer.manifest.refusing import RowError

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def manifest_folder(source: Path) -> Path:
    """The folder that a manifest's paths are relative to: `source` itself, or the one that it was named in."""
    return (source if source.is_dir() else source.parent).resolve()


class Locator:
    """Finds the files that a manifest names."""

    def __init__(self, manifest: Path) -> None:
        """`manifest`: the file, or the folder that is one, as the user named it."""
        self._folder = manifest_folder(manifest)
        # A link may also stand apart from the videos, which then lie beside what it leads to.
        own = manifest_folder(manifest.resolve())
        self._folders = [self._folder] if own == self._folder else [self._folder, own]
        self._listed = lru_cache(maxsize=1024)(_by_normal_form)

    def find(self, name: str) -> tuple[Path, bool]:
        """Where the file of that name is, an absolute path, and whether there is one.

        Raises:
            RowError: it is an address, or a path of Windows that leads to nothing here.
        """
        if "://" in name:
            raise RowError(
                "an address, no file", f"{name} is an address. Nothing is downloaded: give the path of a local file."
            )
        for folder in self._folders:
            if (found := self._found(folder, name)) is not None:
                return found, True
        if _DRIVE.match(name):
            raise RowError("a path of Windows", f"{name} is a path of Windows: give the one that the file has here.")
        if "\\" in name:
            return self._find_with_slashes(name)
        return self._folder / name, False

    def _find_with_slashes(self, name: str) -> tuple[Path, bool]:
        slashed = name.replace("\\", "/")
        for folder in self._folders:
            if (found := self._found(folder, slashed)) is not None:
                return found, True
        raise RowError(
            "a path of Windows",
            f"{name} is written as Windows writes paths, and there is no file {self._folder / slashed} either.",
        )

    def _found(self, folder: Path, name: str) -> Path | None:
        path = folder / name
        if os.path.exists(path):  # noqa: PTH110 - Path.exists raises where no file can have the name
            return path
        return None if name.isascii() else self._in_other_form(path)

    def _in_other_form(self, path: Path) -> Path | None:
        """The file whose path is the same text, part by part, in any Unicode normal form."""
        found = Path(path.anchor)
        for part in path.parts[1:]:
            exact = found / part
            if not os.path.lexists(exact):
                listed = self._listed(found).get(_normal(part))
                if listed is None:
                    return None
                exact = found / listed
            found = exact
        return found


def _by_normal_form(folder: Path) -> dict[str, str]:
    """The names in a folder by their normal form; none where it cannot be read."""
    try:
        return {_normal(name): name for name in sorted(os.listdir(folder))}  # noqa: PTH208 - names, no paths
    except OSError:
        return {}


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)
