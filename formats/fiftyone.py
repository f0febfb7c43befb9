"""A folder for FiftyOne: what its importer FiftyOneDataset reads, and two simpler kinds of its own beside it.

FiftyOneDataset is the only one that takes all there is: fields of each clip, ranges of its time, boxes in its frames.
It reads the documents of FiftyOne's database; every 1.x brings those of 1.0.0, which are written here, up to date.
FiftyOneTemporalDetectionDataset and CSVDataset are formats that FiftyOne describes for other programs to write.
"""

from __future__ import annotations

import csv
import hashlib
import heapq
import io
import json
from dataclasses import asdict
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from motiontrace.formats.bundle import folder_format
from motiontrace.formats.columns import Columns
from motiontrace.formats.fiftyone_schema import (
    VERSION,
    VIDEO_METADATA,
    LabelledBox,
    classification,
    classification_field,
    detections,
    detections_field,
    field,
    frame_fields,
    object_id,
    sample_fields,
    temporal_detections,
    temporal_detections_field,
)
from motiontrace.formats.folder import File
from motiontrace.formats.media_types import MEDIA_TYPES, OTHER_TYPE
from motiontrace.formats.spreadsheets import cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from motiontrace.formats.export import Subject
    from motiontrace.formats.folder import Clip, Clips

MOTION = "motion"  # the label of what the index found
NO_LABEL = "marked"  # in place of an empty label, which FiftyOne does not show
TABLE = (
    "clip",
    "file_name",
    "rank",
    "score",
    "percentile",
    "stands_out",
    "chance_low",
    "chance_high",
    "end",
    "caption",
    "verdict",
    "decision",
    "note",
)
README = """\
Clips that motiontrace ranked, for FiftyOne (https://docs.voxel51.com). In Python:

    import fiftyone as fo

    dataset = fo.Dataset.from_dir(dataset_dir=".", dataset_type=fo.types.FiftyOneDataset, name="{title}")
    dataset.persistent = True  # else it is gone, with its tags, when this program ends
    session = fo.launch_app(dataset)
    session.wait()

samples.json, frames.json and metadata.json are that dataset: of each clip its rank, score, caption and label, the
ranges of its time in which it moves (motion) or that reviewers marked (review), and the boxes of both in its frames.
It takes FiftyOne 1.0 or newer. Less of it can be had as other types:

    labels.json  fo.types.FiftyOneTemporalDetectionDataset: the ranges alone
    labels.csv   fo.types.CSVDataset: rank, score, caption and label alone, all of them as text

In labels.csv a text that a spreadsheet would take for a formula, or that begins with ', has a ' before it.
"""


def _files(subject: Subject, clips: Clips) -> Iterator[File]:
    """The files beside the videos."""
    columns = Columns(clip.row["metadata"] for clip in clips)
    yield File("metadata.json", [json.dumps(_dataset(subject, columns))])
    yield File("samples.json", _documents("samples", (_sample(subject, clip, columns) for clip in clips)))
    yield File("frames.json", _documents("frames", (each for clip in clips for each in _frames(subject, clip))))
    yield File("labels.json", _temporal(clips))
    yield File("labels.csv", _table(clips))
    yield File("README.txt", [README.format(title=subject.title)])


def _dataset(subject: Subject, columns: Columns) -> dict[str, Any]:
    own = [
        field("clip", "String", description="The clip's id"),
        field("file_name", "String", description="The name of its own file"),
        field("rank", "Int", description="1: the most positive influence of all ranked clips"),
        field("score", "Float", description="Influence: the cosine of the two motion gradients, -1 to 1"),
        field("percentile", "Float", description="100: the top of the ranking, 0: its bottom"),
        field("stands_out", "String", description="teaches or fights: by more than chance explains"),
        field("chance_low", "Float", description="A clip fights the motion only below this score"),
        field("chance_high", "Float", description="A clip stands out among those that teach only above this score"),
        field("end", "String", description="The end of the ranking that the clip was exported from"),
        field("caption", "String"),
        classification_field("verdict", "What reviewers say the clip looks like"),
        classification_field("decision", "What training should do with the clip: keep, down_weight, drop"),
        field("note", "String", description="What reviewers wrote"),
        temporal_detections_field("motion", "When something moves, as the index found"),
        temporal_detections_field("review", "What reviewers marked"),
        *(field(each.name, each.kind, description=f"Manifest: {each.column}") for each in columns.all),
    ]
    in_frames = [
        detections_field("motion", "Where something moves, as the index found"),
        detections_field("review", "What reviewers marked"),
    ]
    return {
        "name": subject.title,
        "slug": subject.title,
        "version": VERSION,
        "media_type": "video",
        "persistent": False,
        "tags": [],
        "info": {"motiontrace": asdict(subject)},
        "app_config": _app(columns),
        "classes": {},
        "default_classes": [],
        "group_media_types": {},
        "mask_targets": {},
        "default_mask_targets": {},
        "skeletons": {},
        "sample_fields": sample_fields(own),
        "frame_fields": frame_fields(in_frames),
    }


def _app(columns: Columns) -> dict[str, Any]:
    """What FiftyOne's App shows first: a clip's rank and labels, not its file."""
    labels, boxes = ["verdict", "decision", "motion", "review"], ["frames.motion", "frames.review"]
    groups = {
        "clip": [
            "rank",
            "score",
            "percentile",
            "stands_out",
            "chance_low",
            "chance_high",
            "end",
            "clip",
            "file_name",
            "caption",
            "note",
        ],
        "labels": labels,
        "frame labels": boxes,
        "manifest": [each.name for each in columns.all],
        "tags": ["tags", "_label_tags"],
        "metadata": [f"metadata.{name}" for name in VIDEO_METADATA],
        "other": ["id", "filepath", "created_at", "last_modified_at"],
    }
    return {
        "sidebar_groups": [{"name": name, "paths": paths} for name, paths in groups.items() if paths],
        "active_fields": {"exclude": None, "paths": ["rank", "score", *labels, *boxes]},
    }


