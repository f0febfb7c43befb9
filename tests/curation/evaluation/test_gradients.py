"""Scores by gradients, for recipes of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from motiontrace.attribution.engine import plan_recipe
from motiontrace.attribution.families import find_checkpoint, load_model
from motiontrace.curation.evaluation.clips import Clips, prepare_clips
from motiontrace.curation.evaluation.gradients import GradientScores
from motiontrace.curation.evaluation.methods import NO_MASK, OURS, PAPER, UNTRAINED, VARIANTS
from motiontrace.indexer.manifest import read_manifest

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = {method.name: method for method in (OURS, PAPER, NO_MASK, UNTRAINED, *VARIANTS)}


@pytest.fixture(scope="module")
def clips(wan: Path, train: Path, held_out: Path) -> tuple[Clips, Clips]:
    checkpoint = find_checkpoint(str(wan))
    recipe = plan_recipe(checkpoint, PAPER.settings)
    model = load_model(checkpoint, timesteps=recipe.timesteps, dtype="float32", device="cpu")
    found = [prepare_clips(read_manifest(folder)[:10:3], model, recipe) for folder in (train, held_out)]
    return found[0], found[1]


@pytest.fixture(scope="module")
def gradients(wan: Path, clips: tuple[Clips, Clips], tmp_path_factory: pytest.TempPathFactory) -> GradientScores:
    folder = tmp_path_factory.mktemp("sketches")
    return GradientScores(
        find_checkpoint(str(wan)), *clips, folder, device="cpu", on_clip=lambda name, done, kept: None
    )


@pytest.mark.parametrize(
    "name",
    [
        "no mask",
        "untrained network",
        "mask of queries alone",
        "time-reversed contrast",
        "normalised channels",
        "whitened",
        "centred",
    ],
)
def test_a_method_scores_every_clip_in_another_way_than_the_paper(name: str, gradients: GradientScores) -> None:
    paper, other = gradients.scores(PAPER), gradients.scores(BY_NAME[name])
    assert paper.shape == other.shape == (2, 4)
    assert np.isfinite(other).all() and np.abs(other).max() <= 2
    assert not np.allclose(other, paper, atol=1e-3)


def test_all_methods_have_recipes_of_their_own_or_precondition_queries(wan: Path) -> None:
    checkpoint = find_checkpoint(str(wan))
    made = [
        (plan_recipe(checkpoint, method.settings).digest, method.precondition, method.trained)
        for method in (PAPER, NO_MASK, UNTRAINED, *VARIANTS)
    ]
    assert len(set(made)) == len(made)


def test_sketches_are_kept_and_scores_stay_the_same(wan: Path, clips: tuple[Clips, Clips], tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []

    def scores() -> np.ndarray:
        checkpoint = find_checkpoint(str(wan))
        made = GradientScores(
            checkpoint, *clips, tmp_path, device="cpu", on_clip=lambda name, done, kept: heard.append((done, kept))
        )
        return made.scores(PAPER)

    first = scores()
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    assert np.array_equal(scores(), first) and kept.stat().st_mtime_ns == written
    assert heard == [(0, 0), (6, 0), (6, 6)]
