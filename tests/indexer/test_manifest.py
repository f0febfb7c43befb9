import json
from datetime import date

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from indexer.manifest import ManifestError, read_manifest

ROWS = [
    {"video": "a.mp4", "caption": "a ball, red, falls", "motion": "fall"},
    {"video": "sub/b.mp4", "caption": "ein Ball rollt über Gras", "id": "b"},
]


def write_csv(path):
    rows = ["video,caption,id,motion", 'a.mp4,"a ball, red, falls",,fall', "sub/b.mp4,ein Ball rollt über Gras,b,"]
    path.write_text("\n".join(rows) + "\n")


def write_json_lines(path):
    path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS))


def write_parquet(path):
    parquet.write_table(pa.Table.from_pylist([{"id": None, **ROWS[0]}, {**ROWS[1], "motion": None}]), path)


@pytest.mark.parametrize(
    ("name", "write"), [("m.csv", write_csv), ("m.jsonl", write_json_lines), ("m.parquet", write_parquet)]
)
def test_every_format_gives_the_same_rows(tmp_path, name, write):
    write(tmp_path / name)
    first, second = read_manifest(tmp_path / name)
    assert (first.number, first.video, first.caption, first.id) == (1, tmp_path / "a.mp4", ROWS[0]["caption"], None)
    assert (second.video, second.caption, second.id) == (tmp_path / "sub" / "b.mp4", ROWS[1]["caption"], "b")
    assert first.metadata == {"motion": "fall"}
    assert second.metadata == {}


def test_folder_is_read_by_the_video_folder_convention(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.mp4", "text": "a ball falls", "fps": 24}\n')
    (row,) = read_manifest(tmp_path)
    assert (row.video, row.caption, row.metadata) == (tmp_path / "a.mp4", "a ball falls", {"fps": 24})


def test_parquet_dates_become_text_and_nested_values_stay(tmp_path):
    row = {"video": "a.mp4", "caption": "x", "shot": date(2026, 1, 2), "tags": ["a", "b"]}
    parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet")[0].metadata == {"shot": "2026-01-02", "tags": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.csv", "clip,caption\na.mp4,x\n", "line 2: there is no column for the video's path: name it 'video' or"),
        ("m.csv", "video,caption\na.mp4,\n", "line 2: the column 'caption' .* is empty"),
        ("m.csv", "video,caption\na.mp4,a ball, red\n", "line 2: the line has not as many fields"),
        ("m.csv", "video,caption\n", "holds no clips"),
        ("m.csv", "video,caption,id\na.mp4,x,1\nb.mp4,y,1\n", "line 3: the id '1' is used in line 2 already"),
        ("m.csv", "video,caption\nhttps://example.org/a.mp4,x\n", "is an address. Nothing is downloaded"),
        ("m.jsonl", '{"video": "a.mp4", "caption": "x"}\n{"video": \n', "line 2: not valid JSON"),
        ("m.jsonl", '["a.mp4"]\n', "line 1: a JSON object is expected"),
        ("m.csv", "video,caption,id\na.mp4,x,set/1\n", "line 2: The clip id 'set/1' cannot be part of an address"),
        ("m.jsonl", '{"video": {"path": "a.mp4"}, "caption": "x"}\n', "holds a dict; a path is expected"),
        ("m.parquet", "no parquet", "is not a Parquet file"),
        ("m.txt", "a.mp4", "its name must end in .csv, .jsonl or .parquet"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=said):
        read_manifest(tmp_path / name)


def test_row_numbers_and_missing_values_of_pandas_and_byte_order_marks_are_passed_over(tmp_path):
    (tmp_path / "m.csv").write_text(",video,caption,shot\n0,a.mp4,x,\n")
    (tmp_path / "m.jsonl").write_text('\ufeff{"video": "a.mp4", "caption": "x", "shot": NaN}\n')
    for name in ("m.csv", "m.jsonl"):
        (row,) = read_manifest(tmp_path / name)
        assert (row.video, row.metadata) == (tmp_path / "a.mp4", {})


def test_invalid_utf8_is_said(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"video,caption\na.mp4,\xff\xfe\n")
    with pytest.raises(ManifestError, match="not valid CSV in UTF-8"):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.jsonl").write_bytes(b'{"video": "a.mp4", "caption": "\xff"}\n')
    with pytest.raises(ManifestError, match="not valid JSON"):
        read_manifest(tmp_path / "m.jsonl")


def test_missing_manifest_and_folder_without_one_are_said(tmp_path):
    with pytest.raises(ManifestError, match="there is no file or folder"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match=r"has no metadata\.jsonl, metadata\.csv or metadata\.parquet"):
        read_manifest(tmp_path)
