import json
import os
import re
from datetime import date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from motiontrace.indexer.manifest import ManifestError, by_reason, read_manifest, require_files

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
        ("m.csv", "video,caption,Caption\na.mp4,x,y\n", "line 1: the header names 'caption' twice"),
        ("m.csv", "video,caption,n,n\na.mp4,x,1,2\n", "line 1: the header names 'n' twice"),
        ("m.csv", "", r"m.csv is empty \(0 bytes\)"),
        ("m.csv", "video,caption\nhttps://example.org/a.mp4,x\n", "is an address. Nothing is downloaded"),
        ("m.jsonl", '{"video": "a.mp4", "caption": "x"}\n{"video": \n', "line 2: not valid JSON"),
        ("m.jsonl", '[{"video": "a.mp4", "caption": "x"}]', "line 1: this is a JSON array, and a JSON object is"),
        ("m.jsonl", '\n[\n{"video": "a.mp4", "caption": "x"}\n]\n', "line 2: this is a JSON array"),
        ("m.jsonl", '{"video": "a.mp4", "caption": "x"}\n["a.mp4"]\n', "line 2: a JSON object is expected, one a line"),
        ("m.jsonl", '{"video": "a.mp4", "caption": "x"},\n', "line 1: not valid JSON: .*Leave out the comma"),
        (
            "m.jsonl",
            '{\n"video": "a.mp4", "caption": "x"}\n',
            "line 1: not valid JSON: .*Write each object on one line",
        ),
        ("m.jsonl", '{"video": "a.mp4", "caption": "x", "caption": "y"}\n', "line 1: the key 'caption' is there twice"),
        ("m.jsonl", "[" * 3 + '{"a":' * 100_000, "this is a JSON array"),
        ("m.jsonl", '{"a":' * 100_000, "line 1: not valid JSON"),
        ("m.csv", "video,caption,id\na.mp4,x,set/1\n", "line 2: The clip id 'set/1' cannot be part of an address"),
        ("m.jsonl", '{"video": {"path": "a.mp4"}, "caption": "x"}\n', "holds an object; text is expected"),
        ("m.parquet", "no parquet", "is not a Parquet file"),
        ("m.txt", "a.mp4", "its name must end in .csv, .jsonl or .parquet"),
        ("m.xlsx", "PK", "Save the sheet as CSV UTF-8"),
        ("m.json", "[]", "turns a JSON array into JSON Lines"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=said):
        read_manifest(tmp_path / name, strict=True)


def test_row_numbers_and_missing_values_of_pandas_and_byte_order_marks_are_passed_over(tmp_path):
    (tmp_path / "m.csv").write_text(",video,caption,shot\n0,a.mp4,x,\n")
    (tmp_path / "m.jsonl").write_text('\ufeff{"video": "a.mp4", "caption": "x", "shot": NaN}\n' * 2)  # joined
    for name in ("m.csv", "m.jsonl"):
        row = read_manifest(tmp_path / name, strict=True)[-1]
        assert (row.video, row.metadata) == (tmp_path / "a.mp4", {})


def test_rows_that_are_no_utf8_are_refused_by_their_byte(tmp_path):
    for name, text in [
        ("m.csv", "video,caption\na.mp4,café\nb.mp4,tea\n"),
        ("m.jsonl", '{"video": "a.mp4", "caption": "café"}\n{"video": "b.mp4", "caption": "tea"}\n'),
    ]:
        (tmp_path / name).write_bytes(text.encode("latin-1"))
        refused = []
        assert [row.caption for row in read_manifest(tmp_path / name, refused.append)] == ["tea"]
        assert refused[0].reason == "text that is not UTF-8"
        assert "byte 0xE9, which is 'é' in Latin-1 (Windows-1252)" in refused[0].said


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_other_encodings_are_told_by_name(tmp_path, encoding, name):
    (tmp_path / name).write_text("video,caption\na.mp4,x\n", encoding=encoding)
    with pytest.raises(ManifestError, match=f"is {encoding[:6].upper()} text; UTF-8 is expected"):
        read_manifest(tmp_path / name)


def test_missing_manifest_and_folder_without_one_are_said(tmp_path):
    with pytest.raises(ManifestError, match="there is no file or folder"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match=r"has no metadata\.jsonl, metadata\.csv or metadata\.parquet"):
        read_manifest(tmp_path)


def rows_of(tmp_path, *rows, form="m.jsonl"):
    """What comes of rows: clips, and what is refused."""
    if form.endswith("parquet"):
        parquet.write_table(pa.Table.from_pylist(list(rows)), tmp_path / form)
    else:
        (tmp_path / form).write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = []
    return read_manifest(tmp_path / form, refused.append), refused


