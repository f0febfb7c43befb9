"""What the story has to show at its end: tables, pictures and one JSON file, all from what the commands left."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.demo.corpus import TOLD_AS
from motiontrace.demo.motions import Kind
from motiontrace.demo.story.findings import Findings, chosen_motions, find, read_judged
from motiontrace.demo.story.material import GRAVITY, measured_clips
from motiontrace.demo.story.outcomes import MEASURED, Rendered, changes, measure_rendered, read_videos
from motiontrace.demo.story.picture import draw_heights, draw_preferences, draw_strips
from motiontrace.demo.story.plan import BEFORE, CHECKPOINT
from motiontrace.demo.story.preference import held_out_losses, preferences
from motiontrace.indexer.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motiontrace.curation.comparison.differences import Difference
    from motiontrace.demo.story.outcomes import Videos
    from motiontrace.demo.story.plan import Places, StorySettings
    from motiontrace.demo.story.preference import Preference

UNSPOILT = "as shipped"
SHOWN = 2  # videos of each motion in the strips
CONTROL = "everything"
"""What the others are held against, beside the spoilt model: the same steps without any choice."""


@dataclass(frozen=True)
class Told:
    """The story's figures.

    Attributes:
        findings: by motion, among the clips with its words.
        kept: by arm, what the clips with the words of falls and bounces that it has really show: how many of each.
        preference: by what was trained on, by motion: what its training changed, for real and for cartoon clips.
        preference_against_control: by arm, likewise: what is otherwise than with `CONTROL`.
        before: each measure of the spoilt model's videos.
        changes: by arm, each measure: the arm's less the spoilt model's.
        against_control: by arm, each measure: the arm's less those of `CONTROL`.
        rendered: what real and cartoon clips themselves come to, by kind.
    """

    findings: dict[str, Findings]
    kept: dict[str, dict[str, int]]
    preference: dict[str, dict[str, Preference]]
    preference_against_control: dict[str, dict[str, Preference]]
    before: dict[str, float | None]
    changes: dict[str, dict[str, Difference]]
    against_control: dict[str, dict[str, Difference]]
    rendered: dict[str, dict[str, float | None]]


def tell(
    places: Places, settings: StorySettings, arms: Sequence[str], on_step: Callable[[str], None] = lambda what: None
) -> Told:
    """Reads and measures everything, draws the pictures, and writes `story.json` into the story's folder."""
    videos = {BEFORE: read_videos(places.comparison(arms[0]), "base")}
    videos |= {arm: read_videos(places.comparison(arm), "tuned") for arm in arms}
    on_step("measuring rendered clips")
    rendered = {"real": _rendered(places, False), "cartoon": _rendered(places, True)}
    on_step("losses of held-out clips")
    models = {UNSPOILT: CHECKPOINT, BEFORE: places.before, **{arm: places.model(arm) for arm in arms}}
    losses = held_out_losses(models, measured_clips(places, settings))
    judged = {
        arm: {motion: read_judged(places.report(arm, motion), places.train) for motion in GRAVITY}
        for arm in ("selected", "best")
    }
    others = [arm for arm in arms if CONTROL in arms and arm != CONTROL]
    told = Told(
        findings={motion: find(each) for motion, each in judged["selected"].items()},
        kept={
            arm: {shown: count for each in by_motion.values() for shown, count in chosen_motions(each).items()}
            for arm, by_motion in judged.items()
        },
        preference={
            BEFORE: preferences(losses, UNSPOILT, BEFORE, UNSPOILT),
            **{arm: preferences(losses, BEFORE, arm, BEFORE) for arm in arms},
        },
        preference_against_control={arm: preferences(losses, CONTROL, arm, BEFORE) for arm in others},
        before=_means(videos[BEFORE]),
        changes={arm: changes(videos[BEFORE], videos[arm]) for arm in arms},
        against_control={arm: changes(videos[CONTROL], videos[arm]) for arm in others},
        rendered={kind: _rendered_means(each) for kind, each in rendered.items()},
    )
    on_step("drawing")
    draw_preferences(places.folder / "story-preference.png", told.preference)
    _draw(places, videos, rendered, arms)
    (places.folder / "story.json").write_text(json.dumps(_document(told, settings), indent=1) + "\n", encoding="utf-8")
    return told


def _document(told: Told, settings: StorySettings) -> dict[str, Any]:
    return {"settings": asdict(settings), **asdict(told)}


def _rendered(places: Places, cartoon: bool) -> dict[str, Rendered]:
    """Held-out clips with the words of each motion: real ones, or cartoon ones."""
    rows = read_manifest(places.heldout)
    kinds = {motion: {motion} for motion in GRAVITY}
    if cartoon:
        kinds = {motion: {name for name, told in TOLD_AS.items() if told == motion} for motion in GRAVITY}
    return {
        motion: measure_rendered([row for row in rows if row.metadata["motion"] in names], motion)
        for motion, names in kinds.items()
    }


def _rendered_means(rendered: dict[str, Rendered]) -> dict[str, float | None]:
    return {name: mean for each in rendered.values() for name, mean in each.means.items()}


def _means(videos: Videos) -> dict[str, float | None]:
    tables = {name: videos.table(measured) for name, measured in MEASURED.items()}
    return {name: None if np.isnan(table).all() else float(np.nanmean(table)) for name, table in tables.items()}


def _draw(
    places: Places, videos: dict[str, Videos], rendered: dict[str, dict[str, Rendered]], arms: Sequence[str]
) -> None:
    columns = {"spoilt" if name == BEFORE else f"tuned: {name}": each.heights for name, each in videos.items()}
    for kind in (Kind.PHYSICAL, Kind.CARTOON):
        clips = rendered["cartoon" if kind is Kind.CARTOON else "real"]
        columns[f"{kind.value} clips"] = {motion: each.heights for motion, each in clips.items()}
    draw_heights(places.folder / "story-heights.png", columns)
    prompts = [json.loads(line) for line in places.prompts.read_text(encoding="utf-8").splitlines()]
    strips = []
    for motion in GRAVITY:
        words = [each["prompt"] for each in prompts if each["motion"] == motion]
        seeds = len(videos[BEFORE].files[motion]) // len(words)
        strips += [
            (f"{name}: {words[place]}", videos[name].files[motion][place * seeds])
            for place in range(min(SHOWN, len(words)))
            for name in (BEFORE, *arms[:2])
        ]
    draw_strips(places.folder / "story-videos.png", strips)
