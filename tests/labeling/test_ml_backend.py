"""Predictions that Label Studio asks the service for: what it keeps of the answers, and what refusals come to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import ApiKeyRecord, now
from motiontrace.catalog.repositories.keys import Token

if TYPE_CHECKING:
    from motiontrace.service.settings import ServiceSettings
    from tests.labeling.conftest import Service

ML = "/labeling/label-studio/ml"
# Their secrets stand in recordings.
OURS, STUDIOS = Token("00000000000a", "only-of-tests"), Token("00000000000b", "only-of-tests")
SCORE_TOLERANCE = 0.01
ALL = {"selectedItems": {"all": True, "excluded": []}, "filters": {"conjunction": "and", "items": []}, "ordering": []}


@pytest.fixture
def settings(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    """The service's, which has an API key for its client, and one that may read for Label Studio."""
    database = Database.open(settings.url)
    with database.writing() as session:
        for token, scope in ((OURS, "query"), (STUDIOS, "read")):
            digest = hashlib.sha256(token.secret.encode()).hexdigest()
            session.add(
                ApiKeyRecord(id=token.key_id, name="test", secret_sha256=digest, scopes=[scope], created_at=now())
            )
    database.close()
    monkeypatch.setenv("MOTIONTRACE_API_KEY", str(OURS))
    return settings


def connect(reviewer: httpx.Client, project: int, url: str, password: str = str(STUDIOS)) -> httpx.Response:
    """Make the service the ML backend of a project, as under Settings, Model."""
    return reviewer.post(
        "/api/ml/",
        json={
            "project": project,
            "url": url,
            "title": "asked",
            "is_interactive": True,
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": "label-studio",
            "basic_auth_pass": password,
        },
    )


def act(reviewer: httpx.Client, project: int, action: str) -> None:
    """An action of the data manager on all tasks."""
    reviewer.post("/api/dm/actions", params={"id": action, "project": project}, json=ALL).raise_for_status()


def predictions(reviewer: httpx.Client, project: int) -> dict[int, dict[str, Any]]:
    """What Label Studio has, by task."""
    answer = reviewer.get("/api/predictions/", params={"project": project}).json()
    found = answer if isinstance(answer, list) else answer["results"]
    by_task = {each["task"]: of_label_studio(each) for each in found}
    assert len(by_task) == len(found)
    return by_task


def tasks(reviewer: httpx.Client, project: int) -> list[dict[str, Any]]:
    return reviewer.get("/api/tasks/", params={"project": project, "fields": "all", "include": "id,data"}).json()[
        "tasks"
    ]


def answers(service: Service, reviewer: httpx.Client, project: int, asked: list[dict[str, Any]], at: str = ML) -> Any:
    """What the service says of these tasks now."""
    config = reviewer.get(f"/api/projects/{project}/").json()["label_config"]
    answer = httpx.post(
        service.url + at + "/predict", json={"tasks": asked, "label_config": config}, auth=("any", str(STUDIOS))
    )
    return [of_label_studio(each) for each in answer.json()["results"]]


def of_label_studio(predicted: Any) -> Any:
    """What Label Studio keeps of a prediction; an empty list is none."""
    return predicted and {name: predicted[name] for name in ("model_version", "score", "result")}


def alike(found: dict[int, Any], recorded: dict[int, Any]) -> bool:
    """Whether predictions are the same, but for what another computation of the clips' gradients may differ in."""
    return found == {
        number: each | {"score": pytest.approx(each["score"], abs=SCORE_TOLERANCE)} for number, each in recorded.items()
    }


def push(service: Service) -> tuple[str, int]:
    """Push clips of a query; gives the query and the project."""
    query = service.client.more_like("right-red").id
    return query, service.client.push_to_label_studio([query], top=2, bottom=2).id


def test_what_it_asks_for_is_what_it_would_be_pushed(service: Service, reviewer: httpx.Client) -> None:
    _, project = push(service)
    pushed = predictions(reviewer, project)
    assert len(pushed) == 4
    act(reviewer, project, "delete_tasks_predictions")
    assert predictions(reviewer, project) == {}

    backend = connect(reviewer, project, service.url + ML)
    assert (backend.status_code, backend.json()["state"]) == (201, "CO")
    assert backend.json()["model_version"] == "motiontrace"
    act(reviewer, project, "retrieve_tasks_predictions")
    assert predictions(reviewer, project) == pushed
    act(reviewer, project, "retrieve_tasks_predictions")  # all have one of this version
    assert predictions(reviewer, project) == pushed

    asked = tasks(reviewer, project)
    found = dict(zip((each["id"] for each in asked), answers(service, reviewer, project, asked), strict=True))
    assert alike(found, pushed)


def test_clips_are_seen_as_another_query_ranks_them(service: Service, reviewer: httpx.Client) -> None:
    _, project = push(service)
    pushed = predictions(reviewer, project)
    other = service.client.more_like("up-red").id
    at = f"{ML}/queries/{other}"
    backend = connect(reviewer, project, service.url + at).json()
    assert backend["model_version"] == f"motiontrace-{other[:8]}"
    act(reviewer, project, "delete_tasks_predictions")
    act(reviewer, project, "retrieve_tasks_predictions")
    asked = {each["id"]: each for each in tasks(reviewer, project)}
    clips = {number: each["data"]["clip_id"] for number, each in asked.items()}
    itself = [number for number, clip in clips.items() if clip == "up-red"]  # which the query is about
    found = predictions(reviewer, project)
    assert found.keys() == pushed.keys() - set(itself)
    scores = {hit.id: hit.score for hit in service.client.ranking(other)}
    for number, each in found.items():
        assert each["score"] == pytest.approx((1 + scores[clips[number]]) / 2, abs=SCORE_TOLERANCE)
        assert each["result"] == pushed[number]["result"]

    # An annotator who draws a box is shown the same, and of an unknown clip nothing.
    drawn = {"result": [{"id": "b", "from_name": "box", "to_name": "video", "type": "videorectangle", "value": {}}]}
    for number in (next(iter(found)), *itself):
        shown = reviewer.post(
            f"/api/ml/{backend['id']}/interactive-annotating", json={"task": number, "context": drawn}
        ).json()
        data = of_label_studio(shown["data"])
        assert data == found.get(number, [])
        (answer,) = answers(service, reviewer, project, [asked[number]], at)
        assert answer == data == [] or alike({number: answer}, {number: data})


def test_a_backend_that_could_predict_nothing_is_not_taken(service: Service, reviewer: httpx.Client) -> None:
    _, project = push(service)
    wrong = connect(reviewer, project, service.url + ML, password="mt_00000000000b_wrong")
    assert (wrong.status_code, "authentication parameters" in wrong.text) == (400, True)
    unknown = connect(reviewer, project, f"{service.url}{ML}/queries/none")
    assert (unknown.status_code, "Not Found" in unknown.text) == (400, True)
    other = reviewer.post("/api/projects/", json={"title": "other", "label_config": "<View/>"}).json()["id"]
    unfit = connect(reviewer, other, service.url + ML)
    assert (unfit.status_code, "Conflict" in unfit.text) == (400, True)
