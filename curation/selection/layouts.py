"""What each trainer reads: names of files and columns. docs/curation.md names each trainer's own words about it."""

from __future__ import annotations

from dataclasses import dataclass

from motiontrace.curation.selection.forms import Format


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
    alone: bool = False
    """Whether the output is the table's file itself, which names videos where they lie."""
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
    Format.parquet: Layout("clips.parquet", "video", "caption", "", alone=True),
}  # fmt: skip
