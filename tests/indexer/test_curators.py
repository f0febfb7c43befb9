"""What NeMo Curator and Data-Juicer write is read as it is: rows in the shape of their documentation and code."""

import json
import uuid

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from motiontrace.indexer.manifest import ManifestError, read_manifest

# The shape of https://docs.nvidia.com/nemo/curator/latest/curate-video/save-export.html, "Per-Clip Metadata".
NEMO = {
    "source_video": "/data/videos/vid.mp4",
    "duration_span": [0.0, 5.0],
    "width_source": 1920,
    "height_source": 1080,
    "framerate_source": 30.0,
    "motion_score": {"global_mean": 0.51, "per_patch_min_256": 0.29},
    "aesthetic_score": 0.72,
    "valid": True,
}
WINDOW = {
    "start_frame": 0,
    "end_frame": 30,
    "qwen_caption": "A person walks across a room",
    "qwen_lm_enhanced_caption": "A person briskly crosses a bright modern room",
}


def nemo_clip(folder, number, windows=(WINDOW,), directory="clips", location=None, **fields):
    """A file as `ClipWriterStage` writes it, and its clip's id."""
    clip_id = str(uuid.UUID(int=number))
    location = location or f"/outputs/{directory}/{clip_id}.mp4"
    described = {"span_uuid": clip_id, **NEMO, "clip_location": location, "windows": list(windows), **fields}
    (folder / "metas" / "v0").mkdir(parents=True, exist_ok=True)
    (folder / "metas" / "v0" / f"{clip_id}.json").write_text(json.dumps(described, indent=4))
    return clip_id


def test_a_folder_of_nemo_curator_is_read_as_it_is(tmp_path):
    first, second = nemo_clip(tmp_path, 2), nemo_clip(tmp_path, 1, aesthetic_score=None)
    rows = read_manifest(tmp_path)
    assert [row.id for row in rows] == [second, first]
    row = rows[1]
    assert row.video == tmp_path / "clips" / f"{first}.mp4"
    assert row.caption == WINDOW["qwen_lm_enhanced_caption"]
    assert row.metadata == {name: value for name, value in NEMO.items() if name != "valid"}
    assert "aesthetic_score" not in rows[0].metadata


def test_a_caption_is_that_of_all_windows_as_enhanced_where_they_are(tmp_path):
    other = {"start_frame": 31, "end_frame": 60, "qwen_caption": " She sits down ", "phi_caption": "someone"}
    silent = {"start_frame": 61, "end_frame": 70, "qwen_caption": ""}
    nemo_clip(tmp_path, 1, windows=[WINDOW, other, silent])
    assert read_manifest(tmp_path)[0].caption == f"{WINDOW['qwen_lm_enhanced_caption']} She sits down"


@pytest.mark.parametrize(
    ("location", "read"),
    [
        ("/outputs/clips/d2/{}.mp4", "clips/d2/{}.mp4"),  # as the documentation has it
        ("s3://bucket/out/clips/{}.mp4", "clips/{}.mp4"),  # and fetched since
        ("/elsewhere/{}.mp4", "/elsewhere/{}.mp4"),
    ],
)
def test_clips_are_found_in_the_folder_wherever_it_is_now(tmp_path, location, read):
    clip_id = str(uuid.UUID(int=5))
    nemo_clip(tmp_path, 5, location=location.format(clip_id))
    assert read_manifest(tmp_path)[0].video == tmp_path / read.format(clip_id)


def test_clips_that_were_filtered_out_or_have_no_caption_are_left_out_and_told(tmp_path):
    kept = nemo_clip(tmp_path, 1)
    filtered = nemo_clip(tmp_path, 2, directory="filtered_clips", windows=[])
    silent = nemo_clip(tmp_path, 3, windows=[{"start_frame": 0, "end_frame": 30}])
    said = []
    assert [row.id for row in read_manifest(tmp_path, said.append)] == [kept]
    assert [(row.number, row.place, row.reason) for row in said] == [
        (2, f"{filtered}.json", "filtered out by NeMo Curator"), (3, f"{silent}.json", "no caption"),
    ]  # fmt: skip
    assert [row.id for row in read_manifest(tmp_path, strict=True)] == [kept]  # nothing is wrong with the others


