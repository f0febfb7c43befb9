"""What the story is asked by and measured on: held-out clips, prompts, and the manifests of the controls."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from motiontrace.demo.corpus import TOLD_AS, caption
from motiontrace.demo.looks import Look
from motiontrace.demo.motions import MOTIONS, Kind
from motiontrace.demo.story.plan import ARMS
from motiontrace.indexer.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from motiontrace.demo.story.plan import Places, StorySettings
    from motiontrace.indexer.manifest import ManifestRow

GRAVITY = {"free_fall": 0.625, "bounce": 4.75}
"""What real falls and bounces fall by, frame heights / s^2: the middle of what `motiontrace.demo.motions` draws."""
RESTITUTION = 0.8
"""How much of its speed a real bounce leaves: the middle, likewise."""


def write_material(places: Places, settings: StorySettings) -> None:
    """Writes the queries, the clips that are asked about, and the prompts; the corpus has to be there."""
    for motion in GRAVITY:
        _write(places.queries(motion), map(_row, _real(places, motion)[: settings.queries_per_motion]))
        worded = [row for row in read_manifest(places.train) if speaks_of(row.caption) == motion]
        _write(places.worded(motion), map(_row, worded))
    rng = np.random.default_rng(settings.seed)
    motions = [motion for motion in MOTIONS if motion.name in GRAVITY for _ in range(settings.prompts_per_motion)]
    _write(
        places.prompts,
        [
            {"prompt": caption(motion, _ball(rng), rng), "gravity": GRAVITY[motion.name], "motion": motion.name}
            for motion in motions
        ],
    )


def write_manifests(places: Places, settings: StorySettings) -> None:
    """Writes what `selected`, `best`, `random` and `real` are trained on; the selections have to be there.

    Clips that speak neither of falling nor of bouncing are in all of them.
    """
    rows = read_manifest(places.train)
    rng = np.random.default_rng(settings.seed)
    kept: dict[str, set[str]] = {"selected": set(), "best": set(), "random": set()}
    for motion in GRAVITY:
        for arm in ("selected", "best"):
            kept[arm] |= {str(row.id) for row in read_manifest(places.selection(arm, motion))}
        worded = [str(row.id) for row in rows if speaks_of(row.caption) == motion]
        count = sum(clip in kept["selected"] for clip in worded)
        kept["random"] |= set(rng.choice(worded, count, replace=False).tolist())
    for arm, ids in kept.items():
        _write(
            places.manifest(arm), [_row(row) for row in rows if str(row.id) in ids or speaks_of(row.caption) is None]
        )
    real = [row for row in rows if row.metadata["physics"] != Kind.CARTOON.value]
    _write(places.manifest("real"), map(_row, real))


def speaks_of(text: str) -> str | None:
    """Which of the two motions a caption has the words of; None: neither."""
    words = {motion.name: motion.phrases for motion in MOTIONS if motion.name in GRAVITY}
    return next((motion for motion, phrases in words.items() if any(phrase in text for phrase in phrases)), None)


def share_videos(places: Places, arm: str) -> None:
    """Spares `compare` the spoilt model's videos, which it has made for another arm: it knows them by their names."""
    ours = places.comparison(arm) / "exact"
    ours.mkdir(parents=True, exist_ok=True)
    for other in ARMS:
        theirs = places.comparison(other) / "exact"
        for file in theirs.glob("[!.]*") if other != arm else ():
            if not (ours / file.name).exists():
                shutil.copyfile(file, ours / file.name)


def measured_clips(places: Places, settings: StorySettings) -> list[ManifestRow]:
    """Held-out clips with the words of falls and bounces: real ones that no query is made from, and cartoon ones."""
    real = [row for motion in GRAVITY for row in _real(places, motion)[settings.queries_per_motion :]]
    return real + [row for row in read_manifest(places.heldout) if row.metadata["motion"] in TOLD_AS]


def _real(places: Places, motion: str) -> list[ManifestRow]:
    return [row for row in read_manifest(places.heldout) if row.metadata["motion"] == motion]


def _ball(rng: np.random.Generator) -> Look:
    """A large ball, which so small a model draws best: it is to be judged by its motion."""
    return replace(Look.draw(rng), shape="ball", size="large")


def _row(row: ManifestRow) -> dict[str, Any]:
    return {"video": str(row.video), "caption": row.caption, "id": row.id, "motion": row.metadata["motion"]}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
