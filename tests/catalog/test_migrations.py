"""A catalog of an older version is brought up to date with all that it holds, and back; on both databases."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from motiontrace.catalog import database as module
from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.records import EntryRecord
from motiontrace.catalog.repositories import (
    ClipRepository,
    IndexRepository,
    JobRepository,
    LabelRepository,
    LabelStudioRepository,
    QueryRepository,
    SecretRepository,
    SelectionRepository,
    VideoGradient,
    VideoGradientRepository,
)

MOMENT = "2026-01-02 03:04:05.000006+00:00"
STATUSES = ("queued", "running", "done", "failed")
RESULT = {"message": None, "ranked": 1, "top": [{"id": "ä", "score": 0.5}], "bottom": []}
ANSWER: dict[str, Any] = {"outcome": "ranked", "gradient": b"\0\1" * 1024, "result": RESULT, "info": {"video": {}}}


def migrate(connection: Connection, step: Callable[[Config, str], None], revision: str) -> None:
    config = module._alembic_config()
    config.attributes["connection"] = connection
    step(config, revision)


def fill(connection: Connection) -> None:
    """An index, a clip of it, and a query of each status, as the version of revision 0001 left them."""
    insert(connection, "clips", id="ä", path="/a.mp4", caption="A", extra="{}", created_at=MOMENT, updated_at=MOMENT)
    made = {"created_at": MOMENT, "updated_at": MOMENT}
    insert(connection, "indexes", id=7, name="demo", recipe="{}", recipe_digest="d" * 64, model="/m", **made)
    indexed = {"outcome": "indexed", "fingerprint": "f", "segment": "s", "computed_at": MOMENT}
    insert(connection, "entries", index_id=7, clip_id="ä", **indexed)
    for number, status in enumerate(STATUSES):
        began = {} if status == "queued" else {"started_at": MOMENT, "attempts": 1}
        began |= {"stage": "gradient"} if status in ("running", "failed") else {}
        ended = {"finished_at": MOMENT} if status in ("done", "failed") else {}
        ended |= ANSWER | {"timings": {"gradient": 1.5}} if status == "done" else {}
        ended |= {"error_code": "no_gradient", "error_message": "Why: 'so'."} if status == "failed" else {}
        query: dict[str, Any] = {
            "id": status,
            "index_id": 7,
            "prompt": "a 'ball'",
            "video_path": f"/u/{status}/v",
            "video_sha256": "a" * 64,
            "k": 3,
            "status": status,
            "attempts": 0,
            "recipe_digest": "d" * 64,
            "created_at": MOMENT.replace("03:04", f"03:0{number}"),
        }
        insert(connection, "queries", **query | began | ended)


def insert(connection: Connection, table: str, **row: Any) -> None:
    values = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()}
    names = ", ".join(values)
    connection.execute(
        text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in values)})"), values
    )


@pytest.fixture
def old_url(empty_url: str) -> str:
    """A database at revision 0001 with a query of each status."""
    engine = create_engine(empty_url)
    if engine.dialect.name == "sqlite":
        Path(str(engine.url.database)).parent.mkdir()
    with engine.begin() as connection:
        migrate(connection, command.upgrade, "0001")
        fill(connection)
    engine.dispose()
    return empty_url


def test_an_old_catalog_keeps_all_that_it_holds(old_url: str) -> None:
    upgrade(old_url)
    with closing(Database.open(old_url)) as database:
        with database.reading() as session:
            queries = {query_id: QueryRepository(session).get(query_id) for query_id in STATUSES}
            assert IndexRepository(session).overview()[0].counts["indexed"] == 1
        done, failed, running = queries["done"], queries["failed"], queries["running"]
        assert done is not None
        assert failed is not None
        assert running is not None
        assert {name: getattr(done, name) for name in ANSWER} == ANSWER
        assert (done.prompt, done.video_path, done.clip_id, done.filter) == ("a 'ball'", "/u/done/v", None, None)
        assert (failed.status, failed.error_message, failed.stage) == ("failed", "Why: 'so'.", "gradient")
        assert (running.status, running.worker, running.stage, running.attempts) == ("queued", None, None, 1)
        with database.writing() as session:
            taken = [JobRepository(session).claim_next("w", 60.0) for _ in range(3)]
            assert [claimed and claimed[0].id for claimed in taken] == ["queued", "running", None]
            LabelRepository(session).put("ä", verdict="real", decision=None, tool="api")


def test_a_catalog_can_go_back_with_what_the_older_version_knows(old_url: str) -> None:
    upgrade(old_url)
    with closing(Database.open(old_url)) as database:
        with database.writing() as session:
            index = IndexRepository(session).get("demo")
            queries, jobs = QueryRepository(session), JobRepository(session)
            answered: dict[str, Any] = {"outcome": "no_motion", "gradient": None, "result": RESULT, "timings": {}}
            queries.create_answered(index, clip_id="ä", k=1, filter=None, **answered)
            cancelled = queries.create(index, prompt="p", video_path="/v", video_sha256="b" * 64, k=1, filter={"a": 1})
            assert queries.cancel(cancelled.id)
            assert jobs.claim_next("w", 60.0) is not None
        with database.engine.begin() as connection:
            migrate(connection, command.downgrade, "0001")
            rows = connection.execute(text("SELECT id, status FROM queries ORDER BY created_at")).all()
            columns = {column["name"] for column in inspect(connection).get_columns("queries")}
    assert [tuple(row) for row in rows] == [
        ("queued", "queued"),
        ("running", "queued"),
        ("done", "done"),
        ("failed", "failed"),
    ]
    assert not columns & {"clip_id", "filter", "worker", "lease_until"}
    upgrade(old_url)
    Database.open(old_url).close()


LABELS: tuple[dict[str, Any], ...] = (
    {"id": 1, "verdict": "cartoon", "decision": "drop", "note": "flat 'so'", "author": "kim", "current": False},
    {"id": 2, "verdict": None, "decision": None, "note": "mistaken", "author": "", "current": False},
    {"id": 5, "verdict": "réel", "decision": None, "note": "", "author": "kim", "current": True},
)


@pytest.fixture
def labelled_url(old_url: str) -> str:
    """A database at revision 0002, whose clip has a label, one before it, and a withdrawal between them."""
    engine = create_engine(old_url)
    with engine.begin() as connection:
        migrate(connection, command.upgrade, "0002")
        for number, label in enumerate(LABELS):
            moment = MOMENT.replace("03:04", f"03:0{number}")
            insert(connection, "labels", **label, clip_id="ä", tool="api", created_at=moment)
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT setval('labels_id_seq', 5)"))
    engine.dispose()
    return old_url


def test_labels_and_entries_get_room_for_regions_and_keep_what_they_say(labelled_url: str) -> None:
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database:
        with database.writing() as session:
            labels = LabelRepository(session)
            history = labels.history("ä")
            assert [{name: getattr(label, name) for name in LABELS[0]} for label in history] == list(LABELS[::-1])
            assert [(label.ranges, label.boxes) for label in history] == [([], [])] * 3
            assert labels.current(["ä"]) == {"ä": history[0]}
            entry = session.get(EntryRecord, (7, "ä"))
            assert entry is not None
            assert (entry.outcome, entry.segment, entry.motion_region) == ("indexed", "s", None)
            assert [label.confirmed_at for label in history] == [None] * 3
            marked = labels.put("ä", verdict=None, decision=None, tool="api", ranges=[{"start": 0, "end": 1}])
            assert marked.id == 6
        with pytest.raises(IntegrityError), database.engine.begin() as connection:
            label = {"clip_id": "ä", "note": "", "author": "", "tool": "", "current": False, "created_at": MOMENT}
            insert(connection, "labels", **label, decision="burn", ranges="[]", boxes="[]")
        with pytest.raises(IntegrityError), database.engine.begin() as connection:
            insert(connection, "labels", **label)  # nothing is taken for no ranges by itself


def test_a_catalog_with_reviews_can_go_back_and_forth_again(labelled_url: str) -> None:
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database:
        with database.writing() as session:
            ranges = [{"start": 0, "end": 1, "label": ""}]
            label = LabelRepository(session).put("ä", verdict="bad", decision="drop", tool="x", ranges=ranges)
            LabelRepository(session).put("ä", verdict="bad", decision="drop", tool="x", ranges=ranges)
            assert label.confirmed_at is not None
            studio = LabelStudioRepository(session)
            project = studio.add_project("http://labels", 3, "review").id
            studio.put_tasks(project, {9: "ä"})
            task = studio.locked(project, 9)
            assert task is not None
            studio.applied(task, annotation=1, annotated_at=label.created_at, label=label)
            studio.note(project, [9])
            SecretRepository(session).get_or_create("media links")
            entry = session.get(EntryRecord, (7, "ä"))
            assert entry is not None
            entry.motion_region = {"ranges": [], "boxes": []}
        with database.engine.begin() as connection:
            migrate(connection, command.downgrade, "0002")
            seen = inspect(connection)
            labels = connection.execute(text("SELECT id, verdict, decision FROM labels ORDER BY id")).all()
            entries = connection.execute(text("SELECT clip_id, outcome, segment FROM entries")).all()
            columns = {name: {column["name"] for column in seen.get_columns(name)} for name in ("labels", "entries")}
            tables = set(seen.get_table_names())
    assert [tuple(row) for row in labels] == [
        *((each["id"], each["verdict"], each["decision"]) for each in LABELS),
        (6, "bad", "drop"),
    ]
    assert [tuple(row) for row in entries] == [("ä", "indexed", "s")]
    assert tables == {"alembic_version", "api_keys", "clips", "entries", "indexes", "labels", "queries"}
    assert not columns["labels"] & {"ranges", "boxes", "confirmed_at"}
    assert "motion_region" not in columns["entries"]
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database, database.reading() as session:
        assert LabelRepository(session).current(["ä"])["ä"].verdict == "bad"
        assert LabelStudioRepository(session).projects("http://labels") == []


def test_a_catalog_gets_room_for_selections_and_gives_it_up_again(labelled_url: str) -> None:
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database:
        with database.writing() as session:
            index = IndexRepository(session).get("demo")
            kept: dict[str, Any] = {"settings": {}, "queries": [], "counts": {}, "chosen_sha256": "c" * 64}
            SelectionRepository(session).create(
                index,
                selection_id="e" * 32,
                name="ä",
                manifest_version=1,
                gradients=np.zeros((0, 4), np.float32),
                created_at=index.created_at,
                **kept,
            )
            computed = VideoGradient(np.ones(1, np.float32), 1.0)
            VideoGradientRepository(session, "d" * 64).put("a" * 64, "p", computed)
        with pytest.raises(IntegrityError), database.engine.begin() as connection:
            more: dict[str, Any] = {"index_name": "demo", "recipe_digest": "", "manifest_version": 1, "gradients": b""}
            more |= {"settings": {}, "queries": {}, "counts": {}, "chosen_sha256": "", "created_at": MOMENT}
            insert(connection, "selections", id="f" * 32, name="ä", **more)  # a name is one selection's
        with database.engine.begin() as connection:
            migrate(connection, command.downgrade, "0003")
            tables = set(inspect(connection).get_table_names())
    assert not tables & {"selections", "video_gradients"}
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database, database.reading() as session:
        assert SelectionRepository(session).latest() == []


def test_queries_that_are_preconditioned_are_forgotten_where_nobody_would_know_it(labelled_url: str) -> None:
    upgrade(labelled_url)
    answered: dict[str, Any] = {"outcome": "ranked", "gradient": None, "result": RESULT, "timings": {}}
    with closing(Database.open(labelled_url)) as database:
        with database.writing() as session:
            index, queries = IndexRepository(session).get("demo"), QueryRepository(session)
            done = queries.get("done")
            assert done is not None
            assert (done.precondition, done.direction, done.score_offset, done.statistics) == (None,) * 4
            whitened = {"kind": "whiten", "damping": 0.1}
            queries.create_answered(index, clip_id="ä", k=1, filter=None, precondition=whitened, **answered)
            plain = queries.create_answered(index, clip_id="ä", k=1, filter=None, **answered)
        with database.engine.begin() as connection:
            migrate(connection, command.downgrade, "0004")
            left = {row.id for row in connection.execute(text("SELECT id FROM queries"))}
            columns = {column["name"] for column in inspect(connection).get_columns("queries")}
    assert left == {*STATUSES, plain.id}
    assert not columns & {"precondition", "direction", "score_offset", "statistics"}
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database, database.reading() as session:
        assert QueryRepository(session).get(plain.id) is not None


def test_an_index_gets_what_its_clips_have_as_its_own_and_gives_it_up_again(labelled_url: str) -> None:
    engine = create_engine(labelled_url)
    with engine.begin() as connection:
        migrate(connection, command.upgrade, "0005")
        told = {"sha256": "a" * 64, "bytes": 3 << 30, "modified_ns": 1 << 60, "extra": '{"x": [1, null]}'}
        clip = {"path": "/b.mp4", "caption": "B", "created_at": MOMENT, "updated_at": MOMENT}
        insert(connection, "clips", id="of two", **clip, **told)
        insert(connection, "clips", id="of none", **clip, **told)
        insert(
            connection,
            "indexes",
            id=8,
            name="other",
            recipe="{}",
            recipe_digest="d" * 64,
            model="/m",
            created_at=MOMENT,
            updated_at=MOMENT,
        )
        failed = {"clip_id": "of two", "outcome": "failed", "fingerprint": "f", "computed_at": MOMENT}
        insert(connection, "entries", index_id=7, **failed)
        insert(connection, "entries", index_id=8, **failed)
    engine.dispose()
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database:
        with database.writing() as session:
            for key in ((7, "of two"), (8, "of two")):
                entry = session.get(EntryRecord, key)
                assert entry is not None
                assert (entry.path, entry.caption, entry.extra) == ("/b.mp4", "B", {"x": [1, None]})
                assert (entry.sha256, entry.bytes, entry.modified_ns) == ("a" * 64, 3 << 30, 1 << 60)
                assert entry.described_at.isoformat(" ") == MOMENT
            entry.caption = "otherwise"
            assert ClipRepository(session).described(["of none"], 7)["of none"].caption == "B"
        with pytest.raises(IntegrityError), database.engine.begin() as connection:
            insert(connection, "entries", index_id=8, **failed | {"clip_id": "of none"})  # nothing is told by itself
        with pytest.raises(IntegrityError), database.engine.begin() as connection:
            insert(
                connection,
                "entries",
                index_id=8,
                clip_id="of none",
                path="",
                caption="",
                extra="{}",
                described_at=MOMENT,
                outcome="lost",
                fingerprint="f",
                computed_at=MOMENT,
            )
        with database.engine.begin() as connection:
            migrate(connection, command.downgrade, "0005")
            rows = connection.execute(text("SELECT index_id, clip_id, outcome FROM entries ORDER BY 1, 2")).all()
            columns = {column["name"] for column in inspect(connection).get_columns("entries")}
            indexes = {each["name"] for each in inspect(connection).get_indexes("entries")}
    assert [tuple(row) for row in rows] == [(7, "of two", "failed"), (7, "ä", "indexed"), (8, "of two", "failed")]
    assert not columns & {"path", "sha256", "bytes", "modified_ns", "caption", "extra", "described_at"}
    assert indexes == {"ix_entries_clip_id", "ix_entries_index_id_outcome"}
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database, database.reading() as session:
        assert ClipRepository(session).described(["of two"], 8)["of two"].caption == "B"


def test_clips_get_room_for_what_decoding_noticed_and_give_it_up_again(labelled_url: str) -> None:
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database:
        with database.writing() as session:
            clip = ClipRepository(session).get("ä")
            assert clip is not None
            assert (clip.path, clip.caption) == ("/a.mp4", "A")
            assert (clip.damaged_frames, clip.time_jumps) == (None, None)  # nobody has looked
            clip.damaged_frames, clip.time_jumps = 3, 1
        with database.engine.begin() as connection:
            migrate(connection, command.downgrade, "0006")
            columns = {column["name"] for column in inspect(connection).get_columns("clips")}
            assert not columns & {"damaged_frames", "time_jumps"} and "codec" in columns
            assert connection.execute(text("SELECT caption FROM clips")).scalars().all() == ["A"]
            assert connection.execute(text("SELECT count(*) FROM entries")).scalar() == 1
    upgrade(labelled_url)
    with closing(Database.open(labelled_url)) as database, database.reading() as session:
        clip = ClipRepository(session).get("ä")
        assert clip is not None and clip.damaged_frames is None
