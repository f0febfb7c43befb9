"""CSV manifests as spreadsheets, data frames and people write them."""

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motiontrace.indexer.manifest import ManifestError, read_manifest
from motiontrace.indexer.manifest.values import is_missing


def read(tmp_path, text, name="m.csv"):
    (tmp_path / name).write_bytes(text.encode())
    refused = []
    rows = read_manifest(tmp_path / name, refused.append)
    return [(row.video.name, row.caption, row.place) for row in rows], refused


@pytest.mark.parametrize(
    "text",
    [
        "video;caption\na.mp4;a ball, red\n",
        "video\tcaption\na.mp4\ta ball, red\n",
        "video|caption\na.mp4|a ball, red\n",
        "Video;Caption;\r\na.mp4;a ball, red;\r\n;;\r\n",
        'video, caption\na.mp4, "a ball, red"\n',
        'VIDEO,CAPTION\ra.mp4,"a ball, red"\r',
        '\ufeff"video";"caption"\n"a.mp4";"a ball, red"\n',
        "a,b,c,d;video;caption\n1,2,3,4;a.mp4;a ball, red\n",
        'video,caption,note\na.mp4,"a ball, red",,,\n',
    ],
)
def test_what_parts_the_fields_is_found(tmp_path, text):
    assert read(tmp_path, text) == ([("a.mp4", "a ball, red", "line 2")], [])


@pytest.mark.parametrize("said", ["sep=;", '"sep=;"', "SEP=;", "\ufeffsep=;", "\n\nsep=;"])
def test_a_line_that_says_what_parts_the_fields_is_believed(tmp_path, said):
    rows, _ = read(tmp_path, f"{said}\nvideo;caption\na.mp4;a, b\n")
    assert rows == [("a.mp4", "a, b", f"line {3 + said.count(chr(10))}")]
    rows, _ = read(tmp_path, "sep=\t\nvideo\tcaption\na.mp4\ta, b\n")
    assert rows == [("a.mp4", "a, b", "line 3")]


def test_tables_with_tabs_are_read_by_their_own_suffix(tmp_path):
    assert read(tmp_path, "video\tcaption\na.mp4\tx\n", "m.tsv")[0] == [("a.mp4", "x", "line 2")]


def test_lines_are_counted_over_quoted_and_blank_ones(tmp_path):
    text = 'video,caption\n\na.mp4,"two\nlines"\n\nb.mp4,x\nc.mp4,\nd.mp4,y\n'
    rows, refused = read(tmp_path, text)
    assert rows == [("a.mp4", "two\nlines", "line 3"), ("b.mp4", "x", "line 6"), ("d.mp4", "y", "line 8")]
    assert [(row.place, row.reason) for row in refused] == [("line 7", "no caption")]


@pytest.mark.parametrize(
    ("bad", "reason", "said"),
    [
        ("b.mp4,a ball, red", "a line that does not fit the header", "3, and 2 are expected. Put quotes"),
        ("b.mp4", "a line that does not fit the header", "1, and 2 are expected"),
        ('b.mp4,"a ball', "text that is not CSV", "a quote is opened and never closed"),
        ('b.mp4,"a "red" ball"', "text that is not CSV", "goes on behind its closing quote"),
        (f"b.mp4,{'x' * 140_000}", "text that is not CSV", "field larger than field limit"),
        ("b.mp4,a\0ball", "text that cannot be stored", "null character"),
        ("C:\\clips\\b.mp4,a ball", "a path of Windows", "is a path of Windows"),
    ],
)
def test_a_line_that_cannot_be_read_costs_no_other(tmp_path, bad, reason, said):
    rows, refused = read(tmp_path, f"video,caption\na.mp4,x\n{bad}\nc.mp4,y\nd.mp4,z\n")
    assert rows == [("a.mp4", "x", "line 2"), ("c.mp4", "y", "line 4"), ("d.mp4", "z", "line 5")]
    assert [(row.place, row.reason) for row in refused] == [("line 3", reason)]
    assert said in refused[0].said


def test_a_file_without_a_header_says_what_is_missing(tmp_path):
    with pytest.raises(ManifestError, match=r"no column for the video.s path: name it .* Columns found: a\.mp4, x"):
        read(tmp_path, "a.mp4,x\nb.mp4,y\n")


def test_a_header_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(ManifestError, match="line 1: the header cannot be read: not valid CSV: a quote is opened"):
        read(tmp_path, 'video,"caption\na.mp4,x\n')
    with pytest.raises(ManifestError, match="line 1: the header cannot be read: not valid text in UTF-8"):
        (tmp_path / "m.csv").write_bytes("video,caption,größe\na.mp4,x,1\n".encode("latin-1"))
        read_manifest(tmp_path / "m.csv")


CAPTIONS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40).filter(
    lambda text: not is_missing(text)
)


@given(st.lists(CAPTIONS, min_size=1, max_size=5), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_caption_that_is_written_is_read_again_at_its_line(tmp_path, captions, delimiter, end):
    text = io.StringIO(newline="")
    rows = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    rows.writerow(["video", "caption"])
    expected = []
    for number, caption in enumerate(captions):
        before = len(io.StringIO(text.getvalue(), newline="").readlines())
        rows.writerow([f"{number}.mp4", caption])
        expected.append((f"{number}.mp4", caption.strip(), f"line {before + 1}"))
    assert read(tmp_path, text.getvalue()) == (expected, [])


@pytest.mark.parametrize(
    ("cell", "kind"),
    [("\"['a', 'b']\"", "a list"), ('"[""a"", ""b""]"', "a list"), ("\"('a', 'b')\"", "a list"), ("b'a.mp4'", "bytes")],
)
def test_what_data_frames_write_as_python_shows_it_is_no_text(tmp_path, cell, kind):
    rows, refused = read(tmp_path, f"video,caption\na.mp4,{cell}\nb.mp4,(laughs) [1] a ball\n{cell},c\n")
    assert rows == [("b.mp4", "(laughs) [1] a ball", "line 3")]
    assert [(row.place, row.reason) for row in refused] == [
        ("line 2", "the caption is no text"), ("line 4", "the video's path is no text"),
    ]  # fmt: skip
    assert f"holds {kind}, written as Python shows it; text is expected" in refused[0].said


@pytest.mark.parametrize("word", ["NA", "N/A", "n/a", "NaN", "-nan", "<NA>", "None", "NULL", "#N/A"])
def test_the_words_of_data_frames_for_what_is_missing_are_no_caption(tmp_path, word):
    rows, refused = read(tmp_path, f"video,caption\na.mp4,{word}\nb.mp4,x\n")
    assert [row[0] for row in rows] == ["b.mp4"]
    assert [(row.reason, repr(word) in row.said) for row in refused] == [("no caption", True)]


@pytest.mark.parametrize(
    ("begins", "said"),
    [
        (b"PAR1\x15\x04\x15", "a Parquet file"),
        (b"PK\x03\x04\x14", "a zip file, as .xlsx is. Save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1", "old Excel"),
        (b"\x1f\x8b\x08", "packed with gzip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    ],
)
@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_a_file_that_is_no_text_is_told_by_what_it_is(tmp_path, begins, said, name):
    (tmp_path / name).write_bytes(begins)
    with pytest.raises(ManifestError, match=said):
        read_manifest(tmp_path / name)
