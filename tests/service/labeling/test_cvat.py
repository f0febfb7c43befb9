"""The folder for CVAT against the rules of its formats; tests/labeling has programs of CVAT's read it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.service.asking import ask
from tests.service.labeling.exported import MOVES, folder, mark_motion, zipped
from tests.service.labeling.test_bundle import SUBJECT, own, unzipped
from tests.service.labeling.test_bundle import row as row_of
from tests.videos import write_video

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

JUMP = {"start": 0.25, "end": 0.5, "label": "bad motion"}
SAME = {"start": 0.0, "end": 0.1, "label": "motion"}  # the name of what the index found
UNNAMED = {"label": " ", "keyframes": [{"time": 0.25, "x": 0.5, "y": 0.25, "width": 0.25, "height": 0.5}]}
NOTE = "<b>&\x1b[31m\x0b\nsecond ]]> line"
LABEL = {
    "verdict": "glitchy\nat\tthe end",
    "decision": "drop",
    "note": NOTE,
    "ranges": [JUMP, SAME],
    "boxes": [UNNAMED],
}


@pytest.fixture
def query(client: TestClient, settings: ServiceSettings, corpus: Corpus) -> str:
    assert client.put("/v1/clips/up-red/labels", json=LABEL).status_code == 200
    mark_motion(settings, "up-red")
    found: str = ask(client, corpus.video("up-red"), "a square, up-red").json()["id"]
    return found


@pytest.fixture
def files(client: TestClient, query: str) -> dict[str, bytes]:
    return folder(client, query, "cvat", end="both", limit=2)


def annotations(files: dict[str, bytes], name: str) -> ElementTree.Element:
    return ElementTree.fromstring(files[f"annotations/{name}.xml"])


def tags(root: ElementTree.Element) -> dict[int, list[str]]:
    """The labels of tags by frame."""
    return {int(image.attrib["id"]): [tag.attrib["label"] for tag in image.iter("tag")] for image in root.iter("image")}


def attributes(root: ElementTree.Element) -> dict[str, str]:
    """Those of the tag of the whole clip."""
    (tag,) = root.iterfind("image[@id='0']/tag[@label='motiontrace']")
    return {each.attrib["name"]: each.text or "" for each in tag}


def test_the_folder_has_a_task_for_each_clip(files: dict[str, bytes], corpus: Corpus) -> None:
    videos = {name.removeprefix("videos/").removesuffix(".mp4") for name in files if name.startswith("videos/")}
    assert len(videos) == 4
    assert set(files) == {
        *(f"videos/{name}.mp4" for name in videos),
        *(f"annotations/{name}.xml" for name in videos),
        "labels.json",
        "create_tasks.sh",
        "README.txt",
    }
    assert files["videos/up-red.mp4"] == corpus.video("up-red").read_bytes()


def test_the_first_frames_tag_has_the_score_and_the_label(
    files: dict[str, bytes], client: TestClient, query: str
) -> None:
    path = f"/v1/queries/{query}/export?format=jsonl&end=both&limit=2"
    for row in map(json.loads, client.get(path).text.splitlines()):
        (found,) = (each for each in map(attributes, roots(files)) if each["clip"] == row["id"])
        assert float(found["score"]) == pytest.approx(row["score"], abs=1e-6)
        assert float(found["percentile"]) == pytest.approx(row["percentile"], abs=1e-4)
        assert (found["rank"], found["end"], found["caption"]) == (str(row["rank"]), row["end"], row["caption"])
        if row["id"] != "up-red":
            assert (found["verdict"], found["decision"], found["note"]) == ("none", "none", "")
    labelled = attributes(annotations(files, "up-red"))
    assert (labelled["verdict"], labelled["decision"]) == ("glitchy at the end", "drop")
    assert labelled["note"] == "<b>&\ufffd[31m\ufffd\nsecond ]]> line"  # characters that XML cannot have


def roots(files: dict[str, bytes]) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(content) for name, content in files.items() if name.endswith(".xml")]


def test_frames_in_a_range_have_its_tag(files: dict[str, bytes]) -> None:
    root = annotations(files, "up-red")
    expected = {
        0: ["motiontrace", "motion", "motion (review)"],
        1: ["motion", "motion (review)"],
        2: ["motion"],
        **{frame: ["motion", "bad motion"] for frame in range(3, 6)},
        6: ["bad motion"],
    }
    assert {frame: set(names) for frame, names in tags(root).items()} == {f: set(n) for f, n in expected.items()}
    for image in root.iter("image"):
        assert image.attrib["name"] == f"frame_{int(image.attrib['id']):06d}"
        assert (image.attrib["width"], image.attrib["height"]) == ("64", "64")


def test_boxes_are_tracks_in_pixels(files: dict[str, bytes]) -> None:
    root = annotations(files, "up-red")
    sides = ("frame", "outside", "xtl", "ytl", "xbr", "ybr")
    tracks = {
        track.attrib["label"]: [[float(box.attrib[side]) for side in sides] for box in track]
        for track in root.iter("track")
    }
    assert tracks == {
        "motion": [[0, 0, 12.8, 12.8, 28.8, 44.8], [6, 1, 32, 12.8, 48, 44.8]],
        "marked": [[3, 0, 32, 16, 48, 48]],
    }
    assert [track.attrib["id"] for track in root.iter("track")] == ["0", "1"]
    assert {box.attrib["keyframe"] for box in root.iter("box")} == {"1"}


def test_the_sides_of_a_wide_picture_are_its_own(corpus: Corpus, tmp_path: Path) -> None:
    wide = write_video(tmp_path / "wide.mp4", np.full((12, 48, 96, 3), 90, dtype=np.uint8))
    known = {"path": str(wide), "bytes": wide.stat().st_size, "width": 96, "height": 48, "motion_region": MOVES}
    files = unzipped(zipped("cvat", SUBJECT, [row_of("wide", corpus, **known)], own(tmp_path / "home")))
    root = annotations(files, "wide")
    boxes = [[float(box.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")] for box in root.iter("box")]
    assert boxes == [[19.2, 9.6, 43.2, 33.6], [48.0, 9.6, 72.0, 33.6]]
    assert {(image.attrib["width"], image.attrib["height"]) for image in root.iter("image")} == {("96", "48")}
    size = root.find("meta/task/original_size")
    assert size is not None
    assert (size.findtext("width"), size.findtext("height")) == ("96", "48")


def test_every_label_and_attribute_is_among_the_projects(files: dict[str, bytes]) -> None:
    labels = {label["name"]: label for label in json.loads(files["labels.json"])}
    assert set(labels) == {"motiontrace", "motion", "bad motion", "motion (review)", "marked"}
    known = {each["name"]: each for each in labels["motiontrace"]["attributes"]}
    for root in roots(files):
        assert {each.attrib["label"] for each in (*root.iter("tag"), *root.iter("track"))} <= set(labels)
        for name, value in attributes(root).items():
            if known[name]["input_type"] == "select":
                assert value in known[name]["values"]
        in_file = [label.findtext("name") for label in root.iter("label")]
        assert in_file == list(labels)
    for each in known.values():
        assert each["default_value"] in each["values"]
        assert len(set(each["values"])) == len(each["values"])
        assert all("\n" not in value for value in each["values"])
    assert known["verdict"]["values"] == ["none", "realistic", "unrealistic", "cartoon", "static", "glitchy at the end"]


def test_the_script_makes_a_project_and_its_tasks(files: dict[str, bytes], query: str, tmp_path: Path) -> None:
    done, calls = run_script(files, tmp_path, "--server-host", "http://cvat example")
    assert (done.returncode, done.stderr) == (0, "")
    server = ["--server-host", "http://cvat example"]
    assert calls[0] == [*server, "project", "create", f"motiontrace-{query[:8]}", "--labels", "labels.json"]
    assert len(calls) == 5
    (one,) = (call for call in calls if "videos/up-red.mp4" in call)
    assert one == [
        *server,
        "task",
        "create",
        "000001 up-red",
        "local",
        "videos/up-red.mp4",
        "--project_id",
        "41",
        "--annotation_path",
        "annotations/up-red.xml",
        "--annotation_format",
        "CVAT 1.1",
    ]


def test_tasks_that_failed_are_told_of_and_made_by_a_second_call(files: dict[str, bytes], tmp_path: Path) -> None:
    done, calls = run_script(files, tmp_path, fails="up-red")
    assert len(calls) == 5  # the one that fails is the first of four
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "project 41"
    assert done.stderr.splitlines()[1:] == ["videos/up-red.mp4"]
    assert "CVAT_PROJECT=41" in files["README.txt"].decode()
    done, calls = run_script(files, tmp_path, environment={"CVAT_PROJECT": "41"})
    assert (done.returncode, done.stderr) == (0, "")
    (call,) = calls
    assert call[:2] == ["task", "create"]
    assert {"videos/up-red.mp4", "41"} < set(call)
    assert run_script(files, tmp_path, environment={"CVAT_PROJECT": "41"})[1] == []
    _, calls = run_script(files, tmp_path, environment={"CVAT_PROJECT": "42"})
    assert len([call for call in calls if "42" in call]) == len(calls) == 4  # it has none of them yet


def test_no_task_is_made_without_a_project(files: dict[str, bytes], tmp_path: Path) -> None:
    done, calls = run_script(files, tmp_path, fails="labels.json")
    assert done.returncode != 0
    assert [call[:2] for call in calls] == [["project", "create"]]


def run_script(
    files: dict[str, bytes],
    folder: Path,
    *arguments: str,
    fails: str | None = None,
    environment: dict[str, str] | None = None,
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run create_tasks.sh in `folder` where `cvat-cli` notes what it is called with; gives that too.

    A call that has `fails` in it fails, after it was noted.
    """
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "bin").mkdir(exist_ok=True)
    noted, program = folder / "calls", folder / "bin" / "cvat-cli"
    noted.write_text("")
    failing = "" if fails is None else f'case "$*" in *{fails}*) exit 3;; esac\n'
    program.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >> {noted}; echo >> {noted}\n{failing}echo 41\n")
    program.chmod(0o755)
    done = subprocess.run(
        ["sh", str(folder / "create_tasks.sh"), *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        env={"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"} | (environment or {}),
    )
    return done, [line.split("\0")[:-1] for line in noted.read_text().splitlines()]


def test_a_query_that_ranks_nothing_is_a_project_without_tasks(client: TestClient, query: str) -> None:
    files = folder(client, query, "cvat", metadata="motion:none")
    assert set(files) == {"labels.json", "create_tasks.sh", "README.txt"}
    assert [label["name"] for label in json.loads(files["labels.json"])] == ["motiontrace", "motion"]


@pytest.mark.parametrize("caption", ["x" * 10_000, "a\r\n\tb", "\U0001f600 é"])
def test_a_caption_is_kept_as_far_as_cvat_takes_it(client: TestClient, query: str, caption: str) -> None:
    client.put("/v1/clips/up-red/labels", json={"verdict": "static", "note": caption})
    found: dict[str, Any] = attributes(annotations(folder(client, query, "cvat", limit=1), "up-red"))
    assert found["note"] == caption[:4096].replace("\r\n", "\n")
