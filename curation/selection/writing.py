"""A selection as a trainer reads it: a folder of videos with a table, or a table alone; there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motiontrace.catalog.durable_files import sync_directory
from motiontrace.catalog.kept_names import KeptNames
from motiontrace.curation.selection.errors import SelectionError
from motiontrace.curation.selection.forms import Link
from motiontrace.curation.selection.layouts import LAYOUTS
from motiontrace.curation.selection.table import OWN, Row, Unusable, read_rows, survey
from motiontrace.curation.selection.writers import list_writer, table_writer
from motiontrace.formats.file_names import suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from motiontrace.catalog.database import Database
    from motiontrace.curation.selection.forms import Format
    from motiontrace.curation.selection.layouts import Layout
    from motiontrace.curation.selection.run import Selection
    from motiontrace.curation.selection.table import Columns, Kind

ABOUT = "selection.json"
_SHOWN = 5
# What a file system says that has no such link: another volume, no right to it, too many links, or none at all.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Written:
    """What was written."""

    output: Path
    clips: int
    placed: dict[str, int]
    """How many videos came into the folder, by the way they did: hardlink, symlink or copy."""
    left_out: list[Unusable]


def write_selection(
    database: Database,
    selection: Selection,
    output: Path,
    *,
    format: Format,
    link: Link = Link.auto,
    skip_unusable: bool = False,
    on_clip: Callable[[], None] = lambda: None,
) -> Written:
    """Write a selection as a folder, or as one file where its layout is a table alone.

    The same selection gives the same names and the same bytes, but for paths of clips that the table names elsewhere.

    Args:
        database: of the catalog.
        selection: what to write.
        output: the folder, which is not there or empty; of a table alone the file, which is not there.
        format: for which trainer.
        link: how the folder gets its videos; a table alone has none.
        skip_unusable: leave out clips whose file is gone or has changed, instead of writing nothing.
        on_clip: is called twice for each clip: when it is checked, and when it is written.

    Raises:
        SelectionError: the format needs its videos in the folder, or clips' files are gone or have changed.
        OSError: the output is there, cannot be written, or the disk is too small.
    """
    layout, output = LAYOUTS[format], output.absolute()
    if link == Link.none and not layout.other_places:
        raise SelectionError(f"a {format} has its videos in the folder: they have to be linked or copied into it")
    if layout.alone:
        link = Link.none
    check_free(output, format)
    if output.is_symlink():
        output = output.resolve()  # an empty folder, which is replaced: the link stays
    columns, unusable, size = survey(database, selection, layout.taken, on_clip)
    if unusable and not skip_unusable:
        raise SelectionError(_unusable_words(unusable, len(selection.outcome)))
    output.parent.mkdir(parents=True, exist_ok=True)
    if link == Link.copy and size > shutil.disk_usage(output.parent).free:
        raise OSError(errno.ENOSPC, f"The disk has no room for {size:,} bytes of videos", str(output.parent))
    unfinished = output.with_name(f".{output.name}.{uuid.uuid4().hex}")
    unfinished.mkdir()
    told = about(selection)
    try:
        folder, without = _Folder(unfinished, layout, link), {each.id for each in unusable}
        clips = folder.fill(_usable(database, selection, without, on_clip), columns, told)
        if layout.alone:
            _finish(unfinished / layout.table, output)
        else:
            (unfinished / ABOUT).write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", "utf-8")
            _finish(unfinished, output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Written(output, clips, dict(folder.placed), unusable)


def check_free(output: Path, format: Format) -> None:
    """See that a selection can be written there; raises FileExistsError where something is there already."""
    folder = not LAYOUTS[format].alone
    if not os.path.lexists(output) or (folder and output.is_dir() and not any(output.iterdir())):
        return
    what = "The folder is there and not empty" if folder and output.is_dir() else "It is there already"
    raise FileExistsError(errno.EEXIST, f"{what}: name another one, or remove it", str(output))


def about(selection: Selection) -> dict[str, Any]:
    """What a selection's files tell of it, JSON values."""
    return {
        "id": selection.id,
        "name": selection.name,
        "index": selection.index.name,
        "recipe": selection.index.recipe_digest,
        "created_at": selection.created_at.isoformat(),
        "settings": selection.settings.model_dump(mode="json"),
        "queries": selection.queries,
        "counts": selection.counts,
    }


class _Folder:
    """A folder that is being filled."""

    def __init__(self, path: Path, layout: Layout, link: Link) -> None:
        self._path = path
        self._layout = layout
        self._link = link
        self._names = KeptNames()
        self.placed: Counter[str] = Counter()

    def fill(self, rows: Iterator[Row], columns: Columns, told: dict[str, Any]) -> int:
        """Place the clips' videos and write the table, with `told` in a Parquet file; returns the number of clips."""
        layout, clips = self._layout, 0
        kinds: dict[str, Kind] = {layout.video: "text", layout.caption: "text", **OWN, **columns.kinds}
        (self._path / layout.folder).mkdir(exist_ok=True)
        with ExitStack() as stack:
            add = stack.enter_context(table_writer(self._path / layout.table, kinds, told))
            enlist = stack.enter_context(list_writer(self._path)) if layout.lists else None
            for row in rows:
                video, caption = self._place(row), row.file.caption
                metadata = columns.cells(row.file.metadata)
                own = row.clip._asdict() | {"source_path": row.file.path}
                named = {layout.video: video, layout.caption: caption}
                add(named | {name: own[name] for name in OWN} | metadata)
                if enlist is not None:
                    enlist(video, caption)
                clips += 1
        return clips

    def _place(self, row: Row) -> str:
        """Bring a clip's video, and its text, into the folder; the video's path as the table names it."""
        source = Path(row.file.path)
        if self._link == Link.none:
            return str(source)
        source = source.resolve(strict=True)
        name = self._names.of(row.file.path, row.clip.id)
        video = self._path / self._layout.folder / f"{name}{suffix(row.file.path)}"
        self.placed[_link(source, video, self._link)] += 1
        if self._layout.texts:
            video.with_name(f"{name}.txt").write_text(row.file.caption + "\n", "utf-8")
        return video.relative_to(self._path).as_posix()


def _link(source: Path, video: Path, link: Link) -> Link:
    """Make `video` of a file; how that was done."""
    if link == Link.copy:
        shutil.copy2(source, video)
        return link
    if link == Link.symlink:
        video.symlink_to(source)
        return link
    try:
        video.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        if link == Link.hardlink:
            raise SelectionError(
                f"the output cannot have a hard link to {source} ({error.strerror}): take --link symlink or --link copy"
            ) from error
        return _link(source, video, Link.symlink)
    return Link.hardlink


def _usable(database: Database, selection: Selection, without: set[str], on_clip: Callable[[], None]) -> Iterator[Row]:
    for row in read_rows(database, selection):
        if isinstance(row, Row) and row.clip.id not in without:
            yield row
        on_clip()


def _finish(unfinished: Path, output: Path) -> None:
    """Move what is finished to its place, and make that durable."""
    if unfinished.is_dir() and output.is_dir():
        output.rmdir()  # empty
    unfinished.rename(output)
    sync_directory(output.parent)


def _unusable_words(unusable: list[Unusable], total: int) -> str:
    some = "; ".join(f"{each.id} ({each.path}): {each.reason}" for each in unusable[:_SHOWN])
    more = f"; and {len(unusable) - _SHOWN:,} more" if len(unusable) > _SHOWN else ""
    return (
        f"the files of {len(unusable):,} of the {total:,} chosen clips cannot be used, and nothing was written: {some}"
        f"{more}. Put them back, or leave these clips out with --skip-unusable"
    )
