"""What data curators write, as manifest rows: the video pipeline of NeMo Curator, and Data-Juicer's samples.

NeMo Curator (`ClipWriterStage`) writes a folder: a file ``metas/v0/UUID.json`` a clip, with the captions of its
windows, beside ``clips/``. Data-Juicer writes tables: a sample has ``videos``, a list of paths, and ``text``, in which
``<__dj__video>`` stands for the next video and ``<|__dj__eoc|>`` ends a chunk of video and text that belong together.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

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


def read_nemo(file: Path, folder: Path) -> dict[str, Any] | str:
    """The clip of a file of a NeMo Curator output as a manifest's values, or why it is left out.

    Its caption is that of its windows, in their order, as enhanced where they are. Raises ValueError where the file
    describes no clip.
    """
    clip = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(clip, dict) or not all(
        isinstance(clip.get(name), str) for name in ("span_uuid", "clip_location")
    ):
        raise ValueError("a JSON object with span_uuid and clip_location is expected, as NeMo Curator writes it")
    location: str = clip["clip_location"]
    if "/filtered_clips/" in location:
        return "NeMo Curator has filtered it out"
    windows = clip.get("windows") or []
    if not isinstance(windows, list) or not all(isinstance(window, dict) for window in windows):
        raise ValueError("its windows are no list of JSON objects")
    caption = " ".join(filter(None, map(_window_caption, windows)))
    if not caption:
        return "NeMo Curator has written no caption for it"
    metadata = {name: value for name, value in clip.items() if name not in _NOT_METADATA}
    # The folder may have been moved since: what counts is where the clip is in it.
    _, clips, inside = location.rpartition("/clips/")
    video = str(folder / "clips" / inside) if clips else location
    return {**metadata, "video": video, "caption": caption, "id": clip["span_uuid"]}


def _window_caption(window: Mapping[str, Any]) -> str:
    """What the first of the models that captioned a window says, one that enhances captions before the others."""
    said = {name: text.strip() for name, text in window.items() if isinstance(text, str) and text.strip()}
    enhanced = [text for name, text in said.items() if name.endswith(_ENHANCED)]
    plain = [text for name, text in said.items() if name.endswith(_CAPTION) and not name.endswith(_ENHANCED)]
    return next(iter(enhanced + plain), "")


def is_data_juicer(values: Mapping[str, Any]) -> bool:
    """Whether a table's row is a sample of Data-Juicer."""
    return isinstance(values.get("videos"), list) and isinstance(values.get("text"), str)


def read_data_juicer(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The clips of a sample as manifest rows' values; none where it has no video.

    A video's caption is the text of its chunk, without tokens; where that is empty, or the text names no videos, the
    whole text. What Data-Juicer has measured becomes metadata, of a list with one value a video the video's own.
    Raises ValueError where text and videos do not fit together.
    """
    videos, text = values["videos"], values["text"]
    named = text.count(VIDEO_TOKEN)
    if named not in (0, len(videos)):
        raise ValueError(f"the text names {named} videos by {VIDEO_TOKEN}, and videos has {len(videos)}")
    if not all(isinstance(video, str) for video in videos):
        raise ValueError("videos must be a list of paths")
    whole = _plain(text)
    captions = [
        _plain(chunk) or whole for chunk in text.split(END_OF_CHUNK) for _ in range(chunk.count(VIDEO_TOKEN))
    ] or [whole] * len(videos)  # fmt: skip
    kept = {name: value for name, value in values.items() if name not in ("videos", "text", "id", *_MEASURED)}
    clips = []
    for number, (video, caption) in enumerate(zip(videos, captions, strict=True)):
        measured = {
            name: value[number] if isinstance(value, list) and len(value) == len(videos) else value
            for part in _MEASURED
            if isinstance(values.get(part), dict)
            for name, value in values[part].items()
        }
        clip_id = values.get("id")
        if clip_id not in (None, "") and len(videos) > 1:
            clip_id = f"{clip_id}-{number + 1}"
        clips.append({**measured, **kept, "video": video, "caption": caption, "id": clip_id})
    return clips


def _plain(text: str) -> str:
    return _TOKENS.sub(" ", text).strip()
