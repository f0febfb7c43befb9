"""What data curators write, as manifest rows: the video pipeline of NeMo Curator, and Data-Juicer's samples.

NeMo Curator (`ClipWriterStage`) writes a folder: a file `metas/v0/UUID.json` a clip, with the captions of its
windows, beside `clips/`. Data-Juicer writes tables: a sample has `videos`, a list of paths, and `text`, in which
`<__dj__video>` stands for the next video and `<|__dj__eoc|>` ends a chunk of video and text that belong together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from motiontrace.files import FileError
from motiontrace.indexer.manifest.json_lines import parse_object
from motiontrace.indexer.manifest.refusing import RowError
from motiontrace.indexer.manifest.rows import columns_of
from motiontrace.indexer.manifest.texts import check_utf8, open_text
from motiontrace.indexer.manifest.values import id_of, is_missing, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NEMO_METADATA = "metas/v0"
VIDEO_TOKEN, END_OF_CHUNK = "<__dj__video>", "<|__dj__eoc|>"
_TOKENS = re.compile(r"\s*(?:<(?:__dj__\w+|\|__dj__\w+\|)>\s*)+")
_MEASURED = ("__dj__stats__", "__dj__meta__")
_CAPTION, _ENHANCED = "_caption", "_enhanced_caption"
_NOT_METADATA = ("span_uuid", "clip_location", "windows", "valid")


def nemo_files(folder: Path) -> Iterator[Path]:
    """The files of a NeMo Curator output that describe a clip each, in the order of their names."""
    yield from sorted((folder / NEMO_METADATA).rglob("*.json"))


def read_nemo(file: Path, folder: Path) -> dict[str, Any]:
    """The clip of a file of a NeMo Curator output as a manifest's values.

    Its caption is that of its windows, in their order, as enhanced where they are. Raises RowError where the file
    describes no clip, or one that NeMo Curator has left out.
    """
    clip = _nemo_object(file)
    if not all(isinstance(clip.get(name), str) for name in ("span_uuid", "clip_location")):
        raise _no_nemo("a JSON object with span_uuid and clip_location is expected, as NeMo Curator writes it")
    location: str = clip["clip_location"]
    if "/filtered_clips/" in location:
        raise RowError("filtered out by NeMo Curator", "NeMo Curator has filtered it out.", expected=True)
    windows = clip.get("windows") or []
    if not isinstance(windows, list) or not all(isinstance(window, dict) for window in windows):
        raise _no_nemo("its windows are no list of JSON objects")
    caption = " ".join(filter(None, map(_window_caption, windows)))
    if not caption:
        said = "NeMo Curator has written no caption for it: run it with captions (generate_captions)."
        raise RowError("no caption", said, expected=True)
    metadata = {name: value for name, value in clip.items() if name not in _NOT_METADATA}
    # The folder may have been moved since: what counts is where the clip is in it.
    _, clips, inside = location.rpartition("/clips/")
    video = str(folder / "clips" / inside) if clips else location
    return {**metadata, "video": video, "caption": caption, "id": clip["span_uuid"]}


def _nemo_object(file: Path) -> dict[str, Any]:
    try:
        with open_text(file) as stream:
            text = stream.read()
        check_utf8(text)
        return parse_object(text)
    except (OSError, ValueError) as error:  # FileError, ManifestError and RowError are among them
        said = error.reason if isinstance(error, FileError) else str(error)
        raise _no_nemo(said.removesuffix(".")) from error


def _no_nemo(said: str) -> RowError:
    return RowError("no clip of NeMo Curator", f"it cannot be read as a clip of NeMo Curator: {said}.")


def _window_caption(window: Mapping[str, Any]) -> str:
    """What the first of the models that captioned a window says, one that enhances captions before the others."""
    said = {name: text.strip() for name, text in window.items() if isinstance(text, str) and text.strip()}
    enhanced = [text for name, text in said.items() if name.endswith(_ENHANCED)]
    plain = [text for name, text in said.items() if name.endswith(_CAPTION) and not name.endswith(_ENHANCED)]
    return next(iter(enhanced + plain), "")


def is_data_juicer(values: Mapping[str, Any]) -> bool:
    """Whether a table's row is a sample of Data-Juicer."""
    if "videos" not in values or "text" not in values:
        return False
    return isinstance(values["videos"], list) or columns_of(tuple(values)).video is None


def read_data_juicer(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The clips of a sample as manifest rows' values.

    A video's caption is the text of its chunk, without tokens; where that is empty, or the text names no videos, the
    whole text. What Data-Juicer has measured becomes metadata, of a list with one value a video the video's own.
    Raises RowError where it has no video, or text and videos do not fit together.
    """
    videos, text = values["videos"], values["text"]
    if is_missing(videos) or videos == []:
        raise RowError("no video", "it has no video.", expected=True)
    if not isinstance(videos, list) or not all(isinstance(video, str) for video in videos):
        raise RowError("videos that are no paths", "videos must be a list of paths.")
    if not isinstance(text, str):
        said = "is empty" if is_missing(text) else f"holds {kind_of(text)}; text is expected"
        raise RowError("no caption", f"the column 'text' (the caption) {said}.")
    named = text.count(VIDEO_TOKEN)
    if named not in (0, len(videos)):
        raise RowError(
            "text and videos that do not fit",
            f"the text names {named} videos by {VIDEO_TOKEN}, and videos has {len(videos)}.",
        )
    whole = _plain(text)
    captions = [
        _plain(chunk) or whole for chunk in text.split(END_OF_CHUNK) for _ in range(chunk.count(VIDEO_TOKEN))
    ] or [whole] * len(videos)
    if not all(captions):
        raise RowError("no caption", "the column 'text' (the caption) is empty, tokens aside.")
    kept = {name: value for name, value in values.items() if name not in ("videos", "text", "id", *_MEASURED)}
    clips, clip_id = [], id_of(values.get("id"))
    for number, (video, caption) in enumerate(zip(videos, captions, strict=True)):
        measured = {
            name: value[number] if isinstance(value, list) and len(value) == len(videos) else value
            for part in _MEASURED
            if isinstance(values.get(part), dict)
            for name, value in values[part].items()
        }
        own = clip_id if clip_id is None or len(videos) == 1 else f"{clip_id}-{number + 1}"
        clips.append({**measured, **kept, "video": video, "caption": caption, "id": own})
    return clips


def _plain(text: str) -> str:
    return _TOKENS.sub(" ", text).strip()
