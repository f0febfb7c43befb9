"""Pushing clips, against Label Studio itself: what it makes of them, and that none is made twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from motiontrace.catalog.repositories import LabelStudioRepository
from motiontrace.client import ServiceError
from motiontrace.service.labeling.label_studio.setup import label_config
from tests.labeling.conftest import Service
from tests.service.labeling.reviewed import ASKED, NAME, index_reviewed

if TYPE_CHECKING:
    import httpx

    from motiontrace.client import Client
    from motiontrace.service.settings import ServiceSettings
    from tests.labeling.webhooks import Webhooks
    from tests.service.conftest import Corpus

OTHER_SETUP = """<View>
  <Video name="video" value="$video"/>
  <Choices name="verdict" toName="video"><Choice value="realistic"/></Choices>
</View>"""


@pytest.fixture
def settings(settings: ServiceSettings, corpus: Corpus) -> ServiceSettings:
    """With an index whose ranking is the same on every machine."""
    index_reviewed(corpus, settings, others=True)
    return settings


def ask(client: Client) -> str:
    return client.more_like(ASKED, index=NAME, k=1).id


def tasks_of(reviewer: httpx.Client, project: int) -> list[dict[str, Any]]:
    """A project's tasks with their predictions, by number."""
    page = reviewer.get("/api/tasks/", params={"project": project, "fields": "all", "page_size": 100})
    assert page.status_code == 200, page.text
    return sorted(page.json()["tasks"], key=lambda task: task["id"])


def test_clips_become_tasks_with_what_is_suggested_of_them(service: Service, reviewer: httpx.Client) -> None:
    service.client.label("down blue", verdict="cartoon", author="kim")
    pushed = service.client.push_to_label_studio([ask(service.client)], top=2, bottom=2, title="balls", motion="good")
    assert (pushed.clips, pushed.tasks_created, pushed.left_out) == (4, 4, ())
    assert (pushed.callback.active, pushed.callback.reason) == (True, None)
    tasks = tasks_of(reviewer, pushed.id)
    assert [task["data"]["clip_id"] for task in tasks] == ["up blue", "right-red", "down blue", "down-red"]
    assert [task["total_predictions"] for task in tasks] == [1, 1, 1, 1]
    results = [{item["from_name"]: item for item in task["predictions"][0]["result"]} for task in tasks]
    assert [result["verdict"]["value"]["choices"] for result in results] == [
        ["realistic"],
        ["realistic"],
        ["cartoon"],
        ["unrealistic"],
    ]
    assert results[0]["segment"]["value"]["ranges"] == [{"start": 4, "end": 7}]
    assert [corner["frame"] for corner in results[0]["box"]["value"]["sequence"]] == [4, 7]
    assert tasks[0]["predictions"][0]["model_version"] == "motiontrace"
    project = reviewer.get(f"/api/projects/{pushed.id}/").json()
    assert (project["title"], project["model_version"]) == ("balls", "motiontrace")


def test_a_push_repeated_makes_no_task_twice(service: Service, reviewer: httpx.Client) -> None:
    query = ask(service.client)
    first = service.client.push_to_label_studio([query], top=1, bottom=1)
    again = service.client.push_to_label_studio([query], top=1, bottom=1)
    assert (again.id, again.tasks_created, again.tasks_there) == (first.id, 0, 2)
    wider = service.client.push_to_label_studio([query], top=2, bottom=1)
    assert (wider.id, wider.tasks_created, wider.tasks_there) == (first.id, 1, 2)
    assert len(tasks_of(reviewer, first.id)) == 3
    hooks = reviewer.get("/api/webhooks/", params={"project": first.id}).json()
    assert [hook["url"] for hook in hooks] == [f"{service.url}/labeling/label-studio/webhook"]
    assert [project.id for project in service.client.label_studio_projects()] == [first.id]


def test_a_push_that_breaks_off_behind_its_import_is_taken_up_by_the_next(
    service: Service, reviewer: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: LabelStudioRepository, project_id: int, clips: dict[int, str]) -> None:
        if clips:  # what was there before is noted first
            raise RuntimeError("the database is gone")

    query = ask(service.client)
    with monkeypatch.context() as patch, pytest.raises(ServiceError, match="fault is not yours"):
        patch.setattr(LabelStudioRepository, "put_tasks", broken)
        service.client.push_to_label_studio([query], top=2, bottom=2)
    again = service.client.push_to_label_studio([query], top=2, bottom=2)
    assert (again.tasks_created, again.tasks_there) == (0, 4)
    assert len(tasks_of(reviewer, again.id)) == 4


def test_a_project_that_was_deleted_is_made_anew(service: Service, reviewer: httpx.Client) -> None:
    query = ask(service.client)
    first = service.client.push_to_label_studio([query], top=1, bottom=0)
    assert reviewer.delete(f"/api/projects/{first.id}/").status_code == 204
    again = service.client.push_to_label_studio([query], top=1, bottom=0)
    assert again.id != first.id
    assert again.tasks_created == 1
    assert [project.id for project in service.client.label_studio_projects()] == [again.id]


def test_a_project_of_somebodys_own_has_to_have_our_controls(service: Service, reviewer: httpx.Client) -> None:
    query = ask(service.client)
    made = reviewer.post("/api/projects/", json={"title": "Kim's own", "label_config": label_config(["fine", "odd"])})
    project = made.json()["id"]
    pushed = service.client.push_to_label_studio([query], top=1, bottom=0, project=project)
    assert (pushed.id, pushed.title, pushed.tasks_created) == (project, "Kim's own", 1)
    other = reviewer.post("/api/projects/", json={"title": "another", "label_config": OTHER_SETUP}).json()["id"]
    with pytest.raises(ServiceError, match="VideoRectangle named 'box'") as refused:
        service.client.push_to_label_studio([query], top=1, bottom=0, project=other)
    assert refused.value.problem is not None
    assert refused.value.problem.code == "label_studio_setup"
    with pytest.raises(ServiceError, match="has no project 999999"):
        service.client.push_to_label_studio([query], top=1, bottom=0, project=999_999)


def test_words_of_all_kinds_are_offered_as_verdicts(service: Service, reviewer: httpx.Client) -> None:
    verdicts = ['"quoted" & <tagged>', "it's ünïcode ✓", "a, b; c", "no verdict"]
    pushed = service.client.push_to_label_studio([ask(service.client)], top=1, bottom=0, verdicts=verdicts)
    project = reviewer.get(f"/api/projects/{pushed.id}/").json()
    assert project["parsed_label_config"]["verdict"]["labels"] == verdicts


@pytest.mark.usefixtures("numbered_queries")
@pytest.mark.parametrize(
    ("callback", "told"),
    [
        ("http://api:8600", "The host needs a dot in its name"),
        ("http://169.254.1.1", "USE_DEFAULT_BANNED_SUBNETS=false"),
        ("http://nowhere.invalid", "Set MOTIONTRACE_LABEL_STUDIO_CALLBACK_URL"),
    ],
    ids=["undotted", "private", "unknown"],
)
def test_where_label_studio_does_not_take_our_address_clips_are_pushed_all_the_same(
    settings: ServiceSettings, webhooks: Webhooks, callback: str, told: str
) -> None:
    service = Service(settings.model_copy(update={"label_studio_callback_url": callback}), webhooks)
    service.start()
    try:
        pushed = service.client.push_to_label_studio([ask(service.client)], top=1, bottom=0)
    finally:
        service.client.close()
        service.stop()
    assert pushed.tasks_created == 1
    assert not pushed.callback.active
    assert told in str(pushed.callback.reason)
