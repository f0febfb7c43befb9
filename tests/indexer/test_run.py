"""The indexing run on real files, with a small real model, into a real catalog."""

import json
import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from motiontrace.attribution.engine import load_engine
from motiontrace.attribution.video import VideoLimits
from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.records import ClipRecord, EntryRecord
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.indexer.manifest import read_manifest
from tests.attribution.videos import broken, remux
from tests.indexer.runs import calls_of, clip, entries, run, run_rows, vectors, write_manifest
from tests.videos import FRAMES, moving_square


def test_broken_clips_are_recorded_with_their_reason_and_the_run_goes_on(tmp_path, clips, engine):
    summary = run(tmp_path / "home", clips, engine)
    assert dict(summary.results) == {"indexed": 4, "failed": 2, "no_motion": 1}
    found = entries(tmp_path / "home")
    assert found["broken"].reason_code == "not_a_video"
    assert found["missing"].reason_code == "missing_file"
    assert "correct the path" in found["missing"].reason
    assert found["still"].outcome == "no_motion"
    assert set(vectors(tmp_path / "home", engine)) == {"right", "left", "up", "down"}
    assert [problem.split(":")[0] for problem in summary.problems] == ["line 3", "line 6"]


def test_what_is_no_file_is_recorded_by_its_kind_and_never_waited_for(tmp_path, clips, engine):
    os.mkfifo(clips / "pipe.mp4")
    (clips / "folder.mp4").mkdir()
    (clips / "empty.mp4").touch()
    (clips / "broken-link.mp4").symlink_to("away")
    (clips / "device.mp4").symlink_to("/dev/zero")
    names = ["pipe", "folder", "empty", "broken-link", "device"]
    write_manifest(clips, [*names, "right"])
    summary = run(tmp_path / "home", clips, engine)
    assert dict(summary.results) == {"indexed": 1, "failed": 5}
    found = entries(tmp_path / "home")
    codes = ["not_a_file", "not_a_file", "empty_file", "missing_file", "not_a_file"]
    assert [found[name].reason_code for name in names] == codes
    assert "is a named pipe (FIFO), not a file" in found["pipe"].reason
    assert "is a link to a file that does not exist" in found["broken-link"].reason


def test_when_and_where_a_clip_moves_is_in_its_entry(tmp_path, clips, engine):
    run(tmp_path / "home", clips, engine)
    found = entries(tmp_path / "home")
    region = engine.prepare(clips / "right.mp4").region
    assert found["right"].motion_region == region.to_json()
    first, last = region.keyframes[0], region.keyframes[-1]
    assert last.x > first.x and last.y == pytest.approx(first.y, abs=0.05)
    assert [found[name].motion_region for name in ("still", "broken", "missing")] == [None] * 3


def test_vectors_are_what_the_engine_computes(tmp_path, clips, engine):
    run(tmp_path / "home", clips, engine)
    expected = engine.compute(clips / "up.mp4", "a square moves up").vector
    stored = np.frombuffer(vectors(tmp_path / "home", engine)["up"], np.float32)
    assert np.allclose(stored, expected, atol=1e-6)


