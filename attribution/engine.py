"""From a clip and its caption to one motion gradient, by one recipe."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import ValidationError

from motiontrace.attribution.errors import GradientError, ModelError, RecipeMismatchError
from motiontrace.attribution.factorised import FactorisedGradients
from motiontrace.attribution.families import Checkpoint, VideoDiffusionModel, find_checkpoint, load_model
from motiontrace.attribution.gradient import (
    ExactGradients,
    SampleGradients,
    attributed_parameters,
    contrast,
    matches,
    unit,
)
from motiontrace.attribution.memory import MemoryPlan, plan_memory
from motiontrace.attribution.objective import Clips, MotionObjective
from motiontrace.attribution.preparation import PreparedClip as PreparedClip
from motiontrace.attribution.preparation import prepare_clip
from motiontrace.attribution.presets import DEFAULT_PRESET, NEW, PRESETS, merged
from motiontrace.attribution.projection import make_projection
from motiontrace.attribution.recipe import Recipe
from motiontrace.attribution.video import VideoReader, read_video

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from motiontrace.attribution.basis import Basis
    from motiontrace.attribution.motion import MotionSummary
    from motiontrace.attribution.region import MotionRegion
    from motiontrace.attribution.video import VideoInfo


@dataclass(frozen=True)
class ClipSketch:
    """A clip's sketched gradient, before it is reduced to the recipe's dim."""

    vector: NDArray[np.float32] | None
    """float32 [width] of unit length; None is the outcome "no motion"."""
    loss: float | None
    """The clip's motion loss, averaged over timesteps and noise; None where nothing moves."""
    info: VideoInfo
    motion: MotionSummary
    region: MotionRegion | None
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds by stage; the clips of a batch share the gradient's seconds equally."""


@dataclass(frozen=True)
class ClipGradient:
    """The motion gradient of one clip, with its loss, timings and motion."""

    vector: NDArray[np.float32] | None
    """The motion gradient, float32 [dim] of unit length; None is the outcome "no motion"."""
    captured: float | None
    """Share of the sketch's squared length that the learned basis holds; None without one, or where nothing moves."""
    loss: float | None
    info: VideoInfo
    motion: MotionSummary
    region: MotionRegion | None
    seconds: dict[str, float] = field(default_factory=dict)


def plan_recipe(
    checkpoint: Checkpoint, settings: Mapping[str, Any], existing: Recipe | None = None, preset: str | None = None
) -> Recipe:
    """The recipe for a checkpoint. `settings` override the `preset`, which overrides the `existing` index's recipe.

    Without an existing index, the preset overrides what the checkpoint recommends, and that the default preset. Nested
    settings (motion, projection) may be given in part. Where the checkpoint has two denoisers, only the preset's
    timesteps that one of them serves are kept. Hashes the weights. Raises pydantic's ValidationError that names a wrong
    field, and ModelError where the checkpoint recommends settings that no recipe can have.
    """
    base = existing.model_dump() if existing else _recommended(checkpoint)
    settings = merged(preset_for(checkpoint, preset), settings) if preset else settings
    if settings.get("latent_normalisation", "channels") != "channels":
        base = {**base, "channel_scales": None}
    if settings.get("gradient_normalisation", "tensors") != "tensors":
        base = {**base, "gradient_scales": None}
    known = existing.checkpoint if existing else None
    model = {"family": checkpoint.family, "checkpoint": checkpoint.digest_as(known)}
    recipe = Recipe.model_validate(merged(merged(base, settings), model))
    counts = checkpoint.denoiser_parameters(recipe.timesteps)
    attributed = sum(count for name, count in counts.items() if matches(name, recipe.parameters))
    return recipe.model_copy(update={"attributed_parameters": attributed, "denoiser_parameters": sum(counts.values())})


def _recommended(checkpoint: Checkpoint) -> dict[str, Any]:
    """The default preset with the checkpoint's recommendations; ModelError where motiontrace.json is wrong."""
    found = merged(merged(preset_for(checkpoint, DEFAULT_PRESET), NEW), checkpoint.recommended)
    try:
        Recipe.model_validate(merged(found, {"family": checkpoint.family, "checkpoint": "0" * 64}))
    except ValidationError as error:
        wrong = error.errors()[0]
        field = ".".join(map(str, wrong["loc"])) or "its settings"
        raise ModelError(
            f"{checkpoint.folder / 'motiontrace.json'}: {field}: {wrong['msg']} (it is {wrong['input']!r})."
            " Correct it there, or take it out."
        ) from error
    return found


