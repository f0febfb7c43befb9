"""Indexing runs into a home of their own, and what they left there."""

import json
from copy import copy

import numpy as np

from motiontrace.attribution.engine import load_engine, plan_recipe
from motiontrace.attribution.families import find_checkpoint
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.publishing import open_index
from motiontrace.catalog.repositories import ClipRepository, EntryRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import Searcher
from motiontrace.indexer.calibration import calibrate
from motiontrace.indexer.manifest import read_manifest
from motiontrace.indexer.run import IndexingSettings, index_clips
from motiontrace.indexer.sketches import KeptSketches


def tiny_engine(model):
    """An engine that takes four clips at once, whatever this machine, at this moment, finds worth while."""
    engine = load_engine(model, plan_recipe(find_checkpoint(model), {}), device="cpu")
    engine.batch = 4
    return engine


def write_manifest(folder, names, **extra):
    rows = [{"file_name": f"{name}.mp4", "caption": f"a square moves {name}", "id": name, **extra} for name in names]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(home, folder, engine, name="test", **settings):
    return run_rows(home, read_manifest(folder), engine, name, **settings)


def run_rows(home, rows, engine, name="test", on_row=None, batch=None, **settings):
    engine = copy(engine)
    engine.batch = batch or engine.batch
    places = CatalogSettings(home=home)
    upgrade(places.url)
    database = Database.open(places.url)
    try:
        index, store, recovered = open_index(database, places, name, recipe=engine.recipe, model="there")
        with store:
            how, kept = IndexingSettings(**settings), KeptSketches(places, name, engine.recipe)
            return index_clips(rows, engine, database, store, index, recovered, kept, how, on_row)
    finally:
        database.close()


def run_new(home, folder, engine, calibration, **settings):
    """Learn a basis and make an index by it; the engine by its recipe, the basis and the summary."""
    places = CatalogSettings(home=home)
    calibrated = calibrate(read_manifest(folder), engine, places, "test", calibration)
    return calibrated, run(home, folder, calibrated.engine, **settings)


def entries(home, index_id=1):
    database = Database.open(CatalogSettings(home=home).url)
    try:
        with database.reading() as session:
            return EntryRepository(session).get_many(index_id, ClipRepository(session).get_many(all_ids(session)))
    finally:
        database.close()


def clip(home, clip_id):
    database = Database.open(CatalogSettings(home=home).url)
    with database.reading() as session:
        found = ClipRepository(session).get(clip_id)
    database.close()
    return found


def all_ids(session):
    return [clip.id for clip in ClipRepository(session).page(limit=1000).items]


def vectors(home, engine):
    searcher = Searcher.open(CatalogSettings(home=home).index_directory / "test", engine.recipe.digest)
    scores = searcher.scores(np.zeros(engine.recipe.dim, np.float32))
    return {clip_id: searcher.vector(clip_id).tobytes() for clip_id in scores.ids}


def calls_of(engine, monkeypatch, fault=lambda captions: None):
    """The captions of each call of `engine.sketch`; `fault` may raise for them."""
    compute, calls = engine.sketch, []

    def heard(clips, captions):
        calls.append([caption.removeprefix("a square moves ") for caption in captions])
        fault(calls[-1])
        return compute(clips, captions)

    monkeypatch.setattr(engine, "sketch", heard)
    return calls


def other_world(clips: int, width: int) -> np.ndarray:
    """Sketches that have three directions in common with one another, and none with real ones."""
    random = np.random.default_rng(0)
    sketches = random.standard_normal((clips, 3)) @ random.standard_normal((3, width))
    return (sketches / np.linalg.norm(sketches, axis=1, keepdims=True)).astype(np.float32)
