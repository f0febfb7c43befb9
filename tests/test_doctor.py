"""motiontrace doctor: what is in order is ok, and each thing that can be wrong is found and told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text, update

from motiontrace.catalog.database import Database
from motiontrace.catalog.publishing import open_index
from motiontrace.catalog.records import IndexRecord, QueryRecord, now
from motiontrace.catalog.repositories import EntryRepository, IndexRepository, QueryRepository
from motiontrace.doctor import Finding, computing, examine
from motiontrace.service.settings import ServiceSettings
from tests.processes import run_command
from tests.service.conftest import copy_of
from tests.service.keys import make_key, revoke_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.service.conftest import Corpus


@pytest.fixture
def settings(corpus: Corpus, tmp_path: Path) -> ServiceSettings:
    return copy_of(corpus, tmp_path)


@pytest.fixture(scope="module")
def decoder() -> list[Finding]:
    """What is found of the decoder, which is this machine's and no home's: half a second."""
    return list(computing.decoder(ServiceSettings()))


@pytest.fixture
def look(
    settings: ServiceSettings, decoder: list[Finding], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Finding]]:
    """Examines the home; gives the findings by what was looked at."""
    monkeypatch.setattr(computing, "decoder", lambda settings: decoder)
    for name in [name for name in os.environ if name.startswith("MOTIONTRACE_")]:
        monkeypatch.delenv(name)

    def look(full: bool = False, **flags: Any) -> dict[str, Finding]:
        return {each.check: each for each in examine({"home": settings.home, "device": "cpu", **flags}, [], full=full)}

    return look


@pytest.fixture
def database(settings: ServiceSettings) -> Any:
    database = Database.open(settings.url)
    yield database
    database.close()


def flip_last_byte(path: Any) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("full", [False, True])
def test_what_is_in_order_is_ok(look: Callable[..., dict[str, Finding]], full: bool) -> None:
    found = look(full)
    assert {check: each.level for check, each in found.items() if each.level == "FAIL"} == {}
    checks = "version, settings file, variables, device, search, decoder, sandbox, home, disk, database, API keys"
    assert [*checks.split(", "), "queue", "clips", "index tiny", "model of tiny"] == list(found)
    assert "8 clips in 1 segments" in found["index tiny"].found
    assert ("digest matches" in found["model of tiny"].found) is full
    assert found["clips"].level == "ok"


def test_a_new_installation_is_told_what_comes_next(look: Callable[..., dict[str, Finding]], tmp_path: Any) -> None:
    found = look(home=tmp_path / "new")
    assert (found["home"].level, found["database"].level) == ("warn", "warn")
    assert "motiontrace index" in found["database"].todo
    assert not (tmp_path / "new").exists(), "to look changes nothing"


def test_a_mistyped_variable_is_found(look: Callable[..., dict[str, Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTIONTRACE_MAX_UPLAOD_BYTES", "1")
    found = look()["variables"]
    assert found.level == "warn"
    assert "MOTIONTRACE_MAX_UPLAOD_BYTES" in found.found
    assert found.todo == "Did you mean MOTIONTRACE_MAX_UPLOAD_BYTES?"


def test_a_setting_that_cannot_be_ends_the_examination(look: Callable[..., dict[str, Finding]]) -> None:
    found = look(port="many")
    assert list(found)[-1] == "settings"
    assert "port" in found["settings"].found


def test_a_broken_settings_file_is_found(
    look: Callable[..., dict[str, Finding]], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "motiontrace.toml").write_text("prot = 1\n")
    monkeypatch.chdir(tmp_path)
    found = look()
    assert found["settings file"].level == "FAIL"
    assert "did you mean port?" in found["settings file"].found
    assert "index tiny" in found, "the rest is looked at nevertheless"


def test_a_device_that_is_not_there_is_found(look: Callable[..., dict[str, Finding]]) -> None:
    found = look(device="gpu")["device"]
    assert (found.level, "MOTIONTRACE_DEVICE" in found.todo) == ("FAIL", True)


def test_a_full_disk_is_found(look: Callable[..., dict[str, Finding]]) -> None:
    assert look(max_upload_bytes=1 << 60)["disk"].level == "FAIL"


def test_an_older_database_is_found(look: Callable[..., dict[str, Finding]], database: Database) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    found = look()
    assert list(found)[-1] == "database"
    assert "0001" in found["database"].found


def test_an_open_address_without_keys_is_found(look: Callable[..., dict[str, Finding]]) -> None:
    found = look(host="0.0.0.0")["API keys"]
    assert (found.level, "keys create" in found.todo) == ("FAIL", True)


def test_keys_that_are_all_revoked_are_told(look: Callable[..., dict[str, Finding]], settings: ServiceSettings) -> None:
    key_id, _ = make_key(settings, "read")
    assert look()["API keys"].level == "ok"
    revoke_key(settings, key_id)
    found = look()["API keys"]
    assert (found.level, "keys create" in found.todo) == ("warn", True)
    assert look(host="0.0.0.0")["API keys"].level == "FAIL"


def test_only_its_own_directories_are_looked_at(
    look: Callable[..., dict[str, Finding]], settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, refused = settings.home / "lost+found", {settings.home / "lost+found"}
    lost.mkdir()
    # As for another user than root, who may run the tests.
    monkeypatch.setattr(os, "access", lambda path, mode, **how: path not in refused)
    assert look()["home"].level == "ok"
    refused.add(settings.index_directory)
    found = look()["home"]
    assert (found.level, str(settings.index_directory) in found.found) == ("FAIL", True)


def test_a_queue_that_nobody_works_on_is_found(look: Callable[..., dict[str, Finding]], database: Database) -> None:
    with database.writing() as session:
        index = IndexRepository(session).get("tiny")
        for number in range(2):
            QueryRepository(session).create(index, prompt="x", video_path=f"/{number}", video_sha256="0" * 64, k=1)
    assert look()["queue"].found == "2 waiting, 0 being worked on"
    with database.writing() as session:
        session.execute(update(QueryRecord).values(created_at=now() - timedelta(minutes=5)))
    found = look()["queue"]
    assert found.level == "FAIL"
    assert "motiontrace worker" in found.found


def test_clips_that_are_gone_are_found(look: Callable[..., dict[str, Finding]], database: Database) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE clips SET path = '/gone.mp4' WHERE id = 'up-red'"))
    found = look()["clips"]
    assert found.level == "warn"
    assert found.found.startswith("1 of 10 ")
    assert "/gone.mp4" in found.found


def test_a_damaged_header_is_found(look: Callable[..., dict[str, Finding]], settings: ServiceSettings) -> None:
    segment = next((settings.index_directory / "tiny").glob("*.segment"))
    content = bytearray(segment.read_bytes())
    content[40] ^= 1
    segment.write_bytes(content)
    assert "does not match its checksum" in look()["index tiny"].found


def test_damaged_vectors_are_found_by_reading_all(
    look: Callable[..., dict[str, Finding]], settings: ServiceSettings
) -> None:
    flip_last_byte(next((settings.index_directory / "tiny").glob("*.segment")))
    assert look()["index tiny"].level == "ok"
    found = look(full=True)["index tiny"]
    assert found.level == "FAIL"
    assert "vectors in the segment" in found.found


def test_a_lost_manifest_is_found(look: Callable[..., dict[str, Finding]], settings: ServiceSettings) -> None:
    (settings.index_directory / "tiny" / "manifest.json").unlink()
    assert "manifest.json is missing" in look()["index tiny"].found


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_faiss_file_that_is_not_its_segments_is_told(
    look: Callable[..., dict[str, Finding]], settings: ServiceSettings, how: str
) -> None:
    file = next((settings.index_directory / "tiny").glob("*.faiss"))
    if how == "missing":
        file.unlink()
    else:
        flip_last_byte(file)
    found = look()["index tiny"]
    assert found.level == "warn"
    assert "1 of 1 FAISS files" in found.found


def test_sums_that_a_segment_should_have_are_missed(
    look: Callable[..., dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look()["index tiny"].level == "ok"  # it has too few rows to need any
    monkeypatch.setattr("motiontrace.catalog.vectors.moments.MIN_ROWS", 1)
    found = look()["index tiny"]
    assert found.level == "warn"
    assert "1 of 1 segments have no sums beside them" in found.found


def test_counts_that_differ_are_found_unless_an_index_run_goes_on(
    look: Callable[..., dict[str, Finding]], settings: ServiceSettings, database: Database, corpus: Corpus
) -> None:
    index, store, _ = open_index(database, settings, "tiny", recipe=corpus.recipe, model=str(corpus.model))
    with store:
        with database.writing() as session:  # as when a run is killed before it swaps the manifest
            EntryRepository(session).forget(index.id, ["up-red"])
        during = look()["index tiny"]
    after = look()["index tiny"]
    assert (during.level, "an index run goes on" in during.found) == ("ok", True)
    assert after.level == "FAIL"
    assert "7 clips with a vector, the manifest 8" in after.found
    assert "motiontrace index" in after.todo


def test_a_missing_model_is_found(look: Callable[..., dict[str, Finding]], database: Database) -> None:
    with database.writing() as session:
        session.execute(update(IndexRecord).values(model="/nowhere/model"))
    assert "/nowhere/model" in look()["model of tiny"].found
    with database.writing() as session:
        session.execute(update(IndexRecord).values(model="nobody/has-this-model"))
    assert look()["model of tiny"].level == "warn"


def test_another_model_at_its_place_is_found_by_reading_it(
    look: Callable[..., dict[str, Finding]], database: Database, corpus: Corpus, tmp_path: Any
) -> None:
    changed = shutil.copytree(corpus.model, tmp_path / "model")
    flip_last_byte(next((changed / "transformer").glob("*.safetensors")))
    with database.writing() as session:
        session.execute(update(IndexRecord).values(model=str(changed)))
    assert look()["model of tiny"].level == "ok"
    found = look(full=True)["model of tiny"]
    assert found.level == "FAIL"
    assert "another model" in found.found


def test_a_basis_that_is_gone_is_found(
    look: Callable[..., dict[str, Finding]], database: Database, corpus: Corpus
) -> None:
    with database.writing() as session:
        session.execute(update(IndexRecord).values(recipe=corpus.recipe.with_basis("ab" * 32).to_json()))
    found = look()["basis of tiny"]
    assert found.level == "FAIL"
    assert "ab" * 32 in found.found


def test_the_command_tells_people_and_programs_and_fails_by_its_exit_code(settings: ServiceSettings) -> None:
    home = ("doctor", "--home", str(settings.home), "--device", "cpu")
    anew = [sys.executable, "-m", "motiontrace", *home, "--json"]  # and not forked: nothing is imported beforehand
    fine = subprocess.run(anew, capture_output=True, text=True, timeout=120)
    assert fine.returncode == 0, fine.stdout + fine.stderr
    found = {each["check"]: each for each in json.loads(fine.stdout)}
    assert found["index tiny"]["level"] == "ok"
    bad = run_command(*home, "--host", "0.0.0.0", COLUMNS="200")
    assert bad.returncode == 1
    assert "FAIL  API keys" in bad.stdout
