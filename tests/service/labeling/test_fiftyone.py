"""The folder for FiftyOne against the rules of its formats; tests/labeling has FiftyOne itself read it."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.asking import ask
from tests.service.labeling.exported import MOVES, folder, mark_motion

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

JUMP = {"start": 0.25, "end": 0.5, "label": "bad motion"}
STAYS = {"label": "", "keyframes": [{"time": 0.25, "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4}]}
LABEL = {"verdict": "unrealistic", "decision": "drop", "note": "=1", "ranges": [JUMP], "boxes": [STAYS]}


@pytest.fixture
def query(client: TestClient, settings: ServiceSettings, corpus: Corpus) -> str:
    assert client.put("/v1/clips/up-red/labels", json=LABEL).status_code == 200
    mark_motion(settings, "up-red")
    mark_motion(settings, "up blue", {"ranges": [], "boxes": []})
    found: str = ask(client, corpus.video("up-red"), "a square, up-red").json()["id"]
    return found


@pytest.fixture
def files(client: TestClient, query: str) -> dict[str, bytes]:
    return folder(client, query, "fiftyone")


def documents(files: dict[str, bytes], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(files[f"{name}.json"])[name]
    return found


def schema(fields: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {field["db_field"]: field for field in fields}


def test_the_folder_has_every_clips_video_and_what_is_known_of_it(
    files: dict[str, bytes], client: TestClient, query: str, corpus: Corpus
) -> None:
    rows = [json.loads(line) for line in client.get(f"/v1/queries/{query}/export?format=jsonl").text.splitlines()]
    samples = documents(files, "samples")
    assert len(samples) == len(rows) == 8
    for sample, row in zip(samples, rows, strict=True):
        assert files[sample["filepath"]] == corpus.video(row["id"]).read_bytes()
        assert {name: sample.get(name) for name in ("rank", "score", "percentile", "end", "caption", "note")} == {
            name: row[name] for name in ("rank", "score", "percentile", "end", "caption", "note")
        }
        assert (sample["clip"], sample["tags"], sample["_media_type"]) == (row["id"], ["top"], "video")
        assert sample["manifest_motion"] == row["metadata"]["motion"]
        assert sample["metadata"] == {
            "_cls": "VideoMetadata",
            "size_bytes": len(files[sample["filepath"]]),
            "mime_type": "video/mp4",
            "frame_width": 64,
            "frame_height": 64,
            "frame_rate": 12.0,
            "total_frame_count": 12,
            "duration": 1.0,
        }
    assert set(files) - {sample["filepath"] for sample in samples} == {
        "metadata.json",
        "samples.json",
        "frames.json",
        "labels.json",
        "labels.csv",
        "README.txt",
    }


def test_every_field_is_declared_with_its_kind(files: dict[str, bytes]) -> None:
    dataset = json.loads(files["metadata.json"])
    assert (dataset["version"], dataset["media_type"]) == ("1.0.0", "video")
    of_samples, of_frames = schema(dataset["sample_fields"]), schema(dataset["frame_fields"])
    for sample in documents(files, "samples"):
        assert set(sample) <= set(of_samples)
    for frame in documents(files, "frames"):
        assert set(frame) <= set(of_frames)
    assert of_samples["motion"]["embedded_doc_type"] == "fiftyone.core.labels.TemporalDetections"
    assert of_frames["motion"]["embedded_doc_type"] == "fiftyone.core.labels.Detections"
    paths = {path for group in dataset["app_config"]["sidebar_groups"] for path in group["paths"]}
    names = {field["name"] for field in dataset["sample_fields"]} | {"frames.motion", "frames.review", "_label_tags"}
    assert {"metadata" if path.startswith("metadata.") else path for path in paths} <= names


def test_ranges_are_first_and_last_frames_from_one(files: dict[str, bytes]) -> None:
    samples = {sample["clip"]: sample for sample in documents(files, "samples")}
    labelled = samples["up-red"]
    (moves,) = labelled["motion"]["detections"]
    assert (moves["label"], moves["support"], moves["_cls"]) == ("motion", [1, 6], "TemporalDetection")
    (marked,) = labelled["review"]["detections"]
    assert (marked["label"], marked["support"]) == ("bad motion", [4, 7])
    assert labelled["verdict"]["label"] == "unrealistic"
    assert labelled["decision"]["label"] == "drop"
    # Nothing moves where the index saw no motion; nothing is known where it did not look.
    assert samples["up blue"]["motion"]["detections"] == []
    assert not {"motion", "review", "verdict"} & set(samples["down-red"])


def test_a_field_without_a_value_is_left_out(client: TestClient, query: str, corpus: Corpus) -> None:
    files = folder(client, query, "fiftyone")
    samples = {sample["clip"]: sample for sample in documents(files, "samples")}
    assert set(samples["up-red"]) - set(samples["down-red"]) == {"verdict", "decision", "note", "motion", "review"}
    for document in (*samples.values(), *documents(files, "frames")):
        assert None not in document.values()


def test_boxes_are_in_the_frames_that_they_are_seen_in(files: dict[str, bytes]) -> None:
    samples = {sample["_id"]["$oid"]: sample["clip"] for sample in documents(files, "samples")}
    frames = documents(files, "frames")
    assert {samples[frame["_sample_id"]["$oid"]] for frame in frames} == {"up-red"}
    assert [frame["frame_number"] for frame in frames] == list(range(1, 13))
    moving = {frame["frame_number"]: frame["motion"]["detections"] for frame in frames if "motion" in frame}
    assert list(moving) == [1, 2, 3, 4, 5, 6]  # its last keyframe, in the seventh, ends it
    first, third = moving[1][0], moving[3][0]
    assert (first["label"], first["index"], first["bounding_box"]) == ("motion", 1, [0.2, 0.2, 0.25, 0.5])
    assert third["bounding_box"] == pytest.approx([0.3, 0.2, 0.25, 0.5])
    marked = {frame["frame_number"]: frame["review"]["detections"] for frame in frames if "review" in frame}
    assert list(marked) == list(range(4, 13))
    assert {(box["label"], *box["bounding_box"]) for (box,) in marked.values()} == {("marked", 0.1, 0.2, 0.3, 0.4)}


def test_boxes_of_a_frame_are_in_one_document(
    client: TestClient, settings: ServiceSettings, query: str, corpus: Corpus
) -> None:
    mark_motion(settings, "up-red", {"ranges": [], "boxes": MOVES["boxes"] * 3})
    frames = documents(folder(client, query, "fiftyone"), "frames")
    assert [frame["frame_number"] for frame in frames] == list(range(1, 13))
    assert [box["index"] for box in frames[0]["motion"]["detections"]] == [1, 2, 3]


def test_ids_are_each_ones_own_and_the_same_each_time(files: dict[str, bytes], client: TestClient, query: str) -> None:
    def ids(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["_id"]["$oid"]] if "_id" in value else []
            return own + [found for each in value.values() for found in ids(each)]
        return [found for each in value for found in ids(each)] if isinstance(value, list) else []

    found = ids(documents(files, "samples")) + ids(documents(files, "frames"))
    assert len(set(found)) == len(found) > 30
    assert all(len(each) == 24 and int(each, 16) >= 0 for each in found)
    again = folder(client, query, "fiftyone")
    for name in ("samples.json", "frames.json", "metadata.json"):
        assert again[name] == files[name]


def test_the_simpler_kinds_name_the_same_videos(files: dict[str, bytes]) -> None:
    videos = {sample["filepath"]: sample for sample in documents(files, "samples")}
    temporal = json.loads(files["labels.json"])
    assert {f"data/{name}.mp4" for name in temporal["labels"]} == set(videos)
    assert temporal["classes"] == ["bad motion", "motion"]
    assert temporal["labels"]["up-red"] == [
        {"label": "motion", "support": [1, 6]},
        {"label": "bad motion", "support": [4, 7]},
    ]
    table = list(csv.DictReader(io.StringIO(files["labels.csv"].decode(), newline="")))
    assert {f"data/{row['filepath']}" for row in table} == set(videos)
    for row in table:
        sample = videos[f"data/{row['filepath']}"]
        assert (row["clip"], int(row["rank"]), float(row["score"])) == (sample["clip"], sample["rank"], sample["score"])
    assert next(row["note"] for row in table if row["clip"] == "up-red") == "'=1"


def test_the_readme_keeps_the_dataset_and_waits_for_the_app(files: dict[str, bytes]) -> None:
    text = files["README.txt"].decode().partition("samples.json")[0]
    program = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert program[-3:] == [
        "dataset.persistent = True  # else it is gone, with its tags, when this program ends",
        "session = fo.launch_app(dataset)",
        "session.wait()",
    ]
    compile("\n".join(program), "README.txt", "exec")


def test_a_query_that_ranks_nothing_is_an_empty_dataset(client: TestClient, query: str) -> None:
    files = folder(client, query, "fiftyone", metadata="motion:none")
    assert documents(files, "samples") == documents(files, "frames") == []
    assert json.loads(files["labels.json"]) == {"classes": [], "labels": {}}
    assert files["labels.csv"].decode().splitlines() == [
        "filepath,clip,file_name,rank,score,percentile,stands_out,chance_low,chance_high,end,caption,verdict,"
        "decision,note"
    ]
