"""An index from a manifest: read the rows, check, load the model, measure, calibrate, then index every clip.

Whatever can be refused cheaply is refused before the model is loaded.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from motiontrace.attribution.families import find_checkpoint
from motiontrace.attribution.presets import PRESETS, check_settings
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.publishing import check_recipe, claim, open_index, recipe_of
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.vectors.store import check_empty
from motiontrace.indexer.manifest import read_manifest, require_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from motiontrace.attribution.basis import Basis
    from motiontrace.attribution.engine import MotionEngine
    from motiontrace.attribution.families import Checkpoint
    from motiontrace.attribution.recipe import Recipe
    from motiontrace.catalog.records import IndexRecord
    from motiontrace.catalog.settings import CatalogSettings
    from motiontrace.catalog.vectors.lock import WriterLock
    from motiontrace.indexer.calibration import Calibrated
    from motiontrace.indexer.manifest import ManifestRow, RefusedRow
    from motiontrace.indexer.measuring import KeptScales
    from motiontrace.indexer.summary import Result, Summary

Part = Literal["channels", "gradients", "basis", "clips"]
"""What is worked on: scales of the latent channels, scales of the gradients, the basis, then the index itself."""


class Listener(Protocol):
    """Is called as an index is built, in the thread that builds it."""

    def planned(self, clips: int, refused: Sequence[RefusedRow]) -> None:
        """The manifest is read and has `clips` clips; this run holds the index's lock."""
        ...

    def loading(self, what: str) -> None:
        """`what` is loading, which may take minutes."""
        ...

    def loaded(self, recipe: Recipe) -> None:
        """The model is loaded. The recipe of a new index lacks what is measured and learned next."""
        ...

    def begin(self, part: Part, clips: int) -> None:
        """A part begins, on at most `clips` clips."""
        ...

    def step(self, done: int, total: int, kept: int) -> None:
        """`done` clips of a sample of `total` are done, `kept` of them by an earlier run. Never called for "clips"."""
        ...

    def measured(self, part: Part, scales: Sequence[float]) -> None:
        """The scales of a new index are known: measured now, or by an earlier run."""
        ...

    def learned(self, calibrated: Calibrated, least: int) -> None:
        """The basis is learned; there is none where fewer than `least` clips move."""
        ...

    def indexed(self, result: Result, kept: bool) -> None:
        """Another row is done; `kept`: nothing had to be computed for it."""
        ...


class Silent:
    """A listener that does nothing. Subclass it to handle only some of the calls."""

    def planned(self, clips: int, refused: Sequence[RefusedRow]) -> None:
        """See `Listener`."""

    def loading(self, what: str) -> None:
        """See `Listener`."""

    def loaded(self, recipe: Recipe) -> None:
        """See `Listener`."""

    def begin(self, part: Part, clips: int) -> None:
        """See `Listener`."""

    def step(self, done: int, total: int, kept: int) -> None:
        """See `Listener`."""

    def measured(self, part: Part, scales: Sequence[float]) -> None:
        """See `Listener`."""

    def learned(self, calibrated: Calibrated, least: int) -> None:
        """See `Listener`."""

    def indexed(self, result: Result, kept: bool) -> None:
        """See `Listener`."""


@dataclass(frozen=True)
class BuiltIndex:
    """A finished run, and what its index is made with."""

    name: str
    recipe: Recipe
    basis: Basis | None
    """None: the index has none, and uses the plain random projection."""
    clips: int
    """Rows of the manifest that are clips."""
    refused: Sequence[RefusedRow]
    """Rows that are no clips, with reasons."""
    summary: Summary
    """What became of each clip."""


def build_index(
    manifest: Path,
    model: str,
    name: str,
    settings: Mapping[str, Any],
    places: CatalogSettings,
    listener: Listener,
    *,
    preset: str | None = None,
    basis_clips: int | None = None,
    strict: bool = False,
    device: str | None = None,
    decoders: int = 2,
    batch: int | None = None,
) -> BuiltIndex:
    """Bring an index up to a manifest; make it where there is none of that name.

    A run that is killed or interrupted goes on where it was when it is called again: see `index_clips`. The order is
    fixed: paths, names and settings are checked, then the index is claimed, then the model is loaded.

    Args:
        manifest: file or folder, as `motiontrace.indexer.manifest` reads it.
        model: checkpoint folder or hub id.
        name: of the index.
        settings: fields of `Recipe` by name, nested ones in part, as far as somebody has set them.
        places: say where the catalog and the vectors are.
        listener: is called as the run goes on.
        preset: named recipe below `settings`; None: what the index, the checkpoint or the default says.
        basis_clips: sample that the basis of a new index is learned from; None: 1,024; 0: no basis.
        strict: refuse a manifest with rows that are no clips.
        device: torch device; None: a GPU if there is one.
        decoders: threads that decode ahead of the model, 1 or more.
        batch: clips that the model takes at once, 1 or more; None: chosen by timing.

    Returns:
        What the index is made with, and what became of each clip.

    Raises:
        ValueError: there is no such preset, or `basis_clips` is out of range.
        ValidationError: a setting is wrong; names the field.
        ManifestError: the manifest cannot be read, or none of its files is there.
        ModelError: the checkpoint cannot be used.
        RecipeMismatchError: the index was made with another checkpoint or version.
        CatalogError: the index has another recipe, another process writes it, or the disk does not take it.
    """
    start = time.monotonic()
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"there is no recipe {preset!r}: there are {' and '.join(PRESETS)}")
    check_settings(settings)
    refused: list[RefusedRow] = []
    rows = read_manifest(manifest, refused.append, strict=strict)
    require_files(manifest, rows)
    checkpoint = find_checkpoint(model)
    upgrade(places.url)
    with closing(Database.open(places.url)) as database:
        lock, existing = _claimed(database, places, name)
        try:
            listener.planned(len(rows), refused)
            build = _Build(rows, checkpoint, places, name, listener, decoders)
            engine, basis = build.prepare(existing, settings, preset, device, batch, basis_clips)
            summary = build.index(engine, database, lock)
        finally:
            lock.release()
    summary.seconds = time.monotonic() - start
    return BuiltIndex(name, engine.recipe, basis, len(rows), refused, summary)