def test_a_folder_of_nemo_curator_without_any_caption_says_how_to_get_them(tmp_path):
    nemo_clip(tmp_path, 1, windows=[])
    nemo_clip(tmp_path, 2, windows=[])
    with pytest.raises(ManifestError, match=r"none of the 2 rows .*\n  no caption, 2 rows .*: run it with captions"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "{}",
        '{"span_uuid": "a"',
        '{"span_uuid": 1, "clip_location": "/clips/a.mp4"}',
        '{"span_uuid": "a", "clip_location": "/clips/a.mp4", "windows": ["a person walks"]}',
        '{"span_uuid": "a", "clip_location": "/clips/a.mp4", "windows": {"qwen_caption": "a person walks"}}',
    ],
)
def test_a_file_that_is_none_of_nemo_curator_is_named(tmp_path, text):
    kept = nemo_clip(tmp_path, 1)
    (tmp_path / "metas" / "v0" / "zzz.json").write_text(text)
    said = []
    assert [row.id for row in read_manifest(tmp_path, said.append)] == [kept]
    assert [row.place for row in said] == ["zzz.json"]
    with pytest.raises(ManifestError, match=r"zzz\.json: it cannot be read as a clip of NeMo Curator"):
        read_manifest(tmp_path, strict=True)


def test_an_id_used_twice_by_nemo_curator_names_both_files(tmp_path):
    clip_id = nemo_clip(tmp_path, 1)
    file = tmp_path / "metas" / "v0" / f"{clip_id}.json"
    (tmp_path / "metas" / "v0" / "copy.json").write_text(file.read_text())
    with pytest.raises(ManifestError, match=rf"copy\.json: the id .{clip_id}. is used in {clip_id}\.json already"):
        read_manifest(tmp_path, strict=True)


def data_juicer(path, *samples):
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return path


# demos/data/demo-dataset-videos.jsonl of Data-Juicer, with what its filters add.
SAMPLE = {"videos": ["./tests/ops/data/video1.mp4"], "text": "<__dj__video> a cartoon"}


def test_samples_of_data_juicer_are_read_as_they_are(tmp_path):
    measured = {"__dj__stats__": {"video_duration": [3.2], "lang": "en"}, "__dj__meta__": {"video_tags": [["cat"]]}}
    made = data_juicer(tmp_path / "m.jsonl", SAMPLE, {**SAMPLE, "id": 7, "source": "web", **measured})
    plain, rich = read_manifest(made)
    assert (plain.video, plain.caption) == (tmp_path / "tests" / "ops" / "data" / "video1.mp4", "a cartoon")
    assert (plain.id, plain.metadata) == (None, {})
    assert (rich.id, rich.caption) == ("7", "a cartoon")
    assert rich.metadata == {"source": "web", "video_duration": 3.2, "lang": "en", "video_tags": ["cat"]}


def test_samples_of_data_juicer_in_parquet_are_the_same(tmp_path):
    parquet.write_table(pa.Table.from_pylist([SAMPLE]), tmp_path / "m.parquet")
    (row,) = read_manifest(tmp_path / "m.parquet")
    assert (row.video.name, row.caption) == ("video1.mp4", "a cartoon")


