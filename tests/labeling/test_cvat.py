"""Programs made for CVAT read the folder that the service makes for it; CVAT's server is not to be had by pip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.labeling.tools import LABEL, exported, python_with, read_by

if TYPE_CHECKING:
    from tests.service.conftest import Corpus


@pytest.fixture(scope="module")
def read(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, Any]]]:
    """What they made of the folder, and the ranking that the folder is of."""
    python = python_with("cvat_cli", "TEST_CVAT")
    home = tmp_path_factory.mktemp("cvat")
    rows = exported(corpus, home, "cvat", home / "folder")
    return read_by(python, "read_cvat.py", home / "folder", home), rows


def test_cvat_cli_takes_the_calls_of_the_script(read: tuple[Any, list[dict[str, Any]]]) -> None:
    found, rows = read
    project, *tasks = found["calls"]
    assert project["command"] == "ProjectCreate"
    assert {"motiontrace", "motion"} < {label["name"] for label in project["labels"]}
    assert [task["name"].partition(" ")[2] for task in tasks] == [row["id"] for row in rows]
    for task in tasks:
        assert (task["command"], task["project_id"], task["annotation_format"]) == ("TaskCreate", 41, "CVAT 1.1")
        (video,) = task["resources"]
        assert video.removeprefix("videos/").removesuffix(".mp4") == task["annotation_path"][len("annotations/") : -4]


def test_the_sdk_takes_the_labels(read: tuple[Any, list[dict[str, Any]]]) -> None:
    assert read[0]["project"] == [
        ["motiontrace", "tag"],
        ["motion", "any"],
        ["bad motion", "any"],
        ["square", "any"],
    ]


def test_the_first_frames_tag_has_the_score_and_the_label(read: tuple[Any, list[dict[str, Any]]]) -> None:
    found, rows = read
    tags = [each["items"]["frame_000000"][0] for each in found["annotations"].values()]
    by_clip = {attributes["clip"]: (kind, label, attributes) for kind, label, attributes, _ in tags}
    for row in rows:
        kind, label, attributes = by_clip[row["id"]]
        assert (kind, label) == ("label", "motiontrace")
        assert float(attributes["score"]) == pytest.approx(row["score"], abs=1e-6)
        assert (int(attributes["rank"]), attributes["end"], attributes["caption"]) == (
            row["rank"],
            row["end"],
            row["caption"],
        )
        assert attributes["verdict"] == (row["verdict"] or "none")
    assert by_clip["up-red"][2]["note"] == LABEL["note"]


def test_frames_and_boxes_are_those_of_the_video(read: tuple[Any, list[dict[str, Any]]]) -> None:
    labelled = read[0]["annotations"]["up-red"]
    assert labelled["frames"] == 12
    tags = {
        int(frame.removeprefix("frame_")): {label for kind, label, *_ in annotations if kind == "label"}
        for frame, annotations in labelled["items"].items()
    }
    assert {frame for frame, labels in tags.items() if "motion" in labels} == set(range(6))
    assert {frame for frame, labels in tags.items() if "bad motion" in labels} == set(range(3, 7))
    boxes = [
        (int(frame.removeprefix("frame_")), label, attributes["outside"], attributes["track_id"], points)
        for frame, annotations in labelled["items"].items()
        for kind, label, attributes, points in annotations
        if kind == "bbox"
    ]
    assert [each[:4] for each in sorted(boxes, key=lambda each: (each[3], each[0]))] == [
        (0, "motion", False, 0),
        (6, "motion", True, 0),
        (3, "square", False, 1),
        (9, "square", True, 1),
    ]
    (first,) = (points for frame, label, *_, points in boxes if (frame, label) == (3, "square"))
    assert first == pytest.approx([6.4, 12.8, 25.6, 38.4], abs=0.01)
