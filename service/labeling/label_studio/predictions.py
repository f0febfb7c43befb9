"""What a task shows before anybody has looked at it: a suggested verdict, and when and where the clip moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motiontrace.documents.regions import Box, Keyframe, TimeRange
from motiontrace.service.labeling.label_studio.setup import (
    BOX,
    PREDICTED_BOX,
    PREDICTED_SEGMENT,
    SEGMENT,
    VERDICT,
    VIDEO,
    Setup,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json = dict[str, Any]
MODEL_VERSION = "motiontrace"


@dataclass(frozen=True)
class Timing:
    """How a clip's seconds become frames, which Label Studio counts from 1.

    Attributes:
        fps: frames a second by which Label Studio's player counts, > 0.
        frames: how many there are; None where that is not known.
        seconds: how long it is; None where that is not known.
    """

    fps: float
    frames: int | None
    seconds: float | None

    def frame(self, moment: float) -> int:
        """The frame that begins nearest to a moment, in seconds >= 0 from the start; the last one at most."""
        frame = round(moment * self.fps) + 1
        return frame if self.frames is None else max(1, min(frame, self.frames))


def prediction(
    setup: Setup,
    timing: Timing,
    *,
    verdict: str | None,
    region: Mapping[str, Any] | None,
    score: float,
    model_version: str = MODEL_VERSION,
) -> Json | None:
    """A prediction as Label Studio imports it, of what the project's set-up offers; None: it would be empty.

    Label Studio itself takes a prediction of anything, and does not show what its set-up does not know.

    Args:
        setup: of the project.
        timing: of the clip.
        verdict: what is suggested, None for nothing.
        region: EntryRecord.motion_region.
        score: by which the clip was ranked, -1 to 1; of a centred query it may lie beyond, then shown as the end.
            Label Studio's own go from 0 to 1: its half lies in the middle.
        model_version: under which Label Studio files it.
    """
    result: list[Json] = []
    if verdict is not None and verdict in setup.verdicts:
        result.append(_item("verdict", VERDICT, "choices", {"choices": [verdict]}))
    region = region or {}
    if PREDICTED_SEGMENT in setup.segments:
        ranges = [TimeRange(**each, label=PREDICTED_SEGMENT) for each in region.get("ranges", ())]
        result += timeline(ranges, timing)
    if PREDICTED_BOX in setup.boxes:
        result += rectangles([Box(**each, label=PREDICTED_BOX) for each in region.get("boxes", ())], timing)
    share = min(1.0, max(0.0, (1 + score) / 2))
    return {"model_version": model_version, "score": round(share, 4), "result": result} if result else None


def timeline(ranges: Sequence[TimeRange], timing: Timing) -> list[Json]:
    """Ranges as regions of the timeline, both of their frames included."""
    return [
        _item(
            f"segment-{number}",
            SEGMENT,
            "timelinelabels",
            {
                "ranges": [{"start": timing.frame(each.start), "end": timing.frame(each.end)}],
                "timelinelabels": [each.label],
            },
        )
        for number, each in enumerate(ranges, 1)
    ]


def rectangles(boxes: Sequence[Box], timing: Timing) -> list[Json]:
    """Boxes as rectangles of the video. Of keyframes that fall on one frame the last one counts."""
    items = []
    for number, box in enumerate(boxes, 1):
        sequence = {timing.frame(keyframe.time): _corner(keyframe, timing) for keyframe in box.keyframes}
        value: Json = {"labels": [box.label], "sequence": list(sequence.values())}
        if timing.frames is not None:
            value["framesCount"] = timing.frames
        if timing.seconds is not None:
            value["duration"] = timing.seconds
        items.append(_item(f"box-{number}", BOX, "videorectangle", value))
    return items


def _item(id: str, control: str, type: str, value: Json) -> Json:
    return {"id": id, "from_name": control, "to_name": VIDEO, "type": type, "value": value}


def _corner(keyframe: Keyframe, timing: Timing) -> Json:
    frame = timing.frame(keyframe.time)
    percents = {name: round(100 * getattr(keyframe, name), 4) for name in ("x", "y", "width", "height")}
    # The time as Label Studio's own editor writes it: that of the frame's end.
    return {"frame": frame, "enabled": keyframe.visible, "rotation": 0, "time": frame / timing.fps, **percents}