GOOD = {"video": "good.mp4", "caption": "good"}


@pytest.mark.parametrize("form", ["m.jsonl", "m.parquet"])
@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("caption", ["a", "b"], "the caption is no text"),
        ("caption", {"text": "a"}, "the caption is no text"),
        ("caption", 1, "the caption is no text"),
        ("caption", 1.5, "the caption is no text"),
        ("caption", True, "the caption is no text"),
        ("caption", float("inf"), "the caption is no text"),
        ("caption", float("nan"), "no caption"),
        ("caption", None, "no caption"),
        ("caption", " \t", "no caption"),
        ("caption", "nan", "no caption"),
        ("caption", "#NAME?", "no caption"),
        ("video", ["good.mp4"], "the video's path is no text"),
        ("video", {"path": "good.mp4"}, "the video's path is no text"),
        ("video", 7, "the video's path is no text"),
        ("video", None, "no video's path"),
        ("video", float("nan"), "no video's path"),
        ("id", ["a"], "the id is no text"),
        ("id", {"a": 1}, "the id is no text"),
        ("id", True, "the id is no text"),
        ("id", 1.5, "the id is no text"),
        ("id", float("inf"), "the id is no text"),
        ("id", 2.0**60, "the id is not exact"),
        ("id", "a/b", "text that cannot be stored"),
        ("id", "a\tb", "text that cannot be stored"),
        ("caption", "a\0b", "text that cannot be stored"),
    ],
)
def test_what_is_no_text_is_refused_by_its_type_and_the_rest_goes_on(tmp_path, form, column, value, reason):
    bad = {"video": "bad.mp4", "caption": "bad", "id": "bad"} | {column: value}
    if form == "m.jsonl":
        rows, refused = rows_of(tmp_path, bad, GOOD, form=form)
        assert [(row.video.name, row.caption, row.id) for row in rows] == [("good.mp4", "good", None)]
        assert [(row.number, row.place, row.reason) for row in refused] == [(1, "line 1", reason)]
    else:  # a table's column has one type: that of its only row
        with pytest.raises(ManifestError, match=f"^{re.escape(str(tmp_path / form))}, row 1: "):
            rows_of(tmp_path, bad, form=form)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (12345678901234567890, "12345678901234567890"),
        ("1.0", "1.0"),
        (" a ", "a"),
        (None, None),
        ("", None),
        (float("nan"), None),
        ("nan", None),
        ("<NA>", None),
    ],
)
def test_ids_are_text_or_whole_numbers_and_missing_is_missing(tmp_path, value, expected):
    (row,), refused = rows_of(tmp_path, {**GOOD, "id": value})
    assert (row.id, refused) == (expected, [])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1.0, None, 3.0]), ["1", None, "3"]),
        (pa.array([1, None, 3], pa.int8()), ["1", None, "3"]),
        (pa.array([Decimal("1.00"), None, Decimal(3)]), ["1", None, "3"]),
        (pa.array(["a", None, "c"], pa.large_string()), ["a", None, "c"]),
        (pa.array(["a", None, "c"]).dictionary_encode(), ["a", None, "c"]),
        (pa.nulls(3), [None, None, None]),
        (
            pa.array([bytes([number] * 16) for number in range(3)], pa.uuid()),
            [f"{n}-{n[:4]}-{n[:4]}-{n[:4]}-{n[:4] * 3}" for n in ("00" * 4, "01" * 4, "02" * 4)],
        ),
    ],
)
def test_ids_of_a_table_are_those_of_its_types(tmp_path, column, expected):
    names = pa.array(["a.mp4", "b.mp4", "c.mp4"])
    parquet.write_table(pa.table({"video": names, "caption": names, "id": column}), tmp_path / "m.parquet")
    assert [row.id for row in read_manifest(tmp_path / "m.parquet")] == expected


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(5), pa.struct({"bytes": pa.binary()})])
def test_bytes_in_a_table_are_no_path_and_no_metadata(tmp_path, kind):
    bytes_ = pa.array([{"bytes": b"a.mp4"}] if pa.types.is_struct(kind) else [b"a.mp4"], kind)
    text = pa.array(["a.mp4"])
    parquet.write_table(pa.table({"video": text, "caption": text, "frame": bytes_}), tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet")[0].metadata == {}
    for column in ("video", "caption", "id"):
        table = {"video": text, "caption": text} | {column: bytes_}
        parquet.write_table(pa.table(table), tmp_path / "m.parquet")
        with pytest.raises(ManifestError, match=f"the column '{column}' holds bytes .*; text is expected"):
            read_manifest(tmp_path / "m.parquet")


def test_metadata_is_json_and_what_is_none_of_it_refuses_its_row(tmp_path):
    odd = {"shot": datetime(2026, 1, 2, 3), "took": timedelta(minutes=1), "price": Decimal("1.50"), "gone": None}
    rows, _ = rows_of(tmp_path, {**GOOD, **odd}, form="m.parquet")
    assert rows[0].metadata == {"shot": "2026-01-02 03:00:00", "took": 60.0, "price": "1.50"}
    infinite, missing = {"scores": [1.0, float("inf")]}, {"scores": [1.0, float("nan")]}
    rows, refused = rows_of(tmp_path, {**GOOD, **infinite}, {**GOOD, **missing})
    assert [row.metadata for row in rows] == [{"scores": [1.0, None]}]
    assert "The column 'scores' has the number inf" in refused[0].said


def test_times_beyond_the_calendar_refuse_their_row(tmp_path):
    names, times = pa.array(["a.mp4", "b.mp4"]), pa.array([2**60, 0], pa.timestamp("ms"))
    parquet.write_table(pa.table({"video": names, "caption": names, "shot": times}), tmp_path / "m.parquet")
    refused = []
    assert [row.video.name for row in read_manifest(tmp_path / "m.parquet", refused.append)] == ["b.mp4"]
    assert [(row.place, row.reason) for row in refused] == [("row 1", "a value that cannot be read")]
    assert refused[0].said.startswith("the column 'shot' cannot be read: ")


def test_columns_are_found_in_any_case(tmp_path):
    rows, _ = rows_of(tmp_path, {" File_Name": "a.mp4", "TEXT": "a", "ID": 3, "Scene": "x"}, form="m.parquet")
    assert (rows[0].video.name, rows[0].caption, rows[0].id, rows[0].metadata) == ("a.mp4", "a", "3", {"Scene": "x"})
    rows, _ = rows_of(tmp_path, {"Video": "other.mp4", **GOOD})
    assert (rows[0].video.name, rows[0].metadata) == ("good.mp4", {"Video": "other.mp4"})


def test_refused_rows_are_counted_by_reason_with_the_first_named(tmp_path):
    bad = [{"video": "a.mp4"}] + [{"video": "a.mp4", "caption": None}] * 5
    rows, refused = rows_of(tmp_path, GOOD, *bad)
    assert [row.number for row in rows] == [1]
    assert by_reason(refused) == [
        "no caption, 5 rows (line 3, line 4, line 5 and 2 more): the column 'caption' (the caption) is empty.",
        "no column for the caption, 1 row (line 2): there is no column for the caption: name it 'caption' or 'text' or"
        " 'prompt'. Columns found: video.",
    ]
    with pytest.raises(ManifestError, match="line 2: there is no column for the caption"):
        read_manifest(tmp_path / "m.jsonl", strict=True)


def test_a_manifest_of_which_no_row_can_be_used_says_why_by_reason(tmp_path):
    with pytest.raises(ManifestError, match=r"none of the 3 rows of .* can be used:\n  no caption, 2 rows .*\n  no "):
        rows_of(tmp_path, {"video": "a", "caption": ""}, {"video": "", "caption": "a"}, {"video": "b", "caption": " "})


def test_files_that_are_no_manifest_are_told_without_being_opened(tmp_path):
    os.mkfifo(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match=r"m\.csv is a named pipe \(FIFO\), not a file"):
        read_manifest(tmp_path / "m.csv")
    os.mkfifo(tmp_path / "metadata.jsonl")
    with pytest.raises(ManifestError, match=r"metadata\.jsonl is a named pipe"):
        read_manifest(tmp_path)
    (tmp_path / "m.parquet").mkdir()
    with pytest.raises(ManifestError, match=r"the folder .* has no metadata\.jsonl"):
        read_manifest(tmp_path / "m.parquet")


def test_no_file_of_a_manifest_being_there_is_told_with_the_folder(tmp_path):
    rows, _ = rows_of(tmp_path, *({**GOOD, "video": f"{number}.mp4"} for number in range(3)))
    with pytest.raises(
        ManifestError,
        match=rf"none of the 3 videos that .*m\.jsonl names .* looked for in {tmp_path}, the first as .*0",
    ):
        require_files(tmp_path / "m.jsonl", rows)
    (tmp_path / "2.mp4").touch()
    require_files(tmp_path / "m.jsonl", read_manifest(tmp_path / "m.jsonl"))