def test_each_video_of_a_sample_is_a_clip_with_the_text_of_its_chunk(tmp_path):
    sample = {
        "id": "s",
        "videos": ["/a.mp4", "/b.mp4", "/c.mp4"],
        "images": ["/i.png"],
        "text": "<__dj__video> a ball falls <|__dj__eoc|> two views: <__dj__video> <__dj__image> <__dj__video> of it "
        "<|__dj__eoc|> nothing <|__dj__eoc|>",
        "__dj__stats__": {"video_aspect_ratios": [1.0, 1.5, 2.0], "alnum_ratio": 0.8},
    }
    rows = read_manifest(data_juicer(tmp_path / "m.jsonl", sample))
    assert [(str(row.video), row.caption, row.id) for row in rows] == [
        ("/a.mp4", "a ball falls", "s-1"),
        ("/b.mp4", "two views: of it", "s-2"),
        ("/c.mp4", "two views: of it", "s-3"),
    ]
    assert [row.metadata["video_aspect_ratios"] for row in rows] == [1.0, 1.5, 2.0]
    assert [row.number for row in rows] == [1, 2, 3]
    assert all(row.metadata["alnum_ratio"] == 0.8 for row in rows)


@pytest.mark.parametrize("text", ["a cat", "<__dj__video> <|__dj__eoc|> a cat <|__dj__eoc|>"])
def test_a_video_whose_chunk_says_nothing_has_the_whole_text(tmp_path, text):
    (row,) = read_manifest(data_juicer(tmp_path / "m.jsonl", {"videos": ["a.mp4"], "text": text}))
    assert row.caption == "a cat"


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ({"videos": None, "text": "only text"}, "no video"),
        ({"videos": [], "text": "only text"}, "no video"),
        ({"videos": ["a.mp4"], "text": None}, "no caption"),
        ({"videos": ["a.mp4"], "text": "<__dj__video><|__dj__eoc|>"}, "no caption"),
        ({"videos": ["a.mp4"], "text": ["a"]}, "no caption"),
        ({"videos": "a.mp4", "text": "a"}, "videos that are no paths"),
        ({"videos": [None], "text": "a"}, "videos that are no paths"),
        ({"videos": ["a.mp4"], "text": "a", "id": 1.5}, "the id is no text"),
        ({**SAMPLE, "__dj__stats__": {"aesthetics": [float("inf")]}}, "metadata that cannot be stored"),
        ({**SAMPLE, "__dj__stats__": {"aesthetics": float("-inf")}}, "metadata that cannot be stored"),
    ],
)
def test_a_sample_that_cannot_be_used_costs_no_other(tmp_path, sample, reason):
    refused = []
    made = data_juicer(tmp_path / "m.jsonl", sample, {**SAMPLE, "id": 1.0, "__dj__stats__": {"odd": [float("nan")]}})
    rows = read_manifest(made, refused.append)
    assert [(row.caption, row.id, row.metadata) for row in rows] == [("a cartoon", "1", {})]
    assert [(row.place, row.reason) for row in refused] == [("line 1", reason)]


def test_samples_without_videos_in_parquet_cost_no_other(tmp_path):
    refused = []
    parquet.write_table(pa.Table.from_pylist([{"videos": None, "text": "only text"}, SAMPLE]), tmp_path / "m.parquet")
    assert [row.caption for row in read_manifest(tmp_path / "m.parquet", refused.append)] == ["a cartoon"]
    assert [row.reason for row in refused] == ["no video"]


def test_a_sample_without_videos_is_left_out_and_told(tmp_path):
    said = []
    made = data_juicer(tmp_path / "m.jsonl", {"videos": [], "text": "words"}, SAMPLE)
    assert len(read_manifest(made, said.append)) == 1
    assert [(row.place, row.said) for row in said] == [("line 1", "it has no video.")]


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"videos": ["a.mp4"], "text": "<__dj__video> a <__dj__video> b"}, "line 1: the text names 2 videos .* has 1"),
        ({"videos": [{"path": "a.mp4"}], "text": "a"}, "line 1: videos must be a list of paths"),
        ({"videos": ["a.mp4"], "text": "<__dj__video>"}, "line 1: the column 'text' .* is empty, tokens aside"),
        ({"videos": ["http://x/a.mp4"], "text": "a"}, "line 1: .* is an address"),
    ],
)
def test_what_is_wrong_with_a_sample_is_said_with_its_place(tmp_path, sample, said):
    with pytest.raises(ManifestError, match=said):
        read_manifest(data_juicer(tmp_path / "m.jsonl", sample))
