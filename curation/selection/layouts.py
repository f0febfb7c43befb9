"""What each trainer reads: names of files and columns. docs/curation.md names each trainer's own words about it."""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as parquet

from motiontrace.curation.selection.forms import Format
from motiontrace.formats.spreadsheets import BOM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from motiontrace.curation.selection.table import Kind

VIDEO_LIST, CAPTION_LIST = "videos.txt", "prompts.txt"
_ROWS_AT_ONCE = 10_000
_TYPES: dict[Kind, str] = {"text": "string", "integer": "int64", "number": "float64", "boolean": "bool"}


@dataclass(frozen=True)
class Layout:
    """How one kind of trainer wants its clips."""

    table: str
    """The table's file in the folder; its suffix says in which form."""
    video: str
    """The column of the video's path."""
    caption: str
    """The column of the caption."""
    folder: str
    """The folder of the videos in the output's, "" for that itself."""
    texts: bool = False
    """Whether each caption is in a .txt file beside its video, too."""
    lists: bool = False
    """Whether videos and captions are also in two texts, a line a clip."""
    other_places: bool = True
    """Whether the table may name videos that lie elsewhere."""
    meanings: tuple[str, ...] = ()
    """Further names of columns that mean something to the trainer: no metadata may have them."""

    @property
    def taken(self) -> tuple[str, ...]:
        """Names of columns that no metadata may have."""
        return self.video, self.caption, *self.meanings


LAYOUTS = {
    Format.videofolder: Layout("metadata.jsonl", "file_name", "caption", "videos", other_places=False,
                               meanings=("video", "videos")),
    Format.diffsynth: Layout("metadata.csv", "video", "prompt", "videos", meanings=("image",)),
    Format.lists: Layout("scores.jsonl", "video", "caption", "videos", lists=True, other_places=False),
    # Not named metadata.jsonl: trainers that look for texts would take the folder for a video folder.
    Format.captions: Layout("scores.jsonl", "video", "caption", "", texts=True, other_places=False),
    Format.parquet: Layout("clips.parquet", "video", "caption", ""),
}  # fmt: skip


@contextmanager
def table_writer(
    path: Path, kinds: Mapping[str, Kind], about: Mapping[str, Any], *, for_people: bool = False
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write a table to a new file, row after row, in the form that its suffix names.

    `kinds` are its columns in order, and what each holds beside None; a Parquet file tells `about` itself.
    `for_people`: CSV begins with a mark by which spreadsheets know its UTF-8, which trainers' readers may not know.
    """
    if path.suffix == ".parquet":
        fields = [pa.field(name, _TYPES[kind]) for name, kind in kinds.items()]
        schema = pa.schema(fields, metadata={"motiontrace": json.dumps(about)})
        rows: list[dict[str, Any]] = []
        with path.open("xb") as file, parquet.ParquetWriter(file, schema) as written:

            def add(row: dict[str, Any]) -> None:
                rows.append(row)
                if len(rows) >= _ROWS_AT_ONCE:
                    flush()

            def flush() -> None:
                written.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()

            yield add
            flush()
        return
    with path.open("x", encoding="utf-8", newline="") as text:
        if path.suffix == ".csv":
            text.write(BOM if for_people else "")
            cells = csv.DictWriter(text, list(kinds), lineterminator="\n")
            cells.writeheader()
            yield cells.writerow
        else:

            def put(row: dict[str, Any]) -> None:
                text.write(json.dumps(row, ensure_ascii=False) + "\n")

            yield put


@contextmanager
def list_writer(folder: Path) -> Iterator[Callable[[str, str], None]]:
    """Write the two lists, a line a clip in each: its video, and its caption, in one line whatever is in it."""
    with (
        (folder / VIDEO_LIST).open("x", encoding="utf-8") as videos,
        (folder / CAPTION_LIST).open("x", encoding="utf-8") as captions,
    ):

        def add(video: str, caption: str) -> None:
            videos.write(f"{video}\n")
            captions.write(" ".join(caption.split()) + "\n")

        yield add
