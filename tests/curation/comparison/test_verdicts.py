"""Comparisons of videos that are known: how many stand behind a figure, what failed, and what may be concluded."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from motiontrace.commands.compare import _print
from motiontrace.curation.comparison.compare import _document, compare
from motiontrace.curation.comparison.differences import LEAST_PROMPTS
from motiontrace.curation.comparison.models import find_models
from motiontrace.curation.comparison.page import write_page
from motiontrace.curation.comparison.picture import write_picture
from motiontrace.curation.comparison.prompts import Prompt
from motiontrace.curation.comparison.videos import write_exact
from motiontrace.curation.generation import GenerationSettings
from tests.checkpoints import tiny_wan
from tests.curation.comparison.scenes import SIDE, disc_video
from tests.curation.comparison.test_compare import Heard

if TYPE_CHECKING:
    from motiontrace.curation.comparison.outcome import ComparedVideo, Comparison

FRAMES = 7
CHOSEN = {"frames": FRAMES, "height": SIDE, "width": SIDE, "fps": 6.0, "steps": 1, "guidance": 1.0}
GRAVITY = 0.6  # frame heights / s^2
FALLS = {"base": 0.45, "tuned": 1.0}  # pixels a frame squared: slower than under that gravity, and about as under it
NOISE = 8  # the prompt whose videos no tracking follows; with those before it a disc falls


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A comparison of two models that have generated these videos before, so that nothing is generated."""
    models = [str(tiny_wan(tmp_path_factory.mktemp("model"), seed=seed, blocks=1)) for seed in (0, 1)]
    folder = tmp_path_factory.mktemp("comparison")
    (folder / "exact").mkdir()
    prompts = [Prompt(f"a disc falls, {number}", GRAVITY) for number in range(NOISE + 1)]
    for model in find_models(*models):
        for number, prompt in enumerate(prompts):
            ys = 20.0 + number % 5 + FALLS[model.label] * (1 + 0.01 * number) * np.arange(FRAMES) ** 2
            video = disc_video(np.full(FRAMES, 40.0 + 5 * (number % 7)), ys)
            if number == NOISE:
                video = np.random.default_rng(0).integers(0, 256, video.shape, dtype=np.uint8)
            key = model.video_key(prompt.text, 0, GenerationSettings(**CHOSEN), "float32")
            write_exact(folder / "exact" / f"{key}.mkv", video)
    heard = Heard()
    found = compare(*models, prompts, [0], folder, heard, chosen=CHOSEN, dtype="float32")
    assert heard.missing == {"base": 0, "tuned": 0}
    return found


@pytest.fixture
def arranged(whole):
    """Makes a comparison of the given ones of those videos, [prompts][seeds]."""

    def arrange(base: list[list[int]], tuned: list[list[int]]) -> Comparison:
        def chosen(label: str, rows: list[list[int]]) -> list[list[ComparedVideo]]:
            return [[whole.videos[label][number][0] for number in row] for row in rows]

        prompts = [Prompt(f"prompt {number}", GRAVITY) for number in range(len(base))]
        videos = {"base": chosen("base", base), "tuned": chosen("tuned", tuned)}
        return replace(whole, prompts=prompts, seeds=list(range(len(base[0]))), videos=videos)

    return arrange


def told(comparison: Comparison) -> tuple[dict, str, str]:
    """The JSON document, the page, and what the terminal shows."""
    console = Console(record=True, width=160)
    _print(console, comparison)
    document = json.loads(json.dumps(_document(comparison), allow_nan=False))
    return document, re.sub(r"base64,[^\"]*", "", write_page(comparison).read_text()), console.export_text()


EIGHT = [[number] for number in range(8)]
FAILS = [[NOISE]]


def test_a_clear_difference_over_enough_prompts_has_an_interval_and_a_verdict_everywhere(arranged):
    document, page, printed = told(arranged(EIGHT, EIGHT))
    error = document["totals"]["gravity_error"]
    assert error["base"] > 0.5 > 0.2 > error["tuned"]
    assert (error["verdict"], error["pairs"], error["prompts"]) == ("better", 8, 8)
    assert error["low"] <= error["difference"] <= error["high"] < 0
    assert re.search(r'error of gravity.*class="good"', page)
    assert re.search(r"error of gravity .* 8, 8 +8 +better", printed)
    assert "Too few" not in page + printed and "failed" not in page + printed


@pytest.mark.parametrize(("prompts", "seeds"), [(2, 2), (1, 8), (LEAST_PROMPTS - 1, 1)])
def test_few_prompts_get_neither_interval_nor_verdict_and_it_is_said(arranged, prompts, seeds):
    rows = [[(prompt + seed) % 8 for seed in range(seeds)] for prompt in range(prompts)]
    document, page, printed = told(arranged(rows, rows))
    assert {(each["low"], each["high"], each["verdict"]) for each in document["totals"].values()} == {(None,) * 3}
    assert document["totals"]["gravity_error"]["pairs"] == prompts * seeds
    assert document["least_prompts"] == LEAST_PROMPTS
    assert 'class="good"' not in page and 'class="bad"' not in page
    for text in (page, printed):
        assert f"Too few to tell: {prompts} prompt" in text


def test_failed_trackings_count_as_failed_and_their_paths_have_no_figures(arranged):
    comparison = arranged(EIGHT, [*EIGHT[:2], *FAILS * 6])
    document, page, printed = told(comparison)
    totals, videos = document["totals"], document["videos"]
    assert document["tracking_failed"] == {"base": 0, "tuned": 6}
    assert [row["tuned"]["tracking_failed"] for row in videos] == [False] * 2 + [True] * 6
    followed = totals["tracked"]
    assert (followed["base"], followed["tuned"], followed["pairs"]) == (1.0, 0.25, 8)
    assert followed["verdict"] == "worse"
    for name in ("area_variation", "flies", "acceleration", "residual", "gravity_error"):
        counts = [totals[name][key] for key in ("base_videos", "tuned_videos", "pairs", "prompts")]
        assert counts == [8, 2, 2, 2]
        assert totals[name]["verdict"] is None
        assert {row["tuned"]["measures"][name] for row in videos[2:]} == {None}
    assert page.count("tracking failed</span>") == 6
    for text in (page, printed):
        assert "Tracking failed in 0 of 8 base and 6 of 8 tuned videos." in text
        assert "Both trackings worked in 25% of the pairs." in text
    assert write_picture(comparison).stat().st_size > 1000


@pytest.mark.parametrize("base", [EIGHT, FAILS * 8])
def test_where_all_trackings_of_a_model_fail_nothing_is_said_of_paths(arranged, base):
    document, page, printed = told(arranged(base, FAILS * 8))
    error, followed = (document["totals"][name] for name in ("gravity_error", "tracked"))
    assert (error["base"], error["tuned"], error["difference"], error["pairs"]) == (None, None, None, 0)
    assert (error["base_videos"], error["tuned_videos"]) == (8 if base is EIGHT else 0, 0)
    assert followed["verdict"] == ("worse" if base is EIGHT else None)
    assert ("error of gravity" in printed) == ("error of gravity" in page) == (base is EIGHT)


def test_a_few_failed_trackings_leave_the_verdict_on_the_others_and_are_told(arranged):
    document, page, _ = told(arranged([*EIGHT, *EIGHT[:2]], [*EIGHT, EIGHT[1], *FAILS]))
    error = document["totals"]["gravity_error"]
    assert (error["verdict"], error["pairs"], error["prompts"]) == ("better", 9, 9)
    assert "Tracking failed in 0 of 10 base and 1 of 10 tuned videos." in page
