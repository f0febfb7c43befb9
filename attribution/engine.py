"""One clip and its caption in, one motion gradient out, by one recipe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attribution.errors import GradientError, RecipeMismatchError
from attribution.factorised import FactorisedGradients
from attribution.families import Checkpoint, VideoDiffusionModel, find_checkpoint, load_model
from attribution.gradient import ExactGradients, SampleGradients, attributed_parameters, matches, motion_loss, unit
from attribution.memory import MemoryPlan, plan_memory
from attribution.motion import MotionSummary, motion_magnitude, motion_weight, summarise, to_latent_grid, upscale_factor
from attribution.projection import make_projection
from attribution.recipe import Recipe
from attribution.region import MotionRegion, motion_region
from attribution.video import VideoInfo, VideoReader, read_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from attribution.basis import Basis

STAGES = ("decoding", "motion", "gradient")
_PROMPTS_KEPT = 8  # captions seldom repeat, and an embedding of Wan's is 8 MB


@dataclass(frozen=True)
class PreparedClip:
    """A clip up to the model's door: what the CPU may do for the next clip while this one is differentiated."""

    frames: NDArray[np.uint8]
    """The frames that the model sees, [F, height, width, 3]."""
    weight: torch.Tensor
    """The motion weight on the latent grid, float32 [f, h, w] in [0, 1]."""
    info: VideoInfo
    motion: MotionSummary
    region: MotionRegion | None
    """When and where it moves; None where nothing does."""
    seconds: dict[str, float]


@dataclass(frozen=True)
class ClipSketch:
    """A clip's gradient as sketched, before it is taken to the recipe's dim."""

    vector: NDArray[np.float32] | None
    """float32 [width] of unit length; None is the outcome "no motion"."""
    loss: float | None
    """The motion loss, averaged over timesteps and noise; None where nothing moves."""
    info: VideoInfo
    motion: MotionSummary
    region: MotionRegion | None
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds by stage; clips of one batch share their gradient's equally."""


@dataclass(frozen=True)
class ClipGradient:
    """What one clip gave."""

    vector: NDArray[np.float32] | None
    """The motion gradient, float32 [dim] of unit length; None is the outcome "no motion"."""
    captured: float | None
    """Share of the sketch's squared length that the learned basis holds; None without one, or where nothing moves."""
    loss: float | None
    info: VideoInfo
    motion: MotionSummary
    region: MotionRegion | None
    seconds: dict[str, float] = field(default_factory=dict)


def plan_recipe(checkpoint: Checkpoint, settings: Mapping[str, Any], existing: Recipe | None = None) -> Recipe:
    """The recipe for a checkpoint: ``settings`` over the ``existing`` index's recipe or what the checkpoint recommends.

    Nested settings (motion, projection) may be given in part. Hashes the weights. Raises pydantic's
    ValidationError that names a wrong field.
    """
    base = checkpoint.recommended if existing is None else existing.model_dump()
    model = {"family": checkpoint.family, "checkpoint": checkpoint.digest()}
    recipe = Recipe.model_validate(_merged(_merged(base, settings), model))
    counts = checkpoint.denoiser_parameters(recipe.timesteps)
    attributed = sum(count for name, count in counts.items() if matches(name, recipe.parameters))
    return recipe.model_copy(update={"attributed_parameters": attributed, "denoiser_parameters": sum(counts.values())})


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        key: _merged(mine, value)
        for key, value in over.items()
        if isinstance(value, Mapping) and isinstance(mine := base.get(key), Mapping)
    }
    return {**base, **over, **nested}