def _claimed(database: Database, places: CatalogSettings, name: str) -> tuple[WriterLock, IndexRecord | None]:
    """The index's lock, and the index: looked for under the lock, as the last writer left it."""
    lock = claim(places, name)
    try:
        with database.reading() as session:
            existing = IndexRepository(session).find(name)
        if existing is None:
            check_empty(places.index_directory / name)
    except BaseException:
        lock.release()
        raise
    return lock, existing


# What needs torch is imported where it is used: that takes seconds, after all that can be refused without it.
@dataclass(frozen=True)
class _Build:
    """A run that holds the index's lock."""

    rows: Sequence[ManifestRow]
    checkpoint: Checkpoint
    places: CatalogSettings
    name: str
    listener: Listener
    decoders: int

    def prepare(
        self,
        existing: IndexRecord | None,
        settings: Mapping[str, Any],
        preset: str | None,
        device: str | None,
        batch: int | None,
        basis_clips: int | None,
    ) -> tuple[MotionEngine, Basis | None]:
        """The engine of the index's recipe, with all that a new recipe measures and learns.

        The index itself is not made yet: settings that the model refuses leave none behind.
        """
        self.listener.loading("the model's code")
        from motiontrace.attribution.basis import Basis
        from motiontrace.attribution.engine import load_engine, plan_recipe
        from motiontrace.indexer.measuring import KeptScales

        self.listener.loading("the model")
        recipe = plan_recipe(self.checkpoint, settings, recipe_of(existing) if existing else None, preset)
        if existing is not None:
            check_recipe(existing, recipe)
        digest = recipe.projection.basis
        basis = None if digest is None else Basis.load(self.places.basis_directory, digest)
        engine = load_engine(self.checkpoint.location, recipe, basis=basis, device=device, batches=True)
        engine.batch = batch or engine.batch
        self.listener.loaded(engine.recipe)
        if existing is not None:
            return engine, basis
        engine = self._measure(engine, KeptScales(self.places, self.name, recipe))
        # A sketch no longer than a gradient is one: there is nothing to choose from.
        if basis is None and basis_clips != 0 and recipe.projection.width > recipe.dim:
            engine, basis = self._learn(engine, basis_clips)
        return engine, basis

    def _measure(self, engine: MotionEngine, kept: KeptScales) -> MotionEngine:
        """The engine with the scales that its recipe divides by; what an earlier run measured is taken."""
        from motiontrace.indexer.measuring import CLIPS, measure_channel_scales, measure_gradient_scales

        most = min(CLIPS, len(self.rows))
        on_clip = lambda done: self.listener.step(done, most, 0)  # noqa: E731
        engine = kept.given_to(engine)
        if engine.recipe.latent_normalisation == "channels":
            if engine.recipe.channel_scales is None:
                self.listener.begin("channels", most)
                engine = measure_channel_scales(self.rows, engine, decoders=self.decoders, on_clip=on_clip)
                kept.save(engine.recipe)
            self.listener.measured("channels", engine.recipe.channel_scales or ())
        if engine.recipe.gradient_normalisation == "tensors":
            if engine.recipe.gradient_scales is None:
                self.listener.begin("gradients", most)
                engine = measure_gradient_scales(self.rows, engine, decoders=self.decoders, on_clip=on_clip)
                kept.save(engine.recipe)
            self.listener.measured("gradients", engine.recipe.gradient_scales or ())
        return engine

    def _learn(self, engine: MotionEngine, clips: int | None) -> tuple[MotionEngine, Basis | None]:
        """The engine with the basis learned from a sample of `clips`; without one where too few of them move."""
        from motiontrace.indexer.calibration import CalibrationSettings, calibrate

        usual = CalibrationSettings(decoders=self.decoders)
        how = usual if clips is None else CalibrationSettings(clips=clips, decoders=self.decoders)
        self.listener.begin("basis", min(how.clips, len(self.rows)))
        calibrated = calibrate(self.rows, engine, self.places, self.name, how, self.listener.step)
        self.listener.learned(calibrated, how.least)
        return calibrated.engine, calibrated.basis

    def index(self, engine: MotionEngine, database: Database, lock: WriterLock) -> Summary:
        """Every clip of the manifest, into the index."""
        from motiontrace.indexer.run import IndexingSettings, index_clips
        from motiontrace.indexer.sketches import KeptSketches

        record, store, recovered = open_index(
            database, self.places, self.name, recipe=engine.recipe, model=self.checkpoint.address, lock=lock
        )
        kept = KeptSketches(self.places, self.name, engine.recipe)
        running = IndexingSettings(decoders=self.decoders)
        with store:
            self.listener.begin("clips", len(self.rows))
            return index_clips(
                self.rows, engine, database, store, record, recovered, kept, running, self.listener.indexed
            )
