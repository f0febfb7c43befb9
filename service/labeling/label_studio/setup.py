"""The labelling set-up of our projects, and which controls of a project's set-up are ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from motiontrace.documents.label_studio import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VIDEO = "video"  # the object that the controls label, and the field of a task's data that holds its address
VERDICT = "verdict"  # Choices: what the clip looks like, in the words of the push
DECISION = "action"  # Choices: keep, down-weight, drop
SEGMENT = "segment"  # TimelineLabels: parts of the clip
OBJECTS = "objects"  # Labels: what a box is around; a box has its label from it
BOX = "box"  # VideoRectangle
NOTE = "note"  # TextArea, of the caption
CAPTION = "caption"
HEIGHT = "360"  # pixels of the player: the choices below it are seen without scrolling
FRAME_RATE = "$fps"  # a clip's own: frames are counted by it

SEGMENTS = ("influential motion", "bad motion")
BOXES = ("moving object",)
PREDICTED_SEGMENT = SEGMENTS[0]
PREDICTED_BOX = BOXES[0]
DECISIONS = {"keep": "keep", "down_weight": "down-weight", "drop": "drop"}  # ours -> Label Studio's

# The controls that a project needs: name -> its tag and the object it labels.
CONTROLS = {
    VERDICT: ("Choices", VIDEO),
    DECISION: ("Choices", VIDEO),
    SEGMENT: ("TimelineLabels", VIDEO),
    OBJECTS: ("Labels", VIDEO),
    BOX: ("VideoRectangle", VIDEO),
    NOTE: ("TextArea", CAPTION),
}


def label_config(verdicts: Sequence[str] = VERDICTS) -> str:
    """The set-up of a new project, as XML.

    Args:
        verdicts: the choices of the verdict, each a line of printable characters.
    """
    view = Element("View")
    SubElement(view, "Header", value="$file_name: influence rank $rank ($sign), score $score")
    SubElement(view, "Video", name=VIDEO, value=f"${VIDEO}", frameRate=FRAME_RATE, height=HEIGHT)
    segments = SubElement(view, "TimelineLabels", name=SEGMENT, toName=VIDEO)
    for label in SEGMENTS:
        SubElement(segments, "Label", value=label)
    boxes = SubElement(view, "Labels", name=OBJECTS, toName=VIDEO)
    for label in BOXES:
        SubElement(boxes, "Label", value=label)
    SubElement(view, "VideoRectangle", name=BOX, toName=VIDEO)
    SubElement(view, "Text", name=CAPTION, value="$caption")
    SubElement(view, "Text", name="query", value="$query_prompt")
    _choices(view, VERDICT, verdicts).set("required", "true")
    _choices(view, DECISION, list(DECISIONS.values()))
    SubElement(view, "TextArea", name=NOTE, toName=CAPTION, rows="2", placeholder="Why?")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


@dataclass(frozen=True)
class Setup:
    """What a project's set-up offers to choose from."""

    verdicts: tuple[str, ...]
    segments: tuple[str, ...]
    boxes: tuple[str, ...]

    @classmethod
    def of(cls, project: Mapping[str, Any]) -> Self:
        """Read the set-up of a project as Label Studio gives it.

        Raises:
            SetupError: it lacks controls of ours; says which.
        """
        controls = project.get("parsed_label_config") or {}
        faults = [fault for name in CONTROLS for fault in _faults(name, controls.get(name))]
        if _frame_rate(str(project.get("label_config") or "")) != FRAME_RATE:
            faults.append(f'the Video {VIDEO!r} with frameRate="{FRAME_RATE}"')
        if faults:
            raise SetupError(faults)
        return cls(*(tuple(controls[name]["labels"]) for name in (VERDICT, SEGMENT, OBJECTS)))


class SetupError(Exception):
    """A project's labelling set-up is not fit for our tasks; `missing` names what it lacks."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(f"the labelling set-up lacks {'; '.join(missing)}")
        self.missing = tuple(missing)


def _choices(view: Element, name: str, choices: Sequence[str]) -> Element:
    control = SubElement(view, "Choices", name=name, toName=VIDEO, choice="single", showInline="true")
    for choice in choices:
        SubElement(control, "Choice", value=choice)
    return control


def _faults(name: str, control: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with a control as Label Studio has parsed it."""
    tag, labelled = CONTROLS[name]
    if control is None or control["type"] != tag or control["to_name"] != [labelled]:
        return [f"{tag} named {name!r} with toName={labelled!r}"]
    if all(shown.get("value") == labelled for shown in control["inputs"]):
        return []
    return [f'value="${labelled}" of the object {labelled!r}']


def _frame_rate(config: str) -> str | None:
    """The frame rate that the set-up's video says, None where it says none."""
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError:
        return None
    for video in root.iter("Video"):
        if video.get("name") == VIDEO:
            # Label Studio reads attributes in any case.
            return {name.lower(): value for name, value in video.items()}.get("framerate")
    return None
