"""Scores of training clips for queries by the gradients of a recipe, as an index of those clips would give them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import torch

from motiontrace.attribution.basis import MIN_BASIS_CLIPS, learn_basis
from motiontrace.attribution.engine import MotionEngine, PreparedClip, plan_recipe
from motiontrace.attribution.errors import GradientError
from motiontrace.attribution.families import load_model
from motiontrace.attribution.gradient import channel_scales, gradient_scales
from motiontrace.attribution.moments import Moments
from motiontrace.attribution.preconditioning import Preconditioned, precondition
from motiontrace.curation.evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from motiontrace.attribution.families import Checkpoint
    from motiontrace.attribution.memory import MemoryPlan
    from motiontrace.attribution.recipe import Recipe
    from motiontrace.curation.evaluation.clips import Clips
    from motiontrace.curation.evaluation.methods import Method

_SCALED_BY = 64  # clips that scales are measured on at most, as for an index
_BATCH = 16


class GradientScores:
    """Computes scores for many methods; sketches are kept on disk, so that a stopped evaluation goes on."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        train: Clips,
        queries: Clips,
        folder: Path,
        *,
        device: str | None = None,
        on_clip: Callable[[str, int, int], None],
    ) -> None:
        """`folder` keeps the sketches.

        `on_clip` is called with the method's name, how many clips are done, and how many of them by an earlier run.
        """
        self._checkpoint, self._train, self._queries = checkpoint, train, queries
        self._folder, self._on_clip, self._device = folder, on_clip, device
        self._memory: MemoryPlan | None = None
        self._prepared: tuple[str, list[PreparedClip]] = "", []
        self._found: dict[tuple[str, bool], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def scores(self, method: Method) -> NDArray[np.float64]:
        """[Q, N]: inner products of unit gradients; zeros for a clip or query in which the method sees no motion.

        Raises EvaluationError where a gradient cannot be used.
        """
        directions, (train, _) = self.directions(method), self.gradients(method)
        return directions.query.astype(np.float64) @ train.T - directions.offset[:, None]

    def directions(self, method: Method) -> Preconditioned:
        """What clips are scored against, [Q, dim], and what is taken off a query's scores, [Q]."""
        train, queries = self.gradients(method)
        if method.precondition == "none":
            return Preconditioned(queries, np.zeros(len(queries)))
        moments = Moments.of(train[np.any(train, axis=1)].astype(np.float16))
        return precondition(queries, moments.mean, moments.second_moment, method.precondition, method.damping)

    def gradients(self, method: Method) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of the training clips [N, dim] and of the queries [Q, dim], of unit length.

        Zeros where the method sees no motion. Raises EvaluationError where one cannot be used.
        """
        settings = method.settings
        recipe = plan_recipe(
            self._checkpoint, {**settings, "timesteps": self._checkpoint.served_together(settings["timesteps"])}
        )
        key = recipe.digest, method.trained  # what is done to queries afterwards changes no gradient
        if key not in self._found:
            found = self._finished(self._sketches(method, recipe), recipe)
            self._found[key] = found[: len(self._train)], found[len(self._train) :]
        return self._found[key]

    def _finished(self, sketches: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
        """Sketches [n, width] as gradients of unit length [n, dim], along a basis learned from the training clips."""
        moving = sketches[: len(self._train)]
        moving = moving[np.any(moving, axis=1)]
        if len(moving) < MIN_BASIS_CLIPS:
            short = sketches.reshape(len(sketches), -1, recipe.dim).sum(1)
        else:
            short = sketches @ learn_basis(moving, recipe.dim).directions.T
        lengths = np.linalg.norm(short, axis=1, keepdims=True)
        return np.divide(short, lengths, out=np.zeros_like(short), where=lengths > 0)

    def _sketches(self, method: Method, recipe: Recipe) -> NDArray[np.float32]:
        """float32 [N + Q, width], unit rows; rows of zeros where nothing moves."""
        rows = [*self._train.rows, *self._queries.rows]
        about = [recipe.digest, method.trained, [str(row.video) for row in rows], [row.caption for row in rows]]
        file = self._folder / f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]}.npy"
        if file.exists():
            self._on_clip(method.name, len(rows), len(rows))
            return np.load(file)
        self._on_clip(method.name, 0, 0)  # the model is loaded, and all clips are decoded, before the first is done
        engine = self._engine(method, recipe)
        clips, captions = self._clips(engine), [row.caption for row in rows]
        engine = with_scales(engine, clips[: len(self._train)], captions)
        sketches = np.zeros((len(rows), recipe.projection.width), np.float32)
        for first in range(0, len(rows), _BATCH):
            part = slice(first, first + _BATCH)
            for place, sketch in enumerate(engine.sketch(clips[part], captions[part]), first):
                if isinstance(sketch, GradientError):
                    raise EvaluationError(f"{method.name}: {rows[place].video}: {sketch}")
                if sketch.vector is not None:
                    sketches[place] = sketch.vector
            self._on_clip(method.name, min(first + _BATCH, len(rows)), 0)
        draft = file.with_suffix(".part.npy")
        np.save(draft, sketches)
        draft.replace(file)
        return sketches

    def _engine(self, method: Method, recipe: Recipe) -> MotionEngine:
        # A model of its own for each: an engine leaves its hooks in the denoiser.
        model = load_model(self._checkpoint, timesteps=recipe.timesteps, dtype=recipe.dtype, device=self._device)
        if not method.trained:
            _draw_anew(model.denoiser)
        engine = MotionEngine(model, recipe)
        if self._memory is None:
            engine.fit_memory(batches=True)
            self._memory = engine.memory
        elif self._memory.checkpointing:
            model.denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
        assert self._memory is not None
        engine.batch = self._memory.batch
        return engine

    def _clips(self, engine: MotionEngine) -> list[PreparedClip]:
        """All clips as the recipe sees them; the next recipe shares them where it differs in the gradient alone."""
        shaping = engine.recipe.model_dump(mode="json", include={"motion", "contrast", "noise"})
        key = json.dumps(shaping)
        if key != self._prepared[0]:
            self._prepared = "", []  # gone before there are others: clips of large models are large
            self._prepared = (
                key,
                [
                    engine.prepare(row.video, query=clips is self._queries)
                    for clips in (self._train, self._queries)
                    for row in clips.rows
                ],
            )
        return self._prepared[1]


def with_scales(engine: MotionEngine, clips: Sequence[PreparedClip], captions: Sequence[str]) -> MotionEngine:
    """The engine with what its recipe measures, if anything, on some of the clips.

    Raises EvaluationError where none of them moves or has a finite gradient.
    """
    moving = [(clip, caption) for clip, caption in zip(clips, captions, strict=False) if clip.motion.moves]
    pairs = moving[:: max(1, -(-len(moving) // _SCALED_BY))]
    if engine.recipe.latent_normalisation == "channels":
        engine = engine.with_channel_scales(channel_scales(_measured(engine.channel_errors, pairs)))
    if engine.recipe.gradient_normalisation == "tensors":
        engine = engine.with_gradient_scales(gradient_scales(_measured(engine.gradient_squares, pairs)))
    return engine


def _measured(
    measure: Callable[[PreparedClip, str], torch.Tensor], pairs: Sequence[tuple[PreparedClip, str]]
) -> torch.Tensor:
    found = [values for values in (measure(*pair) for pair in pairs) if torch.isfinite(values).all() and values.any()]
    if not found:
        raise EvaluationError("no training clip moves and has a gradient that is finite: nothing can be scored by it")
    return torch.stack(found)


def _draw_anew(denoiser: torch.nn.Module) -> None:
    """Gives the network the weights it had before all training, but for chance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = type(denoiser).from_config(denoiser.config)  # type: ignore[attr-defined]
    denoiser.load_state_dict(fresh.state_dict())
