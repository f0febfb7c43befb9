from io import StringIO

import pytest
from rich.console import Console

from motiontrace.commands.hits import LEAST, cut_behind_a_word, cut_in_the_middle, hit_table, print_hits
from motiontrace.commands.listing import print_table
from motiontrace.documents.queries import Hit

LONG = "a very long caption " * 8


def hit(rank=9, clip_id="clip-0009", caption="a word", file_name="a.mp4"):
    return Hit(
        id=clip_id,
        score=-0.25,
        rank=rank,
        percentile=1.0,
        caption=caption,
        metadata={"motion": "bounce"},
        verdict=None,
        decision=None,
        file_name=file_name,
        video_url="/v",
        thumbnail_url="/t",
    )


def printed(hits, width):
    out = StringIO()
    Console(file=out, width=width).print(hit_table(hits, width, ("motion",)))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [70, 80, 200])
def test_only_the_caption_gives_way_in_a_narrow_terminal(width):
    lines = printed([hit(), hit(616, "clip-0616", LONG, "b.mp4")], width)
    assert all(word in lines[0] for word in ("rank", "score", "clip", "motion", "file", "caption"))
    assert all(word in lines[2] for word in ("616", "-0.250", "clip-0616", "bounce", "b.mp4", "a very"))
    assert max(map(len, lines)) <= width


def test_a_clip_without_an_id_of_its_own_is_known_by_its_file_and_enough_of_its_caption():
    caption = "Young couple waving at the ocean on a pebbly beach, then walking away from the camera"
    lines = printed([hit(1, "01a2b3c4d5e6f7a8b9c0", caption, "couple waving at the ocean 00017.mp4")], 100)
    assert "01a2b3c4d5e6f7a8b9c0" in lines[1]
    assert "couple" in lines[1] and "00017.mp4" in lines[1]
    shown = lines[1].partition("00017.mp4")[2].strip()
    assert shown.endswith("…") and len(shown) > LEAST // 2
    assert f"{caption} ".startswith(shown.removesuffix("…") + " ")


def test_nothing_is_cut_where_nobody_looks(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    out, name = StringIO(), f"{'x' * 180}.mp4"
    print_hits(Console(file=out, force_terminal=False), [hit(caption=LONG, file_name=name)])
    assert LONG.strip() in out.getvalue() and name in out.getvalue()


def test_names_and_captions_are_shown_as_they_are_and_command_nothing():
    lines = printed([hit(caption="[red]a ball[/red] \x1b[31m\n falls", file_name="[x] a\tb\x07.mp4")], 200)
    assert len(lines) == 2
    assert "[red]a ball[/red] \ufffd[31m falls" in lines[1] and "[x] a b\ufffd.mp4" in lines[1]


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("a ball falls", 12, "a ball falls"),
        ("a ball falls", 11, "a ball…"),
        ("a ball, falls", 9, "a ball…"),
        ("a ball falls", 7, "a ball…"),
        ("incomprehensible", 10, "incompreh…"),
        ("球が落ちる 床に", 9, "球が落ち…"),
    ],
)
def test_captions_are_cut_behind_a_word(text, width, cut):
    assert cut_behind_a_word(text, width) == cut


@pytest.mark.parametrize(
    ("name", "width", "cut"),
    [("a.mp4", 5, "a.mp4"), ("dancing-00017.mp4", 13, "dancin…17.mp4"), ("落ちる球00017.mp4", 13, "落ちる…17.mp4")],
)
def test_names_of_files_are_cut_in_their_middle(name, width, cut):
    assert cut_in_the_middle(name, width) == cut


def test_ids_and_scores_are_whole_in_every_terminal(monkeypatch):
    for width in (40, 60, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        out = StringIO()
        print_hits(Console(file=out), [hit(1, "01a2b3c4d5e6f7a8b9c0", LONG, f"{'x' * 60}.mp4")])
        head, line = out.getvalue().splitlines()
        assert "rank" in head and "score" in head and "-0.250" in line and "01a2b3c4d5e6f7a8b9c0" in line
        assert len(line) <= max(width, 70)


@pytest.mark.parametrize("width", [40, 80, 100, None])
def test_lists_keep_ids_and_all_columns_that_say_something(monkeypatch, capsys, width):
    monkeypatch.delenv("COLUMNS", raising=False)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    row = ("01a2b3c4d5e6f7a8b9c0", f"{'x' * 60}.mp4", "failed", "", f"[b] two\nlines \x1b[31m {LONG}")
    print_table(("clip", "file", "outcome", "verdict", "caption"), [row, ("b", "", "", "", "")], "left blue")
    head, line, _, more = capsys.readouterr().out.splitlines()
    assert head.split() == ["clip", "file", "outcome", "caption"]
    assert line.split()[0] == row[0] and " failed " in line and "[b] two" in line and "\x1b" not in line
    assert (LONG.strip() in line, row[1] in line) == (width is None, width is None)
    assert width is None or len(line) <= max(width, 90)
    assert more == "more: --after 'left blue'"
