"""The models that fidelity is measured on, and the clips."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from benchmarks.cogvideox import FOLDER, TIMESTEP, trained_cogvideox
from motiontrace.attribution.engine import MotionEngine, PreparedClip, plan_recipe
from motiontrace.attribution.errors import GradientError
from motiontrace.attribution.families import find_checkpoint, load_model
from motiontrace.commands.demo import CHECKPOINT
from motiontrace.curation.evaluation.gradients import with_scales
from motiontrace.demo.corpus import SPLITS, write_corpus
from motiontrace.indexer.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from motiontrace.attribution.engine import ClipSketch
    from motiontrace.attribution.families import VideoDiffusionModel
    from motiontrace.attribution.recipe import Recipe


@dataclass(frozen=True)
class Architecture:
    """A trained model, loaded anew for every engine: factorised gradients leave their hooks on it."""

    name: str
    checkpoint: Path
    """What its recipe is planned for."""
    load: Callable[[str, str], VideoDiffusionModel]
    """Number format and device to the model."""
    preset: str = "paper"
    scales: Mapping[str, Any] = field(default_factory=dict)
    """Channel and gradient scales of its recipes; empty before `measured`."""

    def recipe(self, settings: Mapping[str, Any]) -> Recipe:
        """The preset but for some settings; of CogVideoX it names what encodes the clips."""
        checkpoint = find_checkpoint(str(self.checkpoint))
        return plan_recipe(checkpoint, {**self.scales, **settings}, preset=self.preset)

    def measured(self, clips: Sequence[Clip]) -> Architecture:
        """The same with the scales of its recipe, if it has any, measured on some of `clips`."""
        engine = self.engine({})
        engine = with_scales(engine, [clip.prepared for clip in clips], [clip.caption for clip in clips])
        found = engine.recipe.model_dump(include={"channel_scales", "gradient_scales"}, exclude_none=True)
        return replace(self, scales=found)

    def engine(self, settings: Mapping[str, Any], *, batch: int = 1, device: str = "cpu") -> MotionEngine:
        """An engine that takes `batch` clips a pass."""
        recipe = self.recipe(settings)
        engine = MotionEngine(self.load(recipe.dtype, device), recipe)
        engine.batch = batch
        return engine


@dataclass(frozen=True)
class Clip:
    """A clip of the demo's corpus in which something moves."""

    prepared: PreparedClip
    as_query: PreparedClip
    """As it asks: recipes may weigh queries in another way."""
    caption: str
    motion: str


def wan_at(checkpoint: Path, name: str = "Wan") -> Architecture:
    """A Wan checkpoint."""
    return Architecture(
        name,
        checkpoint,
        lambda dtype, device: load_model(
            find_checkpoint(str(checkpoint)), timesteps=[TIMESTEP], dtype=dtype, device=device
        ),
    )


ARCHITECTURES = {
    "wan": wan_at(CHECKPOINT),
    "cogvideox": Architecture(
        "CogVideoX", CHECKPOINT, lambda dtype, device: trained_cogvideox(FOLDER, dtype=dtype, device=device)
    ),
}


def corpus() -> Path:
    """The demo's corpus, rendered where it is not there."""
    folder = FOLDER / "corpus"
    if not (folder / "corpus.json").is_file():
        write_corpus(folder)
    return folder


def moving_clips(architecture: Architecture, folder: Path, count: int) -> list[Clip]:
    """At most `count` clips of the corpus in `folder`, of either split and in random order, always the same."""
    rows = [row for split in SPLITS for row in read_manifest(folder / split / "metadata.jsonl")]
    random.Random(0).shuffle(rows)
    engine = architecture.engine({})
    clips: list[Clip] = []
    for row in rows:
        if len(clips) == count:
            break
        prepared = engine.prepare(row.video)
        if prepared.motion.moves:
            as_query = engine.prepare(row.video, query=True)
            clips.append(Clip(prepared, as_query, row.caption, row.metadata["motion"]))
    return clips


def asking(architecture: Architecture, clips: Sequence[Clip]) -> list[Clip]:
    """`clips` as they ask; none where the recipe weighs queries as the clips that they rank."""
    if architecture.recipe({}).motion.weight != "query":
        return []
    return [replace(clip, prepared=clip.as_query) for clip in clips]


def sketches_of(engine: MotionEngine, clips: Sequence[Clip]) -> list[ClipSketch]:
    """The engine's sketches of `clips`; raises the first error there is."""
    sketches: list[ClipSketch] = []
    for sketch in engine.sketch([clip.prepared for clip in clips], [clip.caption for clip in clips]):
        if isinstance(sketch, GradientError):
            raise sketch
        sketches.append(sketch)
    return sketches