def load_engine(location: str, recipe: Recipe, *, basis: Basis | None = None, device: str | None = None,
                batches: bool = False) -> MotionEngine:  # fmt: skip
    """The engine of ``recipe``, with the checkpoint at ``location`` (folder or hub id), fitted to the memory there is.

    ``basis`` is the one that the recipe names. ``batches`` is for many clips: how many are best taken at once is found
    too, in the time of a few clips. Raises ModelError where the checkpoint cannot be used or no clip fits
    into memory, RecipeMismatchError where model or basis are not the recipe's.
    """
    checkpoint = find_checkpoint(location)
    found = recipe.model_copy(update={"family": checkpoint.family, "checkpoint": checkpoint.digest()})
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
    """Computes motion gradients by one recipe. One at a time: not safe to share between threads, save ``prepare``."""

    def __init__(self, model: VideoDiffusionModel, recipe: Recipe, basis: Basis | None = None) -> None:
        self.recipe, self._basis = recipe, basis
        _check_basis(recipe, basis)
        self.memory: MemoryPlan | None = None
        """What :meth:`fit_memory` found; None before it."""
        self.batch = 1
        """Clips a backward pass: as :meth:`fit_memory` found, or as it is set."""
        self._model = model
        self._latent_shape = model.latent_shape(recipe.frames, recipe.height, recipe.width)
        self._gradients = _sample_gradients(model, recipe)
        self._device = next(model.denoiser.parameters()).device
        self._encode_prompt = lru_cache(_PROMPTS_KEPT)(model.encode_prompt)
        # RandomState is frozen by numpy's policy: the noise stays the same on every device and version.
        noise = np.random.RandomState(recipe.noise_seed).standard_normal((recipe.noise_draws, *self._latent_shape))
        self._noise = torch.from_numpy(noise.astype(np.float32))

    def with_basis(self, basis: Basis) -> MotionEngine:
        """The same model under the same recipe with a learned ``basis``; both engines share everything else."""
        engine = copy(self)
        engine.recipe, engine._basis = self.recipe.with_basis(basis.digest), basis
        return engine

    def fit_memory(self, *, batches: bool) -> None:
        """Measures what a clip takes and sets gradient checkpointing, with ``batches`` also :attr:`batch`.

        Raises ModelError where not even one clip fits.
        """
        self.memory = plan_memory(
            self._model.denoiser,
            self._device,
            forward=lambda: self._gradients.forward(lambda: self._trial(slice(1))),
            run=lambda batch: self._gradients.sketch(batch, [lambda: self._trial(slice(batch))]),
            largest_batch=(lambda: self._gradients.largest_batch) if batches else None,
        )
        self.batch = self.memory.batch

    def _trial(self, places: slice) -> torch.Tensor:
        """The losses of made-up clips, each different, without any file or caption."""
        numbers = range(places.stop)[places]
        shape = self.recipe.frames, self.recipe.height, self.recipe.width, 3
        videos = [np.random.RandomState(number).randint(0, 256, shape, dtype=np.uint8) for number in numbers]
        weights = [torch.ones(self._latent_shape[1:])] * len(numbers)
        return next(self._terms(videos, weights, [""] * len(numbers), []))()

    def prepare(self, path: Path, *, on_stage: Callable[[str], None] | None = None, decode: VideoReader = read_video
                ) -> PreparedClip:  # fmt: skip
        """Decodes a clip by ``decode`` and measures its motion. Raises VideoError where the file cannot be used."""
        recipe, seconds, say = self.recipe, {}, on_stage or _silent
        scale = upscale_factor(recipe.height, recipe.width, recipe.motion.short_side)
        say("decoding")
        start = time.perf_counter()
        video = decode(
            path, frames=recipe.frames, height=recipe.height * scale, width=recipe.width * scale, fps=recipe.fps
        )
        seconds["decoding"] = time.perf_counter() - start
        say("motion")
        start = time.perf_counter()
        magnitude = motion_magnitude(video.frames, recipe.motion)
        motion = summarise(magnitude, recipe.motion)
        region = motion_region(magnitude, motion, video, recipe.motion.floor)
        weight = to_latent_grid(motion_weight(magnitude), self._latent_shape[1:], self._model.temporal_compression)
        cells = video.frames.reshape(recipe.frames, recipe.height, scale, recipe.width, scale, 3)
        frames = video.frames if scale == 1 else cells.mean((2, 4)).round().astype(np.uint8)
        seconds["motion"] = time.perf_counter() - start
        return PreparedClip(frames, weight, video.info, motion, region, seconds)

    def sketch(self, clips: Sequence[PreparedClip], captions: Sequence[str]) -> list[ClipSketch | GradientError]:
        """The sketched gradients of prepared clips under their captions, :attr:`batch` of them a backward pass.

        A clip whose gradient cannot be used is an error in its own place, and costs no other.
        """
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
        terms = self._terms([clip.frames for clip in clips], [clip.weight for clip in clips], captions, losses)
        vectors = self._gradients.sketch(len(clips), terms)
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

    def compute(self, path: Path, caption: str, *, on_stage: Callable[[str], None] | None = None,
                decode: VideoReader = read_video) -> ClipGradient:  # fmt: skip
        """``prepare`` and ``gradient`` in one; ``on_stage`` hears each of STAGES as it begins."""
        clip = self.prepare(path, on_stage=on_stage, decode=decode)
        (on_stage or _silent)("gradient")
        return self.gradient(clip, caption)

    def losses(self, clips: Sequence[PreparedClip], captions: Sequence[str]) -> torch.Tensor:
        """The motion loss of each clip, [len(clips)], differentiable where parameters require grad."""
        terms = self._terms([clip.frames for clip in clips], [clip.weight for clip in clips], captions, [])
        return torch.stack([term() for term in terms]).sum(0)

    def _terms(self, videos: Sequence[NDArray[np.uint8]], weights: Sequence[torch.Tensor], captions: Sequence[str],
               heard: list[torch.Tensor]) -> Iterator[Callable[[], torch.Tensor]]:  # fmt: skip
        """The motion losses [B] at each timestep and noise, over their number; ``heard`` gets each undivided."""
        # One by one: the encoders take more memory for a clip than the denoiser does for a small batch.
        latent = torch.cat([self._model.encode_video(torch.from_numpy(video)[None]) for video in videos])
        prompt = torch.cat([self._encode_prompt(caption) for caption in captions])
        weight = torch.stack(list(weights))
        count = len(self.recipe.timesteps) * len(self._noise)

        def term(place: int, timestep: float, noise: torch.Tensor) -> torch.Tensor:
            prediction = self._model.predict(self._model.add_noise(latent, noise, timestep), timestep, prompt)
            target = self._model.target(latent, noise, timestep)
            losses = motion_loss(prediction, target, weight, self.recipe.frames)
            heard[place:] = [losses.detach()]
            return losses / count

        pairs = product(self.recipe.timesteps, self._noise)
        for place, (timestep, noise) in enumerate(pairs):
            yield partial(term, place, timestep, noise[None].to(latent))


def _sample_gradients(model: VideoDiffusionModel, recipe: Recipe) -> SampleGradients:
    parameters = attributed_parameters(model.denoiser, recipe.parameters)
    sketching = make_projection(recipe.projection)
    if recipe.gradients == "exact":
        return ExactGradients(parameters, sketching)
    return FactorisedGradients(
        model.denoiser, parameters, sketching, factors=recipe.projection.factors, seed=recipe.projection.seed,
        tables=model.modulation_tables,
    )  # fmt: skip


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
