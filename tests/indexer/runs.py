"""Indexing runs into a home of their own, and what they left there."""

import json

import numpy as np

from catalog.database import Database, upgrade
from catalog.publishing import open_index
from catalog.repositories import ClipRepository, EntryRepository
from catalog.settings import CatalogSettings
from catalog.vectors import Searcher
from indexer.manifest import read_manifest
from indexer.run import IndexingSettings, index_clips


def write_manifest(folder, names, **extra):
    rows = [{"file_name": f"{name}.mp4", "caption": f"a square moves {name}", "id": name, **extra} for name in names]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(home, folder, engine, name="test", **settings):
    return run_rows(home, read_manifest(folder), engine, name, **settings)


def run_rows(home, rows, engine, name="test", **settings):
    places = CatalogSettings(home=home)
    upgrade(places.url)
    database = Database.open(places.url)
    try:
        index, store, recovered = open_index(database, places, name, recipe=engine.recipe, model="there")
        with store:
            how = IndexingSettings(**settings)
            return index_clips(rows, engine, database, store, index, recovered, how)
    finally:
        database.close()


def entries(home):
    database = Database.open(CatalogSettings(home=home).url)
    try:
        with database.reading() as session:
            return EntryRepository(session).get_many(1, ClipRepository(session).get_many(all_ids(session)))
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
