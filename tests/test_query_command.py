"""motiontrace query, asked of the index itself and of a service, which answer alike."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from motiontrace.answering.errors import QuestionError
from motiontrace.catalog.database import Database
from motiontrace.cli import app, register
from motiontrace.client import Client, ServiceError
from motiontrace.commands.query import _progress
from tests.service.conftest import copy_of
from tests.service.keys import make_key
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus

KEY = "MOTIONTRACE_API_KEY"


@pytest.fixture(scope="module", autouse=True)
def verbs() -> None:
    register()


@pytest.fixture(scope="module")
def settings(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> ServiceSettings:
    return copy_of(corpus, tmp_path_factory.mktemp("query"))


@pytest.fixture(scope="module")
def service(settings: ServiceSettings) -> Iterator[tuple[str, str]]:
    """A service that asks for keys: its URL, and one."""
    _, header = make_key(settings, "query")
    with serving(settings) as (_, url):
        yield url, header.removeprefix("Bearer ")


def query(settings: ServiceSettings, *arguments: object, **variables: str) -> Result:
    environment: dict[str, str | None] = {
        "MOTIONTRACE_HOME": str(settings.home),
        "MOTIONTRACE_DEVICE": "cpu",
        KEY: None,
    }
    return CliRunner().invoke(app, ["query", *map(str, arguments)], env=environment | variables)


def answer(settings: ServiceSettings, *arguments: object, **variables: str) -> dict[str, Any]:
    result = query(settings, *arguments, "--json", **variables)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    "question",
    [
        ("VIDEO", "--prompt", "a square, up-red", "-k", "2"),
        ("VIDEO", "--prompt", "a square", "--metadata", "motion:left", "--metadata", "motion:down"),
        ("--clip", "up-red", "-k", "3"),
        ("--clip", "still"),
        ("--clip", "up-red", "--precondition", "centre"),
        ("VIDEO", "--prompt", "a square", "--precondition", "whiten", "--damping", "0.5"),
    ],
)
def test_the_index_and_a_service_answer_alike(
    question: tuple[str, ...], settings: ServiceSettings, service: tuple[str, str], corpus: Corpus
) -> None:
    arguments = [str(corpus.video("up-red")) if each == "VIDEO" else each for each in question]
    direct = answer(settings, *arguments)
    url, key = service
    asked = answer(settings, *arguments, "--url", url, **{KEY: key})
    same = (
        "index",
        "prompt",
        "clip",
        "k",
        "filter",
        "precondition",
        "damping",
        "outcome",
        "statistics",
        "message",
        "ranked",
        "top",
        "bottom",
    )
    for hit in direct["top"] + direct["bottom"]:
        assert hit["path"] == str(corpus.directory / hit["file_name"])
        hit["path"] = None  # which the service, without a media root, does not tell
    assert {name: direct[name] for name in same} == {name: asked[name] for name in same}
    assert direct["status"] == asked["status"] == "done"


def test_a_service_is_said_to_have_the_query_by_its_id(settings: ServiceSettings, service: tuple[str, str]) -> None:
    url, key = service
    with Client(url, api_key=key) as client:
        result = query(settings, "--clip", "up-red", "--url", url, **{KEY: key})
        assert result.stdout.splitlines()[-1] == f"query {next(client.queries()).id}"
    assert "\nquery " not in query(settings, "--clip", "up-red").stdout


def kept(settings: ServiceSettings, *arguments: object) -> str:
    """The id that the command prints of an answer that it keeps."""
    said = query(settings, *arguments, "--keep")
    assert said.exit_code == 0, (said.output, said.exception)
    found = re.fullmatch(r"query ([0-9a-f]{32})", said.stdout.splitlines()[-1])
    assert found
    return found[1]


@pytest.mark.parametrize(
    "question",
    [
        ("VIDEO", "--prompt", "a square moves", "-k", "2"),
        ("--clip", "up-red", "--metadata", "motion:down", "--precondition", "centre"),
        ("--clip", "still"),
    ],
)
def test_an_answer_that_is_kept_is_the_one_of_a_service(
    question: tuple[str, ...], settings: ServiceSettings, service: tuple[str, str], corpus: Corpus
) -> None:
    arguments = [str(corpus.video("up-red")) if each == "VIDEO" else each for each in question]
    query_id = kept(settings, *arguments)
    url, key = service
    with Client(url, api_key=key) as client:
        stored = client.query(query_id)
        places = [(hit.id, hit.score) for hit in client.ranking(query_id)]
    asked = answer(settings, *arguments)
    same = ("index", "prompt", "clip", "k", "filter", "precondition", "outcome", "message", "ranked", "statistics")
    found = stored.model_dump(mode="json")
    assert {name: found[name] for name in same} == {name: asked[name] for name in same}
    assert [hit["id"] for hit in found["top"]] == [hit["id"] for hit in asked["top"]]
    assert (found["status"], found["timings"].keys() >= {"scoring"}) == ("done", True)
    assert len(places) == asked["ranked"]
    assert places[: len(found["top"])] == [(hit["id"], pytest.approx(hit["score"])) for hit in found["top"]]


def test_a_video_is_not_computed_again_once_its_answer_is_kept(settings: ServiceSettings, corpus: Corpus) -> None:
    question = (corpus.video("down-red"), "--prompt", "asked twice")
    query_id = kept(settings, *question)
    assert answer(settings, *question)["gradient_of"] == query_id
    assert corpus.video("down-red").exists()


def test_a_kept_answer_votes_without_a_model(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    query_id = kept(settings, corpus.video("up-red"), "--prompt", "a square moves up")
    monkeypatch.setattr("motiontrace.attribution.engine.load_engine", None)
    environment = {"MOTIONTRACE_HOME": str(settings.home)}
    chosen = CliRunner().invoke(app, ["select", "--stored", query_id, "--budget", "1", "--json"], env=environment)
    assert chosen.exit_code == 0, (chosen.output, chosen.exception)
    assert json.loads(chosen.stdout)["counts"]["chosen"] == 1


def test_an_answer_that_cannot_be_kept_is_refused_before_it_is_computed(
    settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motiontrace.answering.ask.Engines", lambda *_: pytest.fail("the model would be loaded"))
    monkeypatch.setattr("motiontrace.catalog.sqlite.BUSY_SECONDS", 0.1)
    question = (corpus.video("up-red"), "--prompt", "never asked", "--keep")
    with closing(Database.open(settings.url)) as other, other.writing() as session:
        session.connection()
        refused = query(settings, *question)
    assert isinstance(refused.exception, QuestionError)
    assert "could not be kept. The database sqlite:///" in str(refused.exception)
    refused = query(settings, corpus.video("up-red"), "--prompt", "\udc80", "--keep")
    assert "The prompt cannot be written as UTF-8" in str(refused.exception)


def test_clips_are_left_out_by_their_labels(settings: ServiceSettings, service: tuple[str, str]) -> None:
    url, key = service
    with Client(url, api_key=key) as client:
        client.label("up-red", verdict="unrealistic", decision="drop")
        client.label("left-red", verdict="realistic", decision="keep")
    kept = answer(settings, "--clip", "down-red", "--without-decision", "drop")
    assert kept["ranked"] == 6
    assert "up-red" not in {hit["id"] for hit in kept["top"]}
    assert [hit["id"] for hit in answer(settings, "--clip", "down-red", "--verdict", "realistic")["top"]] == [
        "left-red"
    ]
    assert answer(settings, "--clip", "down-red", "--decision", "drop")["top"][0]["verdict"] == "unrealistic"
    assert answer(settings, "--clip", "down-red", "--without-verdict", "realistic")["ranked"] == 6


def test_people_read_a_table(settings: ServiceSettings) -> None:
    shown = query(settings, "--clip", "up-red").stdout
    assert "most like up-red (of 7 clips in tiny)" in shown  # too few to tell what chance explains
    assert "7 clips are too few to tell what stands out from chance" in shown
    assert "moves least like it" in shown
    assert "statistics" not in shown
    whitened = query(settings, "--clip", "up-red", "--precondition", "whiten").stdout
    assert re.search(r"whitened \(damping 0\.1\) by statistics [0-9a-f]{12} of 8 clips", whitened)


def test_a_service_that_asks_for_a_key_refuses_the_wrong_one_and_never_shows_it(
    settings: ServiceSettings, service: tuple[str, str]
) -> None:
    url, key = service
    wrong = key[:-4] + "0000"
    refused = query(settings, "--clip", "up-red", "--url", url, "--api-key", wrong)
    assert isinstance(refused.exception, ServiceError)
    assert "not known here" in str(refused.exception)
    shown = query(settings, "--help", **{KEY: key}).output
    assert wrong not in refused.output + str(refused.exception)
    assert key not in shown
    assert KEY in shown


def test_no_progress_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    for console, shown in ((Console(stderr=True), False), (Console(stderr=True, force_terminal=True), True)):
        with _progress(console) as show:
            show("queued, number 3 in line")
        assert ("number 3 in line" in capsys.readouterr().err) == shown


def test_center_is_read_as_centre(settings: ServiceSettings) -> None:
    asked = answer(settings, "--clip", "up-red", "--precondition", "center")
    assert asked["precondition"] == "centre"
    assert asked["top"] == answer(settings, "--clip", "up-red", "--precondition", "centre")["top"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a video or a clip"),
        (("--clip", "a", "--prompt", "a square"), "a clip has none"),
        (("--clip", "a", "--metadata", "motion"), "write column:value"),
        (("--clip", "a", "--damping", "0.1"), "only --precondition whiten has one"),
        (("--clip", "a", "--precondition", "whiten", "--damping", "0"), "Invalid value for '--damping'"),
        (("--clip", "a", "--precondition", "middle"), "'none', 'centre', 'whiten'"),
    ],
)
def test_a_question_that_is_none_is_refused(arguments: tuple[str, ...], said: str, settings: ServiceSettings) -> None:
    refused = query(settings, *arguments)
    assert refused.exit_code == 2
    assert said in refused.output


def test_a_video_needs_its_prompt(settings: ServiceSettings, corpus: Corpus) -> None:
    refused = query(settings, corpus.video("up-red"))
    assert refused.exit_code == 2
    assert "a video needs it" in refused.output


def test_a_decision_that_is_none_is_told_with_the_three(settings: ServiceSettings) -> None:
    refused = query(settings, "--clip", "up-red", "--decision", "burn")
    assert refused.exit_code == 1
    assert "'keep', 'down_weight' or 'drop'" in str(refused.exception)


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        (("--metadata", "motoin:up"), 'has the column "motoin": did you mean "motion"? There is "motion".'),
        (("--metadata", "motion:dwon"), 'has "dwon" in the column "motion": did you mean "down"?'),
        (("--metadata", "motion:down", "--metadata", "size:3"), 'has the column "size"'),
        (("--verdict", "cartoon"), 'has the verdict "cartoon"'),
        (("--decision", "down_weight"), 'has the decision "down_weight"'),
    ],
)
def test_what_no_clip_has_is_refused_before_anything_is_computed(
    filter: tuple[str, ...], said: str, settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motiontrace.answering.ask.Engines", lambda *_: pytest.fail("the model would be loaded"))
    for question in (("--clip", "up-red"), (corpus.video("up-red"), "--prompt", "a square moves")):
        refused = query(settings, *question, *filter)
        assert refused.exit_code == 1
        assert said in str(refused.exception)


def test_a_value_that_nothing_has_is_told_beside_one_that_clips_have(settings: ServiceSettings) -> None:
    shown = query(settings, "--clip", "up-red", "--metadata", "motion:down", "--metadata", "motion:lfet")
    assert shown.exit_code == 0
    assert "(of 1 clips in tiny)" in shown.stdout
    assert 'has "lfet" in the column "motion"' in shown.stdout.replace("\n", " ")


def test_what_is_no_file_is_refused_without_waiting(
    settings: ServiceSettings, service: tuple[str, str], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    url, key = service
    for asked in ((), ("--url", url, "--api-key", key)):
        refused = query(settings, tmp_path / "pipe.mp4", "--prompt", "a square", *asked)
        assert str(refused.exception) == f"{tmp_path / 'pipe.mp4'} is a named pipe (FIFO), not a file"
