"""Pushing clips by the Python clients and by `motiontrace labels push`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from motiontrace.cli import app, register
from motiontrace.client import AsyncClient, Client, ServiceError, calls
from motiontrace.documents.filters import Filter
from tests.service.conftest import copy_of
from tests.service.keys import make_key
from tests.service.labeling.reviewed import ASKED, NAME, ROOMY, index_reviewed
from tests.service.labeling.standin import TOKEN, RefusalError, StandIn, standing_in
from tests.service.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

    from tests.service.conftest import Corpus


@pytest.fixture(scope="module", autouse=True)
def verbs() -> None:
    register()


@pytest.fixture(scope="module")
def studio() -> Iterator[StandIn]:
    with standing_in() as state:
        yield state


@pytest.fixture(scope="module")
def service(corpus: Corpus, studio: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A service that asks for keys: its URL, and one."""
    settings = copy_of(corpus, tmp_path_factory.mktemp("push"))
    index_reviewed(corpus, settings)
    index_reviewed(corpus, settings, ROOMY, others=True)
    _, header = make_key(settings, "query")
    known = {"label_studio_url": studio.url, "label_studio_token": SecretStr(TOKEN)}
    with serving(settings.model_copy(update=known)) as (_, url):
        yield url, header.removeprefix("Bearer ")


@pytest.fixture
def query(service: tuple[str, str]) -> str:
    with Client(service[0], api_key=service[1]) as client:
        return client.more_like(ASKED, index=NAME, k=1).id


def labels_push(service: tuple[str, str], *arguments: object) -> Result:
    environment = {"MOTIONTRACE_URL": service[0], "MOTIONTRACE_API_KEY": service[1]}
    return CliRunner().invoke(app, ["labels", "push", *map(str, arguments)], env=environment)


def test_all_that_can_be_asked_for_arrives(service: tuple[str, str], studio: StandIn) -> None:
    with Client(service[0], api_key=service[1]) as client:
        query = client.more_like(ASKED, index=ROOMY, k=1).id
        pushed = client.push_to_label_studio(
            [query],
            top=3,
            bottom=0,
            title="by the client",
            verdicts=["fine", "unrealistic"],
            motion="bad",
            filter=Filter(metadata={"motion": ["up blue", "right"]}),
        )
        assert (pushed.title, pushed.clips, pushed.callback.active) == ("by the client", 2, True)
        again = client.push_to_label_studio([query], top=3, bottom=0, project=pushed.id)
        assert (again.id, again.tasks_there) == (pushed.id, 2)
        assert pushed.id in {project.id for project in client.label_studio_projects()}
    tasks = studio.of(pushed.id)
    assert [task["data"]["clip_id"] for task in tasks[:2]] == ["up blue", "right-red"]
    assert tasks[0]["predictions"][0]["result"][0]["value"] == {"choices": ["unrealistic"]}


def test_the_asynchronous_client_does_the_same(service: tuple[str, str], query: str) -> None:
    async def work() -> None:
        async with AsyncClient(service[0], api_key=service[1]) as client:
            pushed = await client.push_to_label_studio([query], top=1, bottom=1, title="asynchronous")
            assert (pushed.clips, pushed.tasks_created) == (2, 2)
            assert pushed.id in {project.id for project in await client.label_studio_projects()}

    asyncio.run(work())


def test_the_client_waits_for_a_long_push() -> None:
    call = calls.push_to_label_studio(["q"], 1, 1, "title", None, ["x"], None, None)
    with httpx.Client(base_url="http://127.0.0.1:9") as http, call.request(http, 60.0) as request:
        assert request.extensions["timeout"]["read"] == 1860.0
        assert request.extensions["timeout"]["connect"] == 60.0


def test_the_command_tells_people_what_was_pushed_and_where(
    service: tuple[str, str], studio: StandIn, query: str
) -> None:
    result = labels_push(
        service, query, "--top", 2, "--bottom", 1, "--title", "by [hand]", "--verdict", "fine", "--motion", "good"
    )
    assert result.exit_code == 0, result.output
    project = studio.titled("by [hand]")
    assert result.stdout.splitlines() == [
        "3 clips in the project 'by [hand]': 3 new, 0 were there",
        f"{studio.url}/projects/{project}/data",
    ]
    assert result.stderr == ""
    assert studio.projects[project]["parsed_label_config"]["verdict"]["labels"] == ["fine"]
    again = labels_push(service, query, "--project", project, "--json")
    assert json.loads(again.stdout)["tasks_there"] == 3


def test_the_command_says_what_reviewers_or_labels_have_to_do_without(
    service: tuple[str, str], studio: StandIn, query: str
) -> None:
    def refuse(call: str) -> None:
        if call == "POST webhooks":
            raise RefusalError(400, "Validation error", validation_errors={"url": ["Enter a valid URL."]})

    studio.refuse = refuse
    try:
        result = labels_push(service, query, "--title", "without a callback", "--top", 1)
    finally:
        studio.refuse = lambda call: None
    assert result.exit_code == 0
    assert result.stderr.startswith("note: Label Studio does not call ")
    assert "MOTIONTRACE_LABEL_STUDIO_CALLBACK_URL" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("--top", "501"), ("--motion", "fine")])
def test_a_wrong_command_line_is_refused(service: tuple[str, str], arguments: tuple[str, ...]) -> None:
    queries = ("q",) if arguments else ()
    assert labels_push(service, *queries, *arguments).exit_code == 2


def test_a_refusal_is_the_services_own(service: tuple[str, str]) -> None:
    result = labels_push(service, "nobody")
    assert isinstance(result.exception, ServiceError)
    assert result.exception.problem is not None
    assert result.exception.problem.code == "query_not_found"
