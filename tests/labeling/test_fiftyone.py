"""FiftyOne loads the folder that the service makes for it: its own importers, its own database."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.labeling.tools import exported, python_with, read_by

if TYPE_CHECKING:
    from tests.service.conftest import Corpus

FIELDS = ("rank", "score", "percentile", "end", "caption", "note", "verdict", "decision")


@pytest.fixture(scope="module")
def loaded(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, Any]]]:
    """What FiftyOne made of the folder, and the ranking that the folder is of."""
    python = python_with("fiftyone", "TEST_FIFTYONE")
    home = tmp_path_factory.mktemp("fiftyone")
    rows = exported(corpus, home, "fiftyone", home / "folder")
    return read_by(python, "read_fiftyone.py", home / "folder", home), rows


def test_every_clip_is_a_sample_with_its_fields(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    found, rows = loaded
    assert len(rows) == 6
    for sample, row in zip(found["samples"], rows, strict=True):
        assert Path(sample["filepath"]).is_file()
        assert (sample["clip"], sample["media_type"], sample["tags"]) == (row["id"], "video", [row["end"]])
        assert {name: sample[name] for name in FIELDS} == {name: row[name] for name in FIELDS}
        assert sample["manifest_motion"] == row["metadata"]["motion"]
    assert found["info"]["motiontrace"]["index"] == "tiny"


def test_ranges_and_boxes_are_labels_of_frames(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    samples = {sample["clip"]: sample for sample in loaded[0]["samples"]}
    labelled = samples["up-red"]
    assert labelled["motion"] == [["motion", [1, 6]]]
    assert labelled["review"] == [["bad motion", [4, 7]]]
    assert list(labelled["frames_motion"]) == ["1", "2", "3", "4", "5", "6"]
    assert list(labelled["frames_review"]) == ["4", "5", "6", "7", "8", "9"]
    assert labelled["frames_review"]["4"] == [["square", 1, [0.1, 0.2, 0.3, 0.4]]]
    assert labelled["frames_review"]["7"][0][2] == pytest.approx([0.25, 0.2, 0.3, 0.4])
    assert all(
        each["frames_motion"] == {} and each["motion"] is None for name, each in samples.items() if name != "up-red"
    )


def test_fiftyone_can_work_with_the_dataset(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    found, rows = loaded
    assert found["counts"] == {
        "by_verdict": 1,
        "scores": [min(row["score"] for row in rows), max(row["score"] for row in rows)],
        "boxes": 6,
        "clips": [[4, 7]],
        "changed": 1,
        "after_adding_it_again": 6,  # the same clips, not twice
    }


def test_fiftyone_counts_the_frames_that_the_folder_tells(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    if shutil.which("ffprobe") is None:
        pytest.skip("FiftyOne counts frames by ffprobe, which is not installed (apt-get install ffmpeg)")
    found, _ = loaded
    for sample in found["samples"]:
        told, own = sample["metadata"], found["own_metadata"][sample["clip"]]
        assert {name: told[name] for name in told} == {name: own[name] for name in told}


def test_the_simpler_importers_load_the_same_videos(loaded: tuple[Any, list[dict[str, Any]]]) -> None:
    found, rows = loaded
    paths = {sample["clip"]: sample["filepath"] for sample in found["samples"]}
    assert set(found["ranges"]) == set(found["table"]) == set(paths.values())
    assert found["ranges"][paths["up-red"]] == [["motion", [1, 6]], ["bad motion", [4, 7]]]
    for row in rows:
        rank, score, note = found["table"][paths[row["id"]]]
        assert (int(rank), float(score), note) == (row["rank"], row["score"], row["note"])
