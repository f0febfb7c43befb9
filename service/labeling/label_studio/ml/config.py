"""A project's labelling set-up as an ML backend is sent it: the XML itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from motiontrace.service.labeling.label_studio.setup import CONTROLS, Setup, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

LABELS = ("Label", "Choice")


def read_setup(config: str) -> Setup:
    """Read a set-up.

    Raises:
        SetupError: it cannot be read, or lacks controls of ours; says which.
    """
    return Setup.of({"label_config": config, "parsed_label_config": _controls(config)})


def _controls(config: str) -> Mapping[str, Any]:
    """The controls as Label Studio's API gives them (`parsed_label_config`), as far as `Setup` looks at them.

    It is a caller who sends it: the time that it takes grows with its length, and no faster.
    """
    if "<!DOCTYPE" in config:  # it alone can define entities, which a short text can make endless
        raise SetupError(["XML without a document type"])
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise SetupError([f"XML that can be read ({error})"]) from error
    shown = {each.get("name"): each for each in root.iter() if each.get("name") and not each.get("toName")}
    controls: dict[str, Mapping[str, Any]] = {}
    # Only what can be ours is looked into, and once: else elements in elements would each be gone through again.
    for element in root.iter():
        name = element.get("name", "")
        if name in CONTROLS and element.tag == CONTROLS[name][0] and element.get("toName"):
            if name in controls:
                raise SetupError([f"names that are given once (several controls are named {name!r})"])
            controls[name] = _control(element, shown)
    return controls


def _control(control: Element, shown: Mapping[str | None, Element]) -> Mapping[str, Any]:
    to_name = control.get("toName", "").split(",")
    labels = [each.get("alias") or each.get("value") for each in control.iter() if each.tag in LABELS]
    return {
        "type": control.tag,
        "to_name": to_name,
        "inputs": [{"value": shown[name].get("value", "").lstrip("$")} for name in to_name if name in shown],
        "labels": [label for label in labels if label],
    }
