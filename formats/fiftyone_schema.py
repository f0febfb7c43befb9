"""The documents of FiftyOne's database, as its version 1.0.0 has them: fields of a dataset, and labels in them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from motiontrace.formats.timeline import Rectangle

VERSION = "1.0.0"
FIELDS = "fiftyone.core.fields"
LABELS = "fiftyone.core.labels"
VIDEO_METADATA = {
    "size_bytes": "Int", "mime_type": "String", "frame_width": "Int", "frame_height": "Int", "frame_rate": "Float",
    "total_frame_count": "Int", "duration": "Float", "encoding_str": "String",
}  # fmt: skip
ID = ("id", "ObjectId")  # stored as _id
TAGS = ("tags", "List", "String")
CLASSIFICATION = (ID, TAGS, ("label", "String"), ("confidence", "Float"), ("logits", "Vector"))
TEMPORAL_DETECTION = (ID, TAGS, ("label", "String"), ("support", "FrameSupport", "Int"), ("confidence", "Float"))
DETECTION = (
    ID,
    TAGS,
    ("label", "String"),
    ("bounding_box", "List", "Float"),
    ("confidence", "Float"),
    ("index", "Int"),
)


class LabelledBox(NamedTuple):
    """A box in a frame: its label, the number that it has in all frames, and where it is."""

    label: str
    number: int
    rectangle: Rectangle


def sample_fields(own: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fields of a dataset's samples: those that each dataset has, and `own`."""
    metadata = [field(name, kind) for name, kind in VIDEO_METADATA.items()]
    return [
        field(*ID),
        field("filepath", "String"),
        field(*TAGS),
        field("metadata", "EmbeddedDocument", document="fiftyone.core.metadata.VideoMetadata", fields=metadata),
        field("_media_type", "String"),
        field("_rand", "Float"),
        *_times(),
        *own,
    ]


def frame_fields(own: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fields of a dataset's frames: those that each dataset has, and `own`."""
    return [
        field(*ID),
        field("frame_number", "FrameNumber"),
        field("_sample_id", "ObjectId"),
        *_times(),
        *own,
    ]


def field(
    name: str,
    kind: str,
    subfield: str | None = None,
    *,
    document: str | None = None,
    fields: Sequence[dict[str, Any]] = (),
    description: str | None = None,
) -> dict[str, Any]:
    """A field: its kind and, of a list, its items' kind, as FiftyOne calls them without "Field" at the end.

    `document` is the class of what an EmbeddedDocument holds, or a list of those, and `fields` are that one's.
    """
    return {
        "name": name,
        "ftype": f"{FIELDS}.{kind}Field",
        "embedded_doc_type": document,
        "subfield": None if subfield is None else f"{FIELDS}.{subfield}Field",
        "fields": list(fields),
        "db_field": "_id" if name == "id" else name,
        "description": description,
        "info": None,
        "read_only": False,
        "created_at": None,
    }


def classification_field(name: str, description: str) -> dict[str, Any]:
    """A field whose values `classification` gives."""
    fields = [field(*each) for each in CLASSIFICATION]
    return field(name, "EmbeddedDocument", document=f"{LABELS}.Classification", fields=fields, description=description)


def temporal_detections_field(name: str, description: str) -> dict[str, Any]:
    """A field whose values `temporal_detections` gives."""
    return _list_field(name, "TemporalDetection", TEMPORAL_DETECTION, description)


def detections_field(name: str, description: str) -> dict[str, Any]:
    """A field whose values `detections` gives."""
    return _list_field(name, "Detection", DETECTION, description)


def classification(label: str | None, *of: str) -> dict[str, Any] | None:
    """A clip's classification; None without a label. `of` names the clip and field."""
    return None if label is None else {"_id": object_id(*of), "_cls": "Classification", "tags": [], "label": label}


def temporal_detections(spans: Iterable[tuple[str, tuple[int, int]]], *of: str) -> dict[str, Any]:
    """Labels with first and last frames, the first frame of a clip being 0; `of` names the clip and field."""
    found = [
        {
            "_id": object_id(*of, str(number)),
            "_cls": "TemporalDetection",
            "tags": [],
            "label": label,
            "support": [first + 1, last + 1],
        }
        for number, (label, (first, last)) in enumerate(spans)
    ]
    return {"_cls": "TemporalDetections", "detections": found}


def detections(boxes: Iterable[LabelledBox], *of: str) -> dict[str, Any]:
    """The boxes of one frame; `of` names the clip and field."""
    found = [
        {
            "_id": object_id(*of, str(box.rectangle.frame), str(box.number)),
            "_cls": "Detection",
            "tags": [],
            "label": box.label,
            "bounding_box": [float(side) for side in box.rectangle[1:]],
            "index": box.number,
        }
        for box in boxes
    ]
    return {"_cls": "Detections", "detections": found}


def object_id(*of: str) -> dict[str, str]:
    """An id that is the same for the same texts."""
    return {"$oid": hashlib.sha256("\0".join(of).encode()).hexdigest()[:24]}


def _times() -> list[dict[str, Any]]:
    return [field("_dataset_id", "ObjectId"), field("created_at", "DateTime"), field("last_modified_at", "DateTime")]


def _list_field(name: str, kind: str, of: Sequence[tuple[str, ...]], description: str) -> dict[str, Any]:
    items = field("detections", "List", "EmbeddedDocument", document=f"{LABELS}.{kind}", fields=[field(*e) for e in of])
    return field(name, "EmbeddedDocument", document=f"{LABELS}.{kind}s", fields=[items], description=description)
