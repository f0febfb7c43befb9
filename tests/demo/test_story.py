"""The story: what it counts and measures, and all of it once in small."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from motiontrace.cli import app, register
from motiontrace.commands.story import run_story
from motiontrace.curation.finetuning.output import read_summary
from motiontrace.demo.corpus import TOLD_AS
from motiontrace.demo.motions import MOTIONS
from motiontrace.demo.story.findings import Judged, Share, chosen_motions, find, read_judged
from motiontrace.demo.story.material import GRAVITY, RESTITUTION, measured_clips, speaks_of
from motiontrace.demo.story.outcomes import MEASURED, read_videos
from motiontrace.demo.story.plan import (
    Places,
    StorySettings,
    corpus_step,
    finding_steps,
    spoiling_step,
    tuning_steps,
)
from motiontrace.demo.story.preference import Losses, preferences
from motiontrace.indexer.manifest import read_manifest

PAGE = Path(__file__).parents[2] / "docs" / "results" / "story.md"
TINY = StorySettings(
    clips_per_motion=1,
    heldout_per_motion=2,
    queries_per_motion=1,
    batch=2,
    spoiling_steps=1,
    tuning_steps=1,
    best="50%",
    prompts_per_motion=1,
    generated_seeds="0",
    sampler_steps=1,
    recipe=("--recipe", "paper", "--contrast", "time_reversed", "--basis-clips", "0"),
)
ARMS_TOLD = ("selected", "everything")


def _heights(motion, seed, times):
    move = next(each.move for each in MOTIONS if each.name == motion)
    return move(times, 0.2, np.random.default_rng(seed)).bodies[0].y


@pytest.mark.parametrize("motion", sorted(GRAVITY))
def test_gravity_is_the_mean_of_what_the_corpus_draws(motion):
    times = np.arange(5) / 18
    drawn = [np.diff(_heights(motion, seed, times), 2).mean() * 18**2 for seed in range(200)]
    assert np.mean(drawn) == pytest.approx(GRAVITY[motion], rel=0.03)


def test_restitution_is_the_mean_of_what_the_corpus_draws():
    kept = []
    for seed in range(100):
        heights = _heights("bounce", seed, np.arange(900) / 500)
        floor = heights.max()
        bounced = int(np.argmax(heights > floor - 0.005)) + 10
        after = heights[bounced : bounced + 300].min()  # the top of the flight after it
        kept.append(np.sqrt((floor - after) / (floor - heights[0])))
    assert np.mean(kept) == pytest.approx(RESTITUTION, abs=0.02)


def _judged(motions, dropped):
    motions = np.array(motions)
    cartoon = np.isin(motions, ["hover_then_fall", "constant_fall", "bounce_higher"])
    flags = np.arange(len(motions)) < dropped
    return Judged(motions, cartoon, flags, ~flags)


def test_cartoon_clips_among_the_dropped_are_counted_beside_chance():
    motions = ["constant_fall", "free_fall", "hover_then_fall", "constant_fall", "free_fall", "free_fall"]
    judged = _judged(motions, dropped=4)
    found = find(judged)
    assert found.dropped == Share(3, 4, 3 / 6)
    assert found.ends[10] == Share(3, 6, 3 / 6)
    assert {motion: (share.found, share.of) for motion, share in found.motions.items()} == {
        "constant_fall": (2, 2),
        "free_fall": (1, 3),
        "hover_then_fall": (1, 1),
    }
    assert all(share.chance == 4 / 6 for share in found.motions.values())
    assert found.auc == {"constant_fall": 5 / 6, "hover_then_fall": 2 / 3}
    assert chosen_motions(judged) == {"free_fall": 2}


@given(st.lists(st.sampled_from(["free_fall", "constant_fall"]), max_size=30), st.integers(0, 30))
def test_auc_is_the_share_of_pairs_in_which_the_cartoon_clip_is_the_more_negative(middle, dropped):
    motions = ["free_fall", *middle, "constant_fall"]
    found = find(_judged(motions, dropped)).auc["constant_fall"]
    places = {
        name: [i for i, motion in enumerate(motions) if motion == name] for name in ("constant_fall", "free_fall")
    }
    pairs = [cartoon < real for cartoon in places["constant_fall"] for real in places["free_fall"]]
    assert found == pytest.approx(np.mean(pairs))


def test_clips_are_judged_in_the_order_in_which_select_drops_them(tmp_path):
    ids = {"a": "free_fall", "b": "constant_fall", "c": "bounce", "d": "bounce_higher", "e": "static"}
    rows = [
        {
            "file_name": f"{clip}.mp4",
            "caption": "x",
            "id": clip,
            "motion": motion,
            "physics": "cartoon" if motion in ("constant_fall", "bounce_higher") else "physical",
        }
        for clip, motion in ids.items()
    ]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = [
        ("a", 1, -0.1, "chosen"),
        ("b", 2, 0.3, "dropped_as_worst"),
        ("c", 0, -0.9, "over_budget"),
        ("d", 2, -0.2, "dropped_as_worst"),
        ("e", None, None, "no_motion"),
    ]
    lines = [dict(zip(("id", "votes_against", "score", "fate"), row, strict=True)) for row in said]
    (tmp_path / "report.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    judged = read_judged(tmp_path / "report.jsonl", tmp_path)
    assert judged.motion.tolist() == ["bounce_higher", "constant_fall", "free_fall", "bounce"]
    assert judged.cartoon.tolist() == [True, True, False, False]
    assert judged.dropped.tolist() == [True, True, False, False]
    assert judged.chosen.tolist() == [False, False, True, False]


MEASURED_CLIPS = np.repeat(["free_fall", "constant_fall", "hover_then_fall", "bounce", "bounce_higher"], 6)


def _losses(before, after):
    return Losses(MEASURED_CLIPS, {"before": before, "after": after})


def test_preference_is_how_much_more_the_loss_of_real_clips_fell_than_that_of_cartoon_clips():
    before = np.random.default_rng(0).uniform(1, 3, len(MEASURED_CLIPS))
    share = {"free_fall": -0.05, "constant_fall": 0.01, "hover_then_fall": 0.03, "bounce": 0.02, "bounce_higher": 0.0}
    after = before * (1 + np.array([share[motion] for motion in MEASURED_CLIPS]))
    found = preferences(_losses(before, after), "before", "after", "before")
    fall, bounce = found["free_fall"], found["bounce"]
    assert (fall.real, fall.cartoon, fall.clips) == (pytest.approx(-0.05), pytest.approx(0.02), (6, 12))
    assert fall.for_real.value == pytest.approx(0.07)
    # That the two cartoon motions differ is no doubt about either: both are in every draw.
    assert (fall.for_real.low, fall.for_real.high) == pytest.approx((0.07, 0.07))
    assert (bounce.for_real.low, bounce.for_real.high) == pytest.approx((-0.02, -0.02))


@given(st.floats(-0.5, 0.5), st.integers(0, 99))
def test_what_changes_all_losses_alike_is_no_preference(share, seed):
    rng = np.random.default_rng(seed)
    before = rng.uniform(1, 3, len(MEASURED_CLIPS))
    changed = before * (1 + rng.normal(0, 0.02, len(before)))
    alone, shifted = (
        preferences(_losses(before, after), "before", "after", "before")["free_fall"].for_real
        for after in (changed, changed + share * before)
    )
    assert (shifted.value, shifted.low, shifted.high) == pytest.approx((alone.value, alone.low, alone.high), abs=1e-9)


def test_interval_of_a_preference_has_no_zero_where_clips_agree_and_has_one_where_they_do_not():
    rng = np.random.default_rng(1)
    before, noise = np.ones(len(MEASURED_CLIPS)), rng.normal(0, 0.01, len(MEASURED_CLIPS))
    real = MEASURED_CLIPS == "free_fall"
    clear = preferences(_losses(before, before + noise - 0.1 * real), "before", "after", "before")["free_fall"].for_real
    unclear = preferences(_losses(before, before + noise), "before", "after", "before")["free_fall"].for_real
    assert clear.low > 0
    assert unclear.low < 0 < unclear.high


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    register()
    places = Places(tmp_path_factory.mktemp("story"))
    console = Console(record=True, width=200)
    return places, run_story(typer.main.get_command(app).main, places, TINY, ARMS_TOLD, console), console.export_text()


def test_story_trains_finds_and_compares_with_the_commands_that_it_prints(told):
    places, outcome, printed = told
    commands = re.findall(r"^\$ motiontrace (\w+)", printed, re.MULTILINE)
    found = ["index", "select", "select"] * len(GRAVITY)
    assert commands == ["demo", "finetune", *found, *["finetune", "compare"] * len(ARMS_TOLD)]
    assert read_summary(places.before)["clips"] == len(MOTIONS)
    for arm in ARMS_TOLD:
        made = read_summary(places.model(arm))
        assert (made["status"], made["model"]) == ("finished", str(places.before))
        assert made["clips"] == len(read_manifest(places.manifest(arm)))
        assert {motion: each.clips for motion, each in outcome.preference[arm].items()} == {
            "free_fall": (1, 4),
            "bounce": (1, 2),
        }
    dropped = sum(found.dropped.of for found in outcome.findings.values())
    assert len(read_manifest(places.manifest("selected"))) == len(MOTIONS) - dropped < len(MOTIONS)
    assert set(outcome.before) == set(MEASURED)
    spoilt = outcome.preference["spoilt"]["free_fall"]
    assert spoilt.for_real.low <= spoilt.for_real.value <= spoilt.for_real.high
    assert 0 < abs(spoilt.real) < 0.5  # one step has moved the losses, and a little only
    assert list(outcome.preference_against_control) == ["selected"]
    assert outcome.rendered["cartoon"]["fall_gravity_error"] > outcome.rendered["real"]["fall_gravity_error"]


def test_queries_prompts_and_measured_clips_are_real_physics_and_apart(told):
    places, _, _ = told
    measured = measured_clips(places, TINY)
    assert {row.metadata["motion"] for row in measured} == {*GRAVITY, *TOLD_AS}
    for motion in GRAVITY:
        queries = read_manifest(places.queries(motion))
        assert [row.metadata["motion"] for row in queries] == [motion]
        assert all(row.video.parent == places.heldout.resolve() for row in queries)
        assert not {row.id for row in queries} & {row.id for row in measured}
    prompts = [json.loads(line) for line in places.prompts.read_text().splitlines()]
    assert {each["motion"]: each["gravity"] for each in prompts} == GRAVITY


def test_clips_are_asked_about_by_their_words_alone_and_clips_of_other_words_are_in_every_arm(told):
    places, _, _ = told
    for motion in GRAVITY:
        asked = {row.metadata["motion"] for row in read_manifest(places.worded(motion))}
        assert asked == {motion, *(name for name, words in TOLD_AS.items() if words == motion)}
    others = {row.id for row in read_manifest(places.train) if speaks_of(row.caption) is None}
    assert len(others) == len(MOTIONS) - len(GRAVITY) - len(TOLD_AS)
    for arm in ("selected", "best", "random", "real"):
        assert others <= {row.id for row in read_manifest(places.manifest(arm))}
    sizes = {arm: len(read_manifest(places.manifest(arm))) for arm in ("selected", "random")}
    assert sizes["selected"] == sizes["random"]


def test_before_and_after_are_of_the_same_prompts_and_the_spoilt_models_videos_are_made_once(told):
    places, _, _ = told
    both = [read_videos(places.comparison(arm), "base") for arm in ARMS_TOLD]
    names = [[file.name for motion in GRAVITY for file in videos.files[motion]] for videos in both]
    assert names[0] == names[1]
    stamps = [(places.comparison(arm) / "exact" / names[0][0]).read_bytes() for arm in ARMS_TOLD]
    assert stamps[0] == stamps[1]
    first, second = (json.loads((places.comparison(arm) / "comparison.json").read_text()) for arm in ARMS_TOLD)
    assert [video["prompt"] for video in first["videos"]] == [video["prompt"] for video in second["videos"]]


def test_story_leaves_figures_and_pictures(told):
    places, outcome, printed = told
    kept = json.loads((places.folder / "story.json").read_text())
    found = outcome.findings["free_fall"]
    assert kept["findings"]["free_fall"]["dropped"]["found"] == found.dropped.found
    assert f"cartoon among the {found.dropped.of} dropped" in printed
    assert (
        kept["preference"]["selected"]["bounce"]["for_real"]["value"]
        == outcome.preference["selected"]["bounce"].for_real.value
    )
    for name in ("story-preference.png", "story-heights.png", "story-videos.png"):
        assert (places.folder / name).read_bytes().startswith(b"\x89PNG")


def test_page_shows_the_commands_that_the_story_runs():
    text = re.sub(r" \\\n\s+", " ", PAGE.read_text())
    shown = re.findall(r"^motiontrace .+$", text, re.MULTILINE)
    places, settings = Places(Path(".story")), StorySettings()
    steps = [corpus_step(places, settings), spoiling_step(places, settings)]
    steps += finding_steps(places, settings, "free_fall")
    steps += tuning_steps(places, settings, "selected")
    assert shown == [step.line for step in steps]