def preset_for(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """The settings of a named recipe, at the timesteps that one denoiser of the checkpoint serves.

    Of two denoisers, the one that serves more of the recipe's timesteps counts.
    """
    return {**PRESETS[name], "timesteps": checkpoint.served_together(PRESETS[name]["timesteps"])}


def load_engine(
    location: str, recipe: Recipe, *, basis: Basis | None = None, device: str | None = None, batches: bool = False
) -> MotionEngine:
    """The engine of `recipe`, with the checkpoint at `location` (folder or hub id), fitted to the free memory.

    `basis` is the one that the recipe names. `batches`, for many clips, also measures the fastest batch size, which
    takes the time of a few clips. Raises ModelError where the checkpoint cannot be used or no clip fits into memory,
    and RecipeMismatchError where model or basis are not the recipe's.
    """
    checkpoint = find_checkpoint(location)
    found = recipe.model_copy(
        update={"family": checkpoint.family, "checkpoint": checkpoint.digest_as(recipe.checkpoint)}
    )
    if differences := recipe.differences(found):
        raise RecipeMismatchError(
            f"the checkpoint at {location} is not the one the index was built with ({'; '.join(differences)})."
            " Give the checkpoint that was used, or index again with this one under another name."
        )
    model = load_model(checkpoint, timesteps=recipe.timesteps, dtype=recipe.dtype, device=device)
    engine = MotionEngine(model, recipe, basis)
    engine.fit_memory(batches=batches)
    return engine


class MotionEngine:
    """Computes motion gradients by one recipe. Threads may share `prepare` alone."""

    def __init__(self, model: VideoDiffusionModel, recipe: Recipe, basis: Basis | None = None) -> None:
        self.recipe, self._basis = recipe, basis
        _check_basis(recipe, basis)
        self.memory: MemoryPlan | None = None
        """What `fit_memory` measured; None before it."""
        self.batch = 1
        """Clips in a backward pass; `fit_memory` sets it, and so may a caller."""
        self._model = model
        self._objective = MotionObjective(model, recipe)
        self._latent_shape = self._objective.latent_shape
        self._parameters = attributed_parameters(model.denoiser, recipe.parameters)
        self._gradients = _sample_gradients(model, recipe, self._parameters)
        self._scales = _scales_by_name(self._parameters, recipe)
        self._device = next(model.denoiser.parameters()).device

    def under(self, recipe: Recipe, basis: Basis | None) -> MotionEngine:
        """The same model under a recipe that differs only in what is measured: scales and basis. All else is shared.

        Raises RecipeMismatchError where `basis` is not the recipe's, and ModelError where the scales do not fit.
        """
        engine = copy(self)
        _check_basis(recipe, basis)
        engine.recipe, engine._basis = recipe, basis
        if recipe.channel_scales != self.recipe.channel_scales:
            engine._objective = MotionObjective(self._model, recipe)
        engine._scales = _scales_by_name(self._parameters, recipe)
        return engine

    def with_basis(self, basis: Basis) -> MotionEngine:
        """The same with a learned `basis`; see `under`."""
        return self.under(self.recipe.with_basis(basis.digest), basis)

    def with_channel_scales(self, scales: tuple[float, ...]) -> MotionEngine:
        """The same with the measured `scales` of the latent channels; see `under`."""
        return self.under(self.recipe.with_channel_scales(scales), self._basis)

    def with_gradient_scales(self, scales: tuple[float, ...]) -> MotionEngine:
        """The same with the measured `scales` of the attributed parameters; see `under`."""
        return self.under(self.recipe.with_gradient_scales(scales), self._basis)

    def fit_memory(self, *, batches: bool) -> None:
        """Measures the memory of a clip and sets gradient checkpointing; with `batches` it also sets `batch`.

        Raises ModelError where not even one clip fits.
        """
        normalised = self.recipe.gradient_normalisation == "tensors"
        scales = dict.fromkeys(self._parameters, 1.0) if normalised else None
        self.memory = plan_memory(
            self._model.denoiser,
            self._device,
            forward=lambda: self._gradients.forward(lambda: self._trial(slice(1))),
            run=lambda batch: self._gradients.sketch(batch, [lambda: self._trial(slice(batch))], scales),
            largest_batch=(lambda: self._gradients.largest_batch) if batches else None,
        )
        self.batch = self.memory.batch

    def _trial(self, places: slice) -> torch.Tensor:
        """The losses of made-up clips, each different, without any file or caption."""
        numbers = range(places.stop)[places]
        shape = self.recipe.frames, self.recipe.height, self.recipe.width, 3
        videos = [np.random.RandomState(number).randint(0, 256, shape, dtype=np.uint8) for number in numbers]
        weights = [torch.ones(self._latent_shape[1:])] * len(numbers)
        seeds = [(number,) for number in numbers]
        return next(self._objective.terms(Clips(videos, weights, [""] * len(numbers), seeds)))()

    def prepare(
        self,
        path: Path,
        *,
        on_stage: Callable[[str], None] | None = None,
        decode: VideoReader = read_video,
        query: bool = False,
    ) -> PreparedClip:
        """Decodes a clip by `decode` and measures its motion. Raises VideoError where the file cannot be used.

        `query` says that the clip is a query: recipes may weigh queries differently from indexed clips.
        """
        grid, compression = self._latent_shape[1:], self._model.temporal_compression
        hear = on_stage or _silent
        return prepare_clip(path, self.recipe, grid, compression, on_stage=hear, decode=decode, query=query)

    def sketch(self, clips: Sequence[PreparedClip], captions: Sequence[str]) -> list[ClipSketch | GradientError]:
        """The sketched gradients of prepared clips under their captions, `batch` of them in a backward pass.

        A clip whose gradient cannot be used has its error in its place of the list; the others are not affected. Raises
        ModelError where the recipe normalises channels or gradients and their scales have not been measured.
        """
        if self.recipe.latent_normalisation == "channels" and self.recipe.channel_scales is None:
            raise ModelError("the scales of the latent channels are measured first, on a sample of the clips")
        if self.recipe.gradient_normalisation == "tensors" and self._scales is None:
            raise ModelError("the scales of the gradients are measured first, on a sample of the clips")
        sketches: list[ClipSketch | GradientError] = [
            ClipSketch(None, None, clip.info, clip.motion, clip.region, dict(clip.seconds)) for clip in clips
        ]
        moving = [place for place, clip in enumerate(clips) if clip.motion.moves]
        size = self.batch
        if size > 1 and not self._gradients.tell_apart(self._trial):
            size = 1
        for first in range(0, len(moving), size):
            places = moving[first : first + size]
            found = self._sketch_batch([clips[place] for place in places], [captions[place] for place in places])
            for place, sketch in zip(places, found, strict=True):
                sketches[place] = sketch
        return sketches

    def _sketch_batch(self, clips: list[PreparedClip], captions: list[str]) -> list[ClipSketch | GradientError]:
        start = time.perf_counter()
        losses: list[torch.Tensor] = []
        vectors = self._gradients.sketch(
            len(clips), self._objective.terms(_played(clips, captions), losses), self._scales
        )
        if self.recipe.contrast == "time_reversed":
            backwards = self._objective.terms(_played_backwards(clips, captions))
            vectors = contrast(vectors, self._gradients.sketch(len(clips), backwards, self._scales))
        seconds = (time.perf_counter() - start) / len(clips)
        mean = torch.stack(losses).mean(0).tolist()
        sketches: list[ClipSketch | GradientError] = []
        for clip, vector, loss in zip(clips, vectors, mean, strict=True):
            try:
                stages = {**clip.seconds, "gradient": seconds}
                sketches.append(ClipSketch(unit(vector), loss, clip.info, clip.motion, clip.region, stages))
            except GradientError as error:
                sketches.append(error)
        return sketches

    def finish(self, sketch: ClipSketch) -> ClipGradient:
        """The motion gradient of a sketch: along the basis, or folded to dim where the recipe has none."""
        vector, captured = None, None
        if sketch.vector is not None:
            if self._basis is None:
                short = sketch.vector.reshape(-1, self.recipe.dim).sum(0)
            else:
                short = self._basis.directions @ sketch.vector
                captured = float(np.square(short).sum())
            vector = unit(torch.from_numpy(short))
        return ClipGradient(
            vector, captured, sketch.loss, sketch.info, sketch.motion, sketch.region, dict(sketch.seconds)
        )

    def gradient(self, clip: PreparedClip, caption: str) -> ClipGradient:
        """The motion gradient of one prepared clip under its caption; raises GradientError where it is not finite."""
        (sketch,) = self.sketch([clip], [caption])
        if isinstance(sketch, GradientError):
            raise sketch
        return self.finish(sketch)

    def compute(
        self,
        path: Path,
        caption: str,
        *,
        on_stage: Callable[[str], None] | None = None,
        decode: VideoReader = read_video,
    ) -> ClipGradient:
        """Prepares a query and computes its gradient.

        `on_stage` is called with "decoding", "motion" and "gradient" as each begins.
        """
        clip = self.prepare(path, on_stage=on_stage, decode=decode, query=True)
        (on_stage or _silent)("gradient")
        return self.gradient(clip, caption)

    def losses(self, clips: Sequence[PreparedClip], captions: Sequence[str]) -> torch.Tensor:
        """The motion loss of each clip, [len(clips)], differentiable where parameters require grad.

        With contrast, the loss of the clip played backwards is subtracted.
        """
        losses = torch.stack([term() for term in self._objective.terms(_played(clips, captions))]).sum(0)
        if self.recipe.contrast == "none":
            return losses
        backwards = self._objective.terms(_played_backwards(clips, captions))
        return losses - torch.stack([term() for term in backwards]).sum(0)

    def channel_errors(self, clip: PreparedClip, caption: str) -> torch.Tensor:
        """The mean weighted squared error of each latent channel, not scaled: float32 [C] on the CPU."""
        return self._objective.channel_errors(_played([clip], [caption]))[0]

    def gradient_squares(self, clip: PreparedClip, caption: str) -> torch.Tensor:
        """The mean squared entry of each attributed parameter's gradient, not scaled: float64 [parameters], by name.

        Each timestep and noise has a gradient of its own, as in a training step. The result is the mean over them.
        """
        squares = dict.fromkeys(self._parameters, 0.0)

        def take(name: str, gradients: torch.Tensor) -> None:
            squares[name] += torch.linalg.vector_norm(gradients, dtype=torch.float64).item() ** 2

        terms = list(self._objective.terms(_played([clip], [caption])))
        for term in terms:
            self._gradients.collect(1, [lambda term=term: term() * len(terms)], take)  # type: ignore[misc]
        return torch.tensor(
            [squares[name] / len(terms) / self._parameters[name].numel() for name in sorted(squares)],
            dtype=torch.float64,
        )


def _played(clips: Sequence[PreparedClip], captions: Sequence[str]) -> Clips:
    return Clips([clip.frames for clip in clips], [clip.weight for clip in clips], captions, _seeds(clips))


def _played_backwards(clips: Sequence[PreparedClip], captions: Sequence[str]) -> Clips:
    weights = [clip.backward_weight for clip in clips if clip.backward_weight is not None]
    # Under the clip's own noise, so that the two differ in the direction of time alone.
    return Clips([clip.frames[::-1].copy() for clip in clips], weights, captions, _seeds(clips))


def _seeds(clips: Sequence[PreparedClip]) -> list[tuple[int, ...]]:
    return [clip.noise_seed for clip in clips]


def _scales_by_name(parameters: Mapping[str, torch.nn.Parameter], recipe: Recipe) -> dict[str, float] | None:
    if recipe.gradient_scales is None:
        return None
    if len(recipe.gradient_scales) != len(parameters):
        raise ModelError(
            f"the recipe has gradient_scales of {len(recipe.gradient_scales)} parameters, and {len(parameters)} of the"
            " denoiser's are attributed"
        )
    return dict(zip(sorted(parameters), recipe.gradient_scales, strict=True))


def _sample_gradients(
    model: VideoDiffusionModel, recipe: Recipe, parameters: dict[str, torch.nn.Parameter]
) -> SampleGradients:
    sketching = make_projection(recipe.projection)
    if recipe.gradients == "exact":
        return ExactGradients(parameters, sketching)
    return FactorisedGradients(
        model.denoiser,
        parameters,
        sketching,
        factors=recipe.projection.factors,
        seed=recipe.projection.seed,
        tables=model.modulation_tables,
    )


def _check_basis(recipe: Recipe, basis: Basis | None) -> None:
    given = None if basis is None else basis.digest
    if given != recipe.projection.basis:
        raise RecipeMismatchError(f"the recipe names the basis {recipe.projection.basis}, and {given} was given")
    if basis is not None and basis.directions.shape != (recipe.dim, recipe.projection.width):
        shape = "x".join(map(str, basis.directions.shape))
        raise RecipeMismatchError(
            f"the basis {given} takes other sketches than the recipe's: it is {shape}, not"
            f" {recipe.dim}x{recipe.projection.width}"
        )


def _silent(stage: str) -> None:
    """Hears nothing."""