def test_second_run_computes_only_what_changed(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    before = vectors(home, engine)
    moving_square(clips / "left.mp4", -3, 1)
    moving_square(clips / "broken.mp4", 1, 1)
    summary = run(home, clips, engine)
    assert dict(summary.results) == {"unchanged": 4, "indexed": 2, "failed": 1}
    after = vectors(home, engine)
    assert {name for name in after if before.get(name) != after[name]} == {"left", "broken"}


def test_changed_metadata_is_kept_without_computing(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    write_manifest(clips, ["right", "left"], source="film")
    assert dict(run(home, clips, engine).results) == {"updated": 2}
    assert clip(home, "left").extra == entries(home)["left"].extra == {"source": "film"}
    assert dict(run(home, clips, engine).results) == {"unchanged": 2}


def test_changed_caption_is_computed_again(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    text = (clips / "metadata.jsonl").read_text().replace("moves right", "flies right")
    (clips / "metadata.jsonl").write_text(text)
    assert run(home, clips, engine).results["indexed"] == 1


def test_two_indexes_of_the_same_files_keep_their_own_captions_and_paths(tmp_path, clips, engine):
    home, others = tmp_path / "home", tmp_path / "others"
    others.mkdir()
    for name in ("right", "left"):
        shutil.copy(clips / f"{name}.mp4", others / f"{name}.mp4")
    write_manifest(clips, ["right", "left"], split="train")
    run(home, clips, engine)
    before = vectors(home, engine)
    write_manifest(others, ["right", "left"], split="test", caption="another story")
    assert dict(run(home, others, engine, "other").results) == {"indexed": 2}
    mine, theirs = entries(home)["left"], entries(home, 2)["left"]
    assert (mine.caption, mine.extra, mine.path) == ("a square moves left", {"split": "train"}, str(clips / "left.mp4"))
    assert (theirs.caption, theirs.extra, theirs.path) == ("another story", {"split": "test"}, str(others / "left.mp4"))
    assert dict(run(home, clips, engine).results) == {"unchanged": 2}
    assert vectors(home, engine) == before
    assert entries(home, 2)["left"].caption == "another story"


@pytest.mark.parametrize("gone", [True, False])
def test_what_fails_in_one_index_takes_nothing_from_another(tmp_path, clips, engine, gone):
    home = tmp_path / "home"
    write_manifest(clips, ["right"])
    run(home, clips, engine)
    before = clip(home, "right")
    if gone:
        (clips / "right.mp4").rename(clips / "away.mp4")
    limits = VideoLimits(max_pixels=1)
    assert dict(run(home, clips, engine, "other", limits=limits).results) == {"failed": 1}
    after = clip(home, "right")
    known = ("sha256", "bytes", "width", "height", "frames", "seconds", "fps", "codec")
    assert [getattr(after, name) for name in known] == [getattr(before, name) for name in known]
    assert after.codec is not None
    assert entries(home, 2)["right"].outcome == "failed"


def test_a_manifest_that_is_corrected_and_run_again_mends_the_index(tmp_path, clips, engine, monkeypatch):
    home = tmp_path / "home"
    names = ["right", "left", "up"]
    write_manifest(clips, names, source="film")
    run(home, clips, engine)
    before = vectors(home, engine)
    lines = [json.loads(line) for line in (clips / "metadata.jsonl").read_text().splitlines()]
    lines[0]["caption"] = "a square flies right"
    lines[1]["source"] = "cartoon"
    (clips / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    calls, heard = calls_of(engine, monkeypatch), []
    summary = run_rows(home, read_manifest(clips), engine, on_row=lambda result, kept: heard.append((result, kept)))
    assert dict(summary.results) == {"indexed": 1, "updated": 1, "unchanged": 1}
    assert sorted(heard) == [("indexed", False), ("unchanged", True), ("updated", True)]
    assert calls == [["a square flies right"]]
    assert {name for name, vector in vectors(home, engine).items() if vector != before[name]} == {"right"}
    found = entries(home)
    assert found["right"].caption == "a square flies right"
    assert found["left"].extra == {"source": "cartoon"}


def test_captions_that_another_index_has_overwritten_are_mended_by_the_manifest(tmp_path, clips, engine):
    """As a catalog is whose captions were all indexes' own until it was brought up to date."""
    home = tmp_path / "home"
    write_manifest(clips, ["right", "left"])
    run(home, clips, engine)
    before = vectors(home, engine)
    with closing(Database.open(CatalogSettings(home=home).url)) as database, database.writing() as session:
        for table in (ClipRecord, EntryRecord):
            session.execute(update(table).values(caption="another story"))
    assert dict(run(home, clips, engine).results) == {"updated": 2}
    assert entries(home)["left"].caption == clip(home, "left").caption == "a square moves left"
    assert vectors(home, engine) == before


def test_a_folder_that_was_moved_is_found_again_without_computing(tmp_path, clips, engine):
    home = tmp_path / "home"
    write_manifest(clips, ["right", "left"])
    run(home, clips, engine)
    clips.rename(tmp_path / "moved")
    assert dict(run(home, tmp_path / "moved", engine).results) == {"updated": 2}
    assert entries(home)["left"].path == str(tmp_path / "moved" / "left.mp4")


def test_clip_that_breaks_leaves_the_index(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    (clips / "up.mp4").write_text("no video any more")
    run(home, clips, engine)
    assert "up" not in vectors(home, engine)
    assert entries(home)["up"].outcome == "failed"


def test_without_ids_content_names_the_clip(tmp_path, clips, engine):
    home = tmp_path / "home"
    shutil.copy(clips / "up.mp4", clips / "again.mp4")
    (clips / "metadata.jsonl").write_text(
        "".join(json.dumps({"file_name": f"{name}.mp4", "caption": "x"}) + "\n" for name in ["up", "down", "again"])
    )
    summary = run(home, clips, engine)
    assert dict(summary.results) == {"indexed": 2, "duplicate": 1}
    assert "same clip as in line 1" in summary.problems[0]
    before = vectors(home, engine)
    moving_square(clips / "down.mp4", 1, 2)
    summary = run(home, clips, engine)
    after = vectors(home, engine)
    assert summary.withdrawn == 1  # the old content of down.mp4
    assert len(after) == 2
    assert len(after.keys() & before.keys()) == 1


def test_an_id_that_is_another_clip_in_another_index_is_refused(tmp_path, clips, engine):
    home, others = tmp_path / "home", tmp_path / "others"
    run(home, clips, engine)
    others.mkdir()
    moving_square(others / "up.mp4", 1, 2)
    shutil.copy(clips / "down.mp4", others / "down.mp4")  # the same clip, elsewhere
    moving_square(others / "new.mp4", 2, 1)
    write_manifest(others, ["up", "down", "new", "missing"])
    summary = run(home, others, engine, "other")
    assert dict(summary.results) == {"failed": 2, "indexed": 2}
    assert "line 1: the id 'up' is another clip in the index 'test'" in summary.problems[0]
    assert str(clips / "up.mp4") in summary.problems[0]
    assert clip(home, "up").path == str(clips / "up.mp4")
    assert clip(home, "missing").path == str(clips / "missing.mp4")
    assert clip(home, "down").path == str(others / "down.mp4")
    # New content at its own path is an update, whoever else has the clip.
    moving_square(others / "down.mp4", 3, 3)
    assert run(home, others, engine, "other").results["indexed"] == 1


def test_a_row_that_no_database_takes_is_reported_and_the_run_goes_on(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    rows = [row for row in read_manifest(clips) if row.id in {"right", "left", "up", "down"}]
    bad = [
        replace(rows[0], metadata={"mean": float("nan")}),
        replace(rows[1], caption="\ud800"),
        replace(rows[2], video=Path("/a\x00b")),
    ]
    summary = run_rows(home, [*bad, rows[3]], engine)
    assert dict(summary.results) == {"failed": 3, "unchanged": 1}
    assert [problem.split(" has ")[0].split(" cannot ")[0] for problem in summary.problems] == [
        "line 1: The metadata",
        "line 2: The caption",
        "line 4: The path",
    ]
    assert clip(home, "right").extra == {}


def test_a_reason_that_no_database_takes_is_reported_and_the_run_goes_on(tmp_path, clips, engine, monkeypatch):
    prepare = engine.prepare

    def quoting(path, **more):
        if path.name == "up.mp4":
            raise ValueError("tag \x00\udcff")
        return prepare(path, **more)

    monkeypatch.setattr(engine, "prepare", quoting)
    summary = run(tmp_path / "home", clips, engine)
    assert dict(summary.results) == {"indexed": 3, "failed": 3, "no_motion": 1}
    assert "line 4: unexpected. The reason has a null character: remove it." in summary.problems


def test_what_was_damaged_and_set_aside_is_reported_and_computed_again(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    before = vectors(home, engine)
    [segment] = (home / "indexes/test").glob("*.segment")
    segment.write_bytes(segment.read_bytes()[:-1] + b"?")
    summary = run(home, clips, engine)
    assert [segment.name in line for line in summary.recovered] == [True, True]
    assert "was set aside, neither used nor deleted" in summary.recovered[1]
    assert summary.results["indexed"] == 4
    assert vectors(home, engine) == before


def test_interrupt_publishes_what_is_finished(tmp_path, clips, engine, monkeypatch):
    home = tmp_path / "home"
    compute, calls = engine.sketch, []

    def interrupted(clips, captions):
        calls.append(captions)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(clips, captions)

    monkeypatch.setattr(engine, "sketch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(home, clips, engine, batch=1)
    assert set(vectors(home, engine)) == {"right", "left"}
    monkeypatch.undo()
    assert dict(run(home, clips, engine).results) == {"unchanged": 2, "failed": 2, "indexed": 2, "no_motion": 1}


def test_another_recipe_is_refused_by_the_field_that_differs(tmp_path, clips, engine, model):
    run(tmp_path / "home", clips, engine)
    other = load_engine(str(model), engine.recipe.model_copy(update={"timesteps": (500.0,)}), device="cpu")
    with pytest.raises(CatalogError, match=r"timesteps: \[751\.0\] != \[500\.0\]"):
        run(tmp_path / "home", clips, other)


def test_a_disk_that_is_away_costs_nothing(tmp_path, clips, engine):
    home = tmp_path / "home"
    run(home, clips, engine)
    before = vectors(home, engine)
    (clips / "up.mp4").rename(tmp_path / "away.mp4")
    summary = run(home, clips, engine)
    assert summary.results["unreachable"] == 1
    assert any("up.mp4" in problem and "is kept" in problem for problem in summary.problems)
    assert vectors(home, engine) == before


def test_ids_given_later_replace_those_of_content(tmp_path, clips, engine):
    home = tmp_path / "home"
    rows = [{"file_name": f"{name}.mp4", "caption": f"a square moves {name}"} for name in ("up", "down")]
    (clips / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(home, clips, engine)
    write_manifest(clips, ["up", "down"])
    assert run(home, clips, engine).withdrawn == 2
    assert set(vectors(home, engine)) == {"up", "down"}


def test_old_content_goes_though_the_run_that_saw_the_new_was_cut_off(tmp_path, clips, engine, monkeypatch):
    home = tmp_path / "home"
    rows = [{"file_name": f"{name}.mp4", "caption": "x"} for name in ("up", "down", "left")]
    (clips / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(home, clips, engine)
    moving_square(clips / "up.mp4", 1, 2)
    moving_square(clips / "left.mp4", 2, 1)
    compute, calls = engine.sketch, []

    def interrupted(clips, captions):
        calls.append(captions)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return compute(clips, captions)

    monkeypatch.setattr(engine, "sketch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(home, clips, engine, publish_clips=1, batch=1)
    monkeypatch.undo()
    run(home, clips, engine)
    assert len(vectors(home, engine)) == 3


def test_what_decoding_noticed_of_a_file_is_stored_and_told(tmp_path, clips, engine):
    shutil.copy(clips / "right.mp4", clips / "whole.mp4")
    broken(clips / "right.mp4", clips / "damaged.mp4", [5])
    part = remux(clips / "right.mp4", clips / "part.ts", lambda number, packet: [packet])
    (clips / "joined.ts").write_bytes(part.read_bytes() * 2)
    names = {"whole.mp4": "whole", "damaged.mp4": "damaged", "joined.ts": "joined"}
    rows = [{"file_name": file, "caption": "a square moves", "id": name} for file, name in names.items()]
    (clips / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    summary = run(tmp_path / "home", clips, engine)
    assert summary.results["indexed"] == 3
    assert summary.remarks == [
        "line 2: damaged.mp4 is damaged in part: 1 picture is missing or not right; 11 were decoded",
        "line 3: joined.ts has a clock that starts again, leaps or stands once: time goes on behind the picture before",
    ]
    found = {name: clip(tmp_path / "home", name) for name in names.values()}
    noticed = {name: (each.damaged_frames, each.time_jumps) for name, each in found.items()}
    assert noticed == {"whole": (0, 0), "damaged": (1, 0), "joined": (0, 1)}
    assert found["joined"].frames == 2 * FRAMES
    assert not run(tmp_path / "home", clips, engine).remarks  # nothing was decoded again
    assert clip(tmp_path / "home", "damaged").damaged_frames == 1
