"""motiontrace select on a small real index: queries, what is chosen, what is written, and the same again."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from motiontrace.catalog.database import Database
from motiontrace.catalog.repositories import LabelRepository
from motiontrace.cli import app, register
from motiontrace.commands.progress import QUERIES
from motiontrace.commands.selecting import _by_votes, steps
from motiontrace.curation.selection.errors import ChangedError, SelectionError
from tests.service.conftest import copy_of

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

MOVING = 8


@pytest.fixture(scope="module", autouse=True)
def verbs() -> None:
    register()


@pytest.fixture
def settings(corpus: Corpus, tmp_path: Path) -> ServiceSettings:
    return copy_of(corpus, tmp_path)


@pytest.fixture
def generated(corpus: Corpus, tmp_path: Path) -> Path:
    """Three generated videos that vote, one in which nothing moves, and one that is none."""
    folder = tmp_path / "generated"
    folder.mkdir()
    for name in ("up-red", "left blue", "right-red", "still", "broken"):
        shutil.copy(corpus.video(name), folder)
        (folder / f"{name}.txt").write_text(f"a square, {name}\n")
    return folder


def run(settings: ServiceSettings, verb: str, *arguments: object, **variables: str) -> Result:
    environment: dict[str, str | None] = {"MOTIONTRACE_HOME": str(settings.home), "MOTIONTRACE_DEVICE": "cpu"}
    return CliRunner().invoke(app, [verb, *map(str, arguments)], env=environment | variables)


def select(settings: ServiceSettings, *arguments: object, **variables: str) -> Result:
    result = run(settings, "select", *arguments, **variables)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def document(settings: ServiceSettings, *arguments: object, **variables: str) -> dict[str, Any]:
    return json.loads(select(settings, *arguments, "--json", **variables).stdout)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_folder_of_generated_videos_chooses_clips_and_the_same_again(
    settings: ServiceSettings, generated: Path, tmp_path: Path
) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    asked = ("--queries", generated, "--budget", "4", "--percentile", "75", "--name", "squares", "--output", out)
    said = select(settings, *asked)
    assert "4 of the 8 clips that move in tiny, by 3 queries" in said.stdout
    assert "nothing moves, not ranked  1" in said.stdout
    assert f"{out}: 4 clips, videos 4 linked" in said.stdout
    assert "still.mp4: nothing moves in it" in said.stderr
    assert "broken.mp4: broken.mp4 is not a video" in said.stderr
    chosen = rows(out)
    assert len(chosen) == 4
    ranks = [row["rank"] for row in chosen]
    assert ranks == sorted(set(ranks)) and set(ranks) <= set(range(1, MOVING + 1))
    assert all((out / row["file_name"]).is_file() for row in chosen)
    assert sum(row["votes"] for row in chosen) > 0

    shutil.rmtree(generated)  # what is stored is enough
    select(settings, "--repeat", "squares", "--output", again)
    assert rows(again) == chosen
    listed = run(settings, "selections").stdout
    assert "squares" in listed
    assert json.loads((out / "selection.json").read_text())["id"] in listed
    (entry,) = json.loads(run(settings, "selections", "--json").stdout)
    assert (entry["name"], entry["counts"]["chosen"], entry["settings"]["percentile"]) == ("squares", 4, 75)


def test_clips_are_chosen_by_votes_where_that_is_asked_for(settings: ServiceSettings, generated: Path) -> None:
    asked = ("--queries", generated, "--budget", "4")
    found = document(settings, *asked, "--choose-by", "votes")
    assert found["settings"]["choose_by"] == "votes"
    assert document(settings, *asked)["settings"]["choose_by"] == "matching"
    assert document(settings, *asked, MOTIONTRACE_CHOOSE_BY="votes")["chosen_sha256"] == found["chosen_sha256"]
    refused = run(settings, "select", *asked, "--choose-by", "chance")
    assert refused.exit_code == 2 and "'matching', 'votes'" in refused.output


def test_one_video_with_its_prompt_and_everything_but_the_worst(
    settings: ServiceSettings, corpus: Corpus, tmp_path: Path
) -> None:
    asked = ("--query", corpus.video("up-red"), "--prompt", "a square, up-red", "--drop-worst", "25%")
    found = document(settings, *asked, "--output", tmp_path / "clips.parquet", "--format", "parquet")
    assert found["counts"]["ranked"] == MOVING
    assert (found["counts"]["chosen"], found["counts"]["dropped_as_worst"]) == (6, 2)
    assert (found["written"], found["placed"]) == (6, {})
    kept = document(settings, *asked, "--keep-no-motion")
    assert (kept["counts"]["chosen"], kept["counts"]["no_motion_kept"]) == (6, 1)


def test_a_stored_query_names_its_index_and_needs_no_model(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from motiontrace.catalog.publishing import open_index
    from motiontrace.catalog.repositories import IndexRepository, QueryRepository
    from motiontrace.catalog.vectors import Searcher

    monkeypatch.setattr("motiontrace.attribution.engine.load_engine", None)
    database = Database.open(settings.url)
    with database.writing() as session:
        index = IndexRepository(session).get("tiny")
        vector = Searcher.open(settings.index_directory / "tiny", index.recipe_digest).vector("up-red")
        asked = (
            QueryRepository(session)
            .create_answered(
                index, clip_id="up-red", k=1, filter=None, outcome="ranked", gradient=vector, result={}, timings={}
            )
            .id
        )
    open_index(database, settings, "another", recipe=corpus.recipe, model="/m")[1].close()
    database.close()
    found = document(settings, "--stored", asked, "--stored", "unknown", "--budget", "1")
    assert found["index"] == "tiny"
    assert [query.get("left_out") for query in found["queries"]] == [None, "there is no query of this id"]


def test_labels_floors_and_reports_come_with_the_command(
    settings: ServiceSettings, corpus: Corpus, tmp_path: Path
) -> None:
    asked = ("--query", corpus.video("up-red"), "--prompt", "a square", "--budget", "4")
    database = Database.open(settings.url)
    with database.writing() as session:
        LabelRepository(session).put("up-red", verdict=None, decision="drop", tool="api")
        LabelRepository(session).put("left-red", verdict=None, decision="down_weight", tool="api")
    database.close()
    report = tmp_path / "report.jsonl"
    floors = ("--at-least", "motion:down=1", "--at-least", "motion:left=1")
    said = select(settings, *asked, *floors, "--report", report, "--down-weight", "0.25").stdout
    assert "dropped by reviewers" in said
    assert "motion:down" in said
    fates = {row["id"]: row for row in map(json.loads, report.read_text(encoding="utf-8").splitlines())}
    assert fates["up-red"]["fate"] == "dropped_by_label"
    assert fates["left-red"]["weight"] == 0.25
    assert {fates["left-red"]["fate"], fates["down-red"]["fate"]} <= {"chosen", "chosen_by_floor"}
    ignored = document(settings, *asked, "--ignore-labels")
    assert ignored["counts"]["dropped_by_label"] == 0


def test_settings_come_from_flag_over_variable(settings: ServiceSettings, corpus: Corpus) -> None:
    asked = ("--query", corpus.video("up-red"), "--prompt", "a square")
    variables = {"MOTIONTRACE_BUDGET": "3", "MOTIONTRACE_AT_LEAST": "motion:up=1 motion:down=1"}
    by_variable = document(settings, *asked, **variables)["settings"]
    assert (by_variable["budget"], by_variable["at_least"]) == ("3", ["motion:up=1", "motion:down=1"])
    by_flag = document(settings, *asked, "--budget", "2", "--precondition", "whiten", "--damping", "0.5", **variables)
    assert (by_flag["settings"]["budget"], by_flag["settings"]["damping"]) == ("2", 0.5)


def test_a_changed_index_is_told_and_chosen_from_anew_when_allowed(settings: ServiceSettings, corpus: Corpus) -> None:
    asked = ("--query", corpus.video("up-red"), "--prompt", "a square", "--budget", "2", "--name", "first")
    first = document(settings, *asked)
    database = Database.open(settings.url)
    with database.writing() as session:
        LabelRepository(session).put("up-red", verdict=None, decision="drop", tool="api")
    database.close()
    refused = run(settings, "select", "--repeat", "first")
    assert refused.exit_code == 1
    assert isinstance(refused.exception, ChangedError)
    assert "1 labelled by reviewers (up-red)" in str(refused.exception)
    anew = document(settings, "--repeat", "first", "--allow-changes", "--name", "second")
    assert anew["id"] != first["id"]
    assert anew["settings"] == first["settings"]
    assert anew["queries"] == first["queries"]
    assert anew["counts"]["dropped_by_label"] == 1
    assert document(settings, "--repeat", "second")["id"] == anew["id"]


def test_what_fails_while_writing_says_that_the_selection_is_stored(
    settings: ServiceSettings, corpus: Corpus, tmp_path: Path
) -> None:
    asked = ("--query", corpus.video("up-red"), "--prompt", "a square", "--budget", "2", "--format", "captions")
    failed = run(settings, "select", *asked, "--link", "none", "--output", tmp_path / "out")
    assert isinstance(failed.exception, SelectionError)
    (stored,) = json.loads(run(settings, "selections", "--json").stdout)
    assert f"The selection is stored: --repeat {stored['id']}" in failed.stderr


def test_a_name_that_is_taken_is_refused_before_anything_is_computed(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--query", corpus.video("up-red"), "--prompt", "a square", "--budget", "2", "--name", "first")
    select(settings, *asked)
    monkeypatch.setattr("motiontrace.curation.selection.queries.QueryGradients.of", None)
    failed = run(settings, "select", *asked)
    assert "a selection named 'first' is there already" in str(failed.exception)


def test_no_query_that_votes_is_an_error_with_every_reason(settings: ServiceSettings, corpus: Corpus) -> None:
    still = ("--query", corpus.video("still"), "--prompt", "a", "--query", corpus.video("broken"), "--prompt", "b")
    os.mkfifo(settings.home / "pipe.mp4")
    pipe = ("--query", settings.home / "pipe.mp4", "--prompt", "c")
    failed = run(settings, "select", *still, *pipe, "--budget", "2")
    assert failed.exit_code == 1
    assert isinstance(failed.exception, SelectionError)
    assert "still.mp4: nothing moves in it" in str(failed.exception)
    assert "broken.mp4 is not a video" in str(failed.exception)
    assert "pipe.mp4: its file is a named pipe (FIFO), not a file" in str(failed.exception)
    assert json.loads(run(settings, "selections", "--json").stdout) == []
    assert "There is no selection yet" in run(settings, "selections").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "5"), "name what votes"),
        (("--query", "v.mp4", "--budget", "5"), "each --query has its --prompt"),
        (("--stored", "a"), "say how many clips to choose"),
        (("--stored", "a", "--budget", "150%"), "more than all"),
        (("--stored", "a", "--budget", "5", "--at-least", "scene"), "is no floor"),
        (("--stored", "a", "--budget", "5", "--keep-no-motion"), "only where there is no budget"),
        (("--stored", "a", "--budget", "5", "--damping", "1"), "only --precondition whiten"),
        (("--stored", "a", "--repeat", "b"), "it has its own queries"),
        (("--repeat", "b", "--budget", "5%"), "it has its own queries and settings"),
        (("--repeat", "b", "--percentile", "90"), "it has its own queries and settings"),
        (("--stored", "a", "--budget", "1", "--allow-changes"), "it goes with --repeat"),
        (("--repeat", "a", "--name", "b"), "what is repeated has its name already"),
        (("--stored", "a", "--budget", "1", "--percentile", "20"), "greater than or equal to 50"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_at_once(
    arguments: tuple[str, ...], said: str, settings: ServiceSettings
) -> None:
    refused = run(settings, "select", *arguments)
    assert refused.exit_code == 2
    assert said in " ".join(refused.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("floor", "said"),
    [
        ("motoin=1", 'no clip has the column "motoin", which a floor is of: did you mean "motion"? There is "motion".'),
        ("motion:UP=1", 'no clip has "UP" in the column "motion", which a floor is of: did you mean "up"? There are'),
        ("motion:3=1", 'no clip has "3" in the column "motion"'),
    ],
)
def test_a_floor_of_what_no_clip_has_is_refused_before_anything_is_computed(
    floor: str, said: str, settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motiontrace.attribution.engine.load_engine", lambda *_: pytest.fail("the model was loaded"))
    query = ("--query", corpus.video("up-red"), "--prompt", "a", "--budget", "3")
    failed = run(settings, "select", *query, "--at-least", floor)
    assert isinstance(failed.exception, SelectionError)
    assert said in str(failed.exception)


def test_a_selection_that_nobody_made_is_named(settings: ServiceSettings) -> None:
    failed = run(settings, "select", "--repeat", "mine")
    assert isinstance(failed.exception, SelectionError)
    assert "there is no selection 'mine': motiontrace selections lists them" in str(failed.exception)


def test_progress_is_told_with_and_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for console in (Console(stderr=True), Console(stderr=True, force_terminal=True, width=120)):
        with steps(console, "asking", QUERIES, 3) as step:
            for done in range(1, 4):
                step(done, 3, kept=0)
        said = capsys.readouterr().err
        assert all(part in said for part in ("asking", "3/3 queries"))


def test_many_numbers_of_votes_are_told_in_ranges() -> None:
    assert _by_votes({"2": 5, "1": 7}) == [("2 votes", 5), ("1 vote", 7)]
    rows = _by_votes({str(votes): 1 for votes in range(51)})
    assert rows[0] == ("44 to 50 votes", 7)
    assert (len(rows), sum(clips for _, clips in rows)) == (8, 51)
    assert _by_votes({}) == []
