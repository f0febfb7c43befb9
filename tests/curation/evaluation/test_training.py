"""Fine-tunes are the seed's alone, begin at the base, and their results are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from motiontrace.attribution.engine import plan_recipe
from motiontrace.attribution.families import find_checkpoint, load_denoiser, load_model
from motiontrace.curation.evaluation.clips import Clips, metadata_values, prepare_clips
from motiontrace.curation.evaluation.errors import EvaluationError
from motiontrace.curation.evaluation.outcomes import Outcomes, held_out_losses
from motiontrace.curation.evaluation.settings import TrainingSettings
from motiontrace.curation.evaluation.training import Experiment
from motiontrace.curation.finetuning.objective import checkpoint_timesteps
from motiontrace.indexer.manifest import read_manifest

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = TrainingSettings(steps=3, batch=2, learning_rate=1e-3, warmup=1, loss_timesteps=(400.0, 800.0))


@pytest.fixture(scope="module")
def clips(wan: Path, train: Path, held_out: Path) -> tuple[Clips, Clips, list[str]]:
    checkpoint = find_checkpoint(str(wan))
    recipe = plan_recipe(checkpoint, {})
    model = load_model(checkpoint, timesteps=recipe.timesteps, dtype="float32", device="cpu")
    problems: list[str] = []

    def hear(problem: str | None) -> None:
        if problem is not None:
            problems.append(problem)

    found = [prepare_clips(read_manifest(folder), model, recipe, hear) for folder in (train, held_out)]
    return found[0], found[1], problems


@pytest.fixture
def experiment(wan: Path, clips: tuple[Clips, Clips, list[str]]) -> Experiment:
    checkpoint = find_checkpoint(str(wan))
    denoiser = load_denoiser(checkpoint, timesteps=(751,), dtype="float32", device="cpu")
    return Experiment(denoiser, clips[0], clips[1], SETTINGS, checkpoint_timesteps(checkpoint))


def test_a_broken_clip_is_told_and_left_out(clips: tuple[Clips, Clips, list[str]]) -> None:
    train, held_out, problems = clips
    assert len(train) == 20 and len(held_out) == 4
    assert len(problems) == 1 and "broken.mp4" in problems[0]


def test_a_clips_rate_is_that_of_the_frames_that_the_model_sees(clips: tuple[Clips, Clips, list[str]]) -> None:
    held_out = clips[1]
    info, frames = held_out.prepared[0].info, held_out.prepared[0].frames
    assert len(frames) < info.frames  # spread over the clip
    assert held_out.rate(0) == pytest.approx((len(frames) - 1) / (info.seconds - 1 / info.fps))
    assert replace(held_out, fps=5.0).rate(0) == 5.0


def test_clips_without_the_field_are_named(clips: tuple[Clips, Clips, list[str]]) -> None:
    with pytest.raises(EvaluationError, match=r"right-0\.mp4 has no 'weather'"):
        metadata_values(clips[0].rows, "weather")


def test_the_same_clips_and_seed_give_the_same_model_and_other_ones_another(experiment: Experiment) -> None:
    def losses(clips: tuple[int, ...], seed: int) -> np.ndarray:
        experiment.fine_tune(clips, seed)
        return experiment.held_out_losses()

    first = losses((0, 1, 2, 3), 0)
    assert not np.array_equal(losses((0, 1, 2, 3), 1), first)
    assert not np.array_equal(losses((10, 11, 12, 13), 0), first)
    assert np.array_equal(losses((0, 1, 2, 3), 0), first)


def test_a_fine_tune_begins_at_the_base_and_reset_goes_back_to_it(experiment: Experiment) -> None:
    base = {name: value.clone() for name, value in experiment.weights.items()}
    before = experiment.held_out_losses()
    experiment.fine_tune((0, 1), 0)
    assert any(not torch.equal(value, base[name]) for name, value in experiment.weights.items())
    experiment.reset()
    assert all(torch.equal(value, base[name]) for name, value in experiment.weights.items())
    assert np.array_equal(experiment.held_out_losses(), before)


def test_training_lowers_the_held_out_motion_loss_of_a_model_that_knows_nothing(experiment: Experiment) -> None:
    before = experiment.held_out_losses()
    experiment._settings = SETTINGS.model_copy(update={"steps": 20})
    experiment.fine_tune(range(20), 0)
    assert (experiment.held_out_losses() < before).all()


def test_outcomes_are_measured_once_and_a_line_that_was_cut_off_is_measured_again(
    experiment: Experiment, clips: tuple[Clips, Clips, list[str]], tmp_path: Path
) -> None:
    file = tmp_path / "outcomes.jsonl"
    asked: list[int] = []
    fine_tune = experiment.fine_tune

    def counted(places: tuple[int, ...], seed: int) -> None:
        asked.append(seed)
        fine_tune(places, seed)

    experiment.fine_tune = counted  # type: ignore[method-assign, assignment]
    outcomes = Outcomes(file, {"checkpoint": "a"}, *clips[:2])
    found = [held_out_losses(outcomes, experiment, (0, 1), seed) for seed in (0, 1, 0)]
    assert asked == [0, 1] and np.array_equal(found[0], found[2])
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole[:-20], encoding="utf-8")
    again = Outcomes(file, {"checkpoint": "a"}, *clips[:2])
    assert again.has("losses", (0, 1), 0) and not again.has("losses", (0, 1), 1)
    assert np.array_equal(held_out_losses(again, experiment, (0, 1), 1), found[1])
    assert file.read_text(encoding="utf-8") == whole
    before = file.stat().st_ino, file.stat().st_mtime_ns
    Outcomes(file, {"checkpoint": "a"}, *clips[:2])
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before  # hours of work are not written anew at each start
    assert not Outcomes(file, {"checkpoint": "b"}, *clips[:2]).has("losses", (0, 1), 0)
