"""Whose word counts where several people speak, many at once, or where nobody tells the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.service.labeling.label_studio.setup import label_config
from tests.labeling.test_review import BOTTOM, TOP, annotate, current, push, result, said, tasks_of
from tests.service.asking import until

if TYPE_CHECKING:
    import httpx

    from tests.labeling.conftest import LabelStudio, Service

LEE = "lee@example.com"


def author(service: Service, clip: str) -> str | None:
    label = current(service, clip)
    return None if label is None else label.author


def patch(reviewer: httpx.Client, annotation: int, **fields: Any) -> None:
    assert reviewer.patch(f"/api/annotations/{annotation}/", json=fields).status_code == 200


def act(reviewer: httpx.Client, project: int, action: str) -> None:
    """Do something with all tasks of a project, as its page's menu does."""
    everything = {"selectedItems": {"all": True, "excluded": []}}
    done = reviewer.post("/api/dm/actions/", params={"id": action, "project": project}, json=everything)
    assert done.status_code == 200, done.text


def test_of_two_reviewers_the_last_one_counts_unless_the_first_is_ground_truth(
    service: Service, reviewer: httpx.Client, label_studio: LabelStudio
) -> None:
    added = reviewer.post("/api/users/", json={"email": LEE, "username": "lee", "password": "not-of-importance"})
    assert added.status_code == 201, added.text
    task = tasks_of(reviewer, push(service).id)[TOP]
    first = annotate(reviewer, task, "cartoon", "keep")
    until(lambda: said(service, TOP) == ("cartoon", "keep"))

    by_lee = {"result": result("static"), "completed_by": added.json()["id"]}
    second = reviewer.post(f"/api/tasks/{task['id']}/annotations/", json=by_lee).json()["id"]
    until(lambda: said(service, TOP) == ("static", None))
    assert author(service, TOP) == LEE

    patch(reviewer, first, ground_truth=True)
    until(lambda: said(service, TOP) == ("cartoon", "keep"))
    assert author(service, TOP) == label_studio.email

    assert reviewer.delete(f"/api/annotations/{first}/").status_code == 204
    until(lambda: said(service, TOP) == ("static", None))  # is older, and all there is now
    assert author(service, TOP) == LEE

    patch(reviewer, second, was_cancelled=True)
    until(lambda: said(service, TOP) is None)
    patch(reviewer, second, was_cancelled=False)
    until(lambda: said(service, TOP) == ("static", None))


def test_annotations_that_are_made_and_deleted_in_bulk_are_followed(service: Service, reviewer: httpx.Client) -> None:
    project = push(service).id
    tasks = tasks_of(reviewer, project)
    suggested = {
        clip: part["value"]["choices"][0]
        for clip, task in tasks.items()
        for part in task["predictions"][0]["result"]
        if part["from_name"] == "verdict"
    }
    assert set(suggested) == {TOP, BOTTOM}
    act(reviewer, project, "predictions_to_annotations")
    until(lambda: {clip: (said(service, clip) or (None,))[0] for clip in tasks} == suggested)
    act(reviewer, project, "delete_tasks_annotations")
    until(lambda: not any(said(service, clip) for clip in tasks))


def test_a_pull_finds_what_label_studio_does_not_tell_of(service: Service, reviewer: httpx.Client) -> None:
    """An annotation turned into a draft again sets off no webhook; tasks imported with annotations one of tasks."""
    project = push(service).id
    tasks = tasks_of(reviewer, project)
    number = annotate(reviewer, tasks[TOP], "cartoon")
    until(lambda: said(service, TOP) == ("cartoon", None))
    assert reviewer.post(f"/api/annotations/{number}/convert-to-draft", json={}).status_code == 201
    imported = [{"data": tasks[BOTTOM]["data"], "annotations": [{"result": result("static", "drop")}]}]
    assert reviewer.post(f"/api/projects/{project}/import", json=imported).status_code == 201
    assert (said(service, TOP), said(service, BOTTOM)) == (("cartoon", None), None)
    pulled = service.client.pull_from_label_studio(project)
    assert (pulled.tasks, pulled.labelled, pulled.withdrawn, pulled.unchanged) == (3, 1, 1, 1)
    assert (said(service, TOP), said(service, BOTTOM)) == (None, ("static", "drop"))


def test_a_project_that_people_made_themselves_is_pulled(service: Service, reviewer: httpx.Client) -> None:
    made = reviewer.post("/api/projects/", json={"title": "by hand", "label_config": label_config()})
    project = made.json()["id"]
    shown = {"video": "http://x.example/1.mp4", "caption": "", "query_prompt": "", "rank": 1, "sign": "", "score": 1}
    clips = (TOP, "nobody", BOTTOM)
    tasks = [{"data": shown | {"fps": 12, "clip_id": clip}} for clip in clips]
    assert reviewer.post(f"/api/projects/{project}/import", json=tasks).status_code == 201
    there = tasks_of(reviewer, project)
    for clip in clips[:2]:
        annotate(reviewer, there[clip], "cartoon", "down-weight")
    pulled = service.client.pull_from_label_studio(project)
    assert (pulled.tasks, pulled.labelled, pulled.unchanged, pulled.unknown) == (3, 1, 1, 1)
    assert said(service, TOP) == ("cartoon", "down_weight")
    assert [each.id for each in service.client.label_studio_projects()] == [project]

    assert reviewer.delete(f"/api/tasks/{there[TOP]['id']}/").status_code == 204
    pulled = service.client.pull_from_label_studio(project)
    assert (pulled.tasks, pulled.unchanged, pulled.unknown) == (2, 1, 1)
    assert said(service, TOP) == ("cartoon", "down_weight")  # people clear what they are through with