def _sample(subject: Subject, clip: Clip, columns: Columns) -> dict[str, Any]:
    """A clip without the fields that it has no value of: FiftyOne reads those that are declared as None."""
    row, of = clip.row, (subject.query, clip.row["id"])
    suffix = clip.video[clip.video.rindex(".") :]
    metadata = {
        "_cls": "VideoMetadata",
        "size_bytes": clip.bytes,
        "mime_type": MEDIA_TYPES.get(suffix, OTHER_TYPE),
        "frame_width": row["width"],
        "frame_height": row["height"],
        "frame_rate": float(row["fps"]),
        "total_frame_count": row["frames"],
        "duration": float(row["seconds"]),
    }
    values = {
        "_id": object_id(*of),
        "_media_type": "video",
        "_rand": _random(*of),
        "filepath": clip.video,
        "tags": [row["end"]],
        "metadata": metadata,
        "clip": row["id"],
        "file_name": row["file_name"],
        "rank": row["rank"],
        "score": float(row["score"]),
        "percentile": float(row["percentile"]),
        "stands_out": row["stands_out"],
        "chance_low": row["chance_low"],
        "chance_high": row["chance_high"],
        "end": row["end"],
        "caption": row["caption"],
        "verdict": classification(row["verdict"], *of, "verdict"),
        "decision": classification(row["decision"], *of, "decision"),
        "note": row["note"],
        "motion": None if row["motion_region"] is None else temporal_detections(_moving(clip), *of, "motion"),
        "review": temporal_detections(_marked(clip), *of, "review") if row["ranges"] else None,
        **columns.values(row["metadata"]),
    }
    return {name: value for name, value in values.items() if value is not None}


def _moving(clip: Clip) -> Iterator[tuple[str, tuple[int, int]]]:
    for each in (clip.row["motion_region"] or {}).get("ranges", ()):
        yield MOTION, clip.timeline.moving(each)


def _marked(clip: Clip) -> Iterator[tuple[str, tuple[int, int]]]:
    for each in clip.row["ranges"]:
        yield each["label"] or NO_LABEL, clip.timeline.span(each)


def _frames(subject: Subject, clip: Clip) -> Iterator[dict[str, Any]]:
    """The frames that have boxes. Other frames are left out: a long clip has many."""
    of = (subject.query, clip.row["id"])
    moving = [(MOTION, box["keyframes"]) for box in (clip.row["motion_region"] or {}).get("boxes", ())]
    marked = [(box["label"] or NO_LABEL, box["keyframes"]) for box in clip.row["boxes"]]
    found = heapq.merge(_boxes(clip, "motion", moving), _boxes(clip, "review", marked), key=_frame_of)
    for frame, boxes in groupby(found, _frame_of):
        by_field: dict[str, list[LabelledBox]] = {}
        for name, box in boxes:
            by_field.setdefault(name, []).append(box)
        yield {
            "_id": object_id(*of, "frame", str(frame)),
            "_sample_id": object_id(*of),
            "frame_number": frame + 1,
            **{name: detections(each, *of, name) for name, each in by_field.items()},
        }


def _boxes(
    clip: Clip, name: str, boxes: Iterable[tuple[str, list[dict[str, Any]]]]
) -> Iterator[tuple[str, LabelledBox]]:
    """Boxes with the field that they belong in, by frame."""

    def followed(label: str, number: int, keyframes: list[dict[str, Any]]) -> Iterator[tuple[str, LabelledBox]]:
        for rectangle in clip.timeline.rectangles(keyframes):
            yield name, LabelledBox(label, number, rectangle)

    each = (followed(label, number, keyframes) for number, (label, keyframes) in enumerate(boxes, start=1))
    return heapq.merge(*each, key=_frame_of)


def _frame_of(box: tuple[str, LabelledBox]) -> int:
    return box[1].rectangle.frame


def _temporal(clips: Clips) -> Iterator[str]:
    """labels.json of FiftyOneTemporalDetectionDataset: by the video's name without its suffix."""
    classes = {label for clip in clips for label, _ in chain(_moving(clip), _marked(clip))}
    yield f'{{"classes": {json.dumps(sorted(classes))}, "labels": {{'
    for number, clip in enumerate(clips):
        found = [
            {"label": label, "support": [first + 1, last + 1]}
            for label, (first, last) in chain(_moving(clip), _marked(clip))
        ]
        yield f"{',' if number else ''}\n{json.dumps(clip.name)}: {json.dumps(found)}"
    yield "\n}}\n"


def _table(clips: Clips) -> Iterator[str]:
    """labels.csv of CSVDataset."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("filepath", *TABLE))
    for clip in clips:
        row = clip.row | {"clip": clip.row["id"]}
        cells = (cell(row[name]) if isinstance(row[name], str) else row[name] for name in TABLE)
        writer.writerow((clip.video.partition("/")[2], *cells))
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def _documents(name: str, documents: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A collection of FiftyOne's database as JSON, a document a line."""
    yield f'{{"{name}": ['
    for number, document in enumerate(documents):
        yield f"{',' if number else ''}\n{json.dumps(document)}"
    yield "\n]}\n"


def _random(*of: str) -> float:
    """A number from 0 to 1, by which FiftyOne shuffles samples."""
    return int.from_bytes(hashlib.sha256("\0".join((*of, "random")).encode()).digest()[:6]) / 2**48


FORMAT = folder_format("fiftyone", "a folder for FiftyOne, with the videos", videos="data", files=_files)
