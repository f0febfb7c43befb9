"""The journey of a clip: pushed to Label Studio, judged there, its verdict back, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import func, select

from motiontrace.catalog.database import Database
from motiontrace.catalog.records import LabelStudioChangeRecord
from motiontrace.documents.filters import Filter
from tests.labeling.conftest import MOTION_REGION, WEBHOOK_SECRET
from tests.labeling.webhooks import PATH, SECRET_HEADER
from tests.service.asking import assert_problem, until

if TYPE_CHECKING:
    from motiontrace.documents.label_studio import PushedProject
    from motiontrace.documents.labels import Label
    from tests.labeling.conftest import LabelStudio, Service
    from tests.service.conftest import Corpus

SEEN = "right-red"  # the clip whose likes are asked for
TOP, BOTTOM = "right blue", "up-red"  # which move most like it, and least
FPS = 12  # frames a second of the corpus' clips
SEGMENT = {"ranges": [{"start": 4, "end": 10}], "timelinelabels": ["bad motion"]}
CORNERS = [
    {"frame": 1, "enabled": True, "rotation": 0, "x": 10, "y": 20, "width": 30, "height": 40, "time": 1 / FPS},
    {"frame": 7, "enabled": False, "rotation": 0, "x": 50, "y": 20, "width": 30, "height": 40, "time": 7 / FPS},
]


def push(service: Service, each: int = 1) -> PushedProject:
    """Push so many clips of each end of the ranking: of one each, TOP and BOTTOM."""
    query = service.client.more_like(SEEN)
    pushed = service.client.push_to_label_studio([query.id], top=each, bottom=each, motion="bad")
    assert (pushed.callback.active, pushed.left_out) == (True, ())
    return pushed


def tasks_of(reviewer: httpx.Client, project: int) -> dict[str, dict[str, Any]]:
    """What a reviewer sees of each clip."""
    answer = reviewer.get(
        "/api/tasks/", params={"project": project, "fields": "all", "include": "id,data,predictions,result"}
    ).json()
    return {task["data"]["clip_id"]: task for task in answer["tasks"]}


def result(verdict: str, decision: str | None = None, **parts: Any) -> list[dict[str, Any]]:
    """An annotation's result, as the editor writes it."""

    def part(name: str, kind: str, value: dict[str, Any], of: str = "video") -> dict[str, Any]:
        return {"id": name, "from_name": name, "to_name": of, "type": kind, "value": value}

    found = [part("verdict", "choices", {"choices": [verdict]})]
    if decision is not None:
        found.append(part("action", "choices", {"choices": [decision]}))
    if "segment" in parts:
        found.append(part("segment", "timelinelabels", parts["segment"]))
    if "corners" in parts:
        value = {"labels": ["moving object"], "sequence": parts["corners"], "framesCount": 12, "duration": 1.0}
        found.append(part("box", "videorectangle", value))
    if "note" in parts:
        found.append(part("note", "textarea", {"text": [parts["note"]]}, of="caption"))
    return found


def annotate(reviewer: httpx.Client, task: dict[str, Any], *said: Any, **parts: Any) -> int:
    """Submit an annotation; gives its number."""
    path = f"/api/tasks/{task['id']}/annotations/"
    answer = reviewer.post(path, json={"result": result(*said, **parts), "lead_time": 7.5})
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


def current(service: Service, clip: str) -> Label | None:
    return service.client.labels(clip).current


def said(service: Service, clip: str) -> tuple[str | None, str | None] | None:
    label = current(service, clip)
    return None if label is None else (label.verdict, label.decision)


def test_clips_of_a_query_become_tasks_once(
    service: Service, reviewer: httpx.Client, corpus: Corpus, label_studio: LabelStudio
) -> None:
    pushed = push(service, 2)
    assert (pushed.clips, pushed.tasks_created, pushed.tasks_there) == (4, 4, 0)
    assert pushed.url == f"{label_studio.url}/projects/{pushed.id}/data"
    tasks = tasks_of(reviewer, pushed.id)
    likes = service.client.more_like(SEEN, k=60).top
    assert set(tasks) == {hit.id for hit in (*likes[:2], *likes[-2:])}

    task = tasks[TOP]
    shown = task["data"]
    assert shown.items() >= {"caption": f"a square, {TOP}", "rank": 1, "sign": "moves like it", "fps": FPS}.items()
    video = httpx.get(shown["video"])  # as the reviewer's browser does, without a key
    assert video.content == corpus.video(TOP).read_bytes()
    prediction = task["predictions"][0]
    values = {part["from_name"]: part["value"] for part in prediction["result"]}
    assert values["verdict"] == {"choices": ["unrealistic"]}  # what taught a bad motion
    assert values["segment"]["ranges"] == [{"start": 4, "end": 10}]
    assert [corner["frame"] for corner in values["box"]["sequence"]] == [4, 10]
    assert MOTION_REGION["ranges"] == [{"start": 0.25, "end": 0.75}]

    service.stop()
    service.start()  # what is known of the project is in the database
    again = push(service, 2)
    assert (again.id, again.clips, again.tasks_created, again.tasks_there) == (pushed.id, 4, 0, 4)
    more = service.client.push_to_label_studio([service.client.more_like(SEEN).id], top=3, bottom=2)
    assert (more.id, more.clips, more.tasks_created, more.tasks_there) == (pushed.id, 5, 1, 4)
    assert len(tasks_of(reviewer, pushed.id)) == 5
    assert [project.id for project in service.client.label_studio_projects()] == [pushed.id]


def test_a_verdict_comes_back_and_dropped_clips_are_left_out(
    service: Service, reviewer: httpx.Client, label_studio: LabelStudio
) -> None:
    tasks = tasks_of(reviewer, push(service).id)
    note = "it slides instead of rolling"
    annotate(reviewer, tasks[TOP], "unrealistic", "drop", segment=SEGMENT, corners=CORNERS, note=note)
    label = until(lambda: current(service, TOP))
    assert (label.verdict, label.decision, label.note) == ("unrealistic", "drop", note)
    assert (label.author, label.tool) == (label_studio.email, "label-studio")
    assert [part.model_dump() for part in label.ranges] == [{"start": 0.25, "end": 0.75, "label": "bad motion"}]
    box = label.boxes[0]
    assert (box.label, [corner.time for corner in box.keyframes]) == ("moving object", [0, 0.5])
    assert box.keyframes[0].model_dump() == {
        "time": 0,
        "x": 0.1,
        "y": 0.2,
        "width": 0.3,
        "height": 0.4,
        "visible": True,
    }
    assert not box.keyframes[1].visible

    annotate(reviewer, tasks[BOTTOM], "realistic", "down-weight")
    until(lambda: said(service, BOTTOM) == ("realistic", "down_weight"))
    everyone = [hit.id for hit in service.client.more_like(SEEN, k=60).top]
    kept = [hit.id for hit in service.client.more_like(SEEN, k=60, filter=Filter(without_decision=["drop"])).top]
    assert kept == [clip for clip in everyone if clip != TOP]
    assert [clip.id for clip in service.client.clips(filter=Filter(verdict=["unrealistic"]))] == [TOP]


def test_what_a_reviewer_changes_skips_and_deletes_is_followed(service: Service, reviewer: httpx.Client) -> None:
    clip = TOP
    task = tasks_of(reviewer, push(service).id)[clip]
    first = annotate(reviewer, task, "cartoon", "keep")
    until(lambda: said(service, clip) == ("cartoon", "keep"))

    changed = reviewer.patch(f"/api/annotations/{first}/", json={"result": result("unrealistic", "drop")})
    assert changed.status_code == 200
    until(lambda: said(service, clip) == ("unrealistic", "drop"))

    skipped = reviewer.patch(f"/api/annotations/{first}/", json={"was_cancelled": True})
    assert skipped.status_code == 200
    until(lambda: said(service, clip) is None)

    second = annotate(reviewer, task, "realistic")
    until(lambda: said(service, clip) == ("realistic", None))
    assert reviewer.delete(f"/api/annotations/{second}/").status_code == 204
    until(lambda: said(service, clip) is None)
    history = [(label.verdict, label.decision) for label in service.client.labels(clip).history]
    assert history == [
        (None, None),
        ("realistic", None),
        (None, None),
        ("unrealistic", "drop"),
        ("cartoon", "keep"),
    ]


def test_a_clip_that_is_skipped_at_once_stays_without_a_label(service: Service, reviewer: httpx.Client) -> None:
    tasks = tasks_of(reviewer, push(service).id)
    skipped = reviewer.post(
        f"/api/tasks/{tasks['right blue']['id']}/annotations/",
        params={"was_cancelled": "1"},
        json={"result": [], "was_cancelled": True},
    )
    assert skipped.status_code == 201
    annotate(reviewer, tasks[BOTTOM], "realistic")  # seen to after it
    until(lambda: said(service, BOTTOM) == ("realistic", None))
    assert service.client.labels(TOP).history == []


def test_verdicts_are_pulled_where_webhooks_are_off(service: Service, reviewer: httpx.Client) -> None:
    pushed = push(service)
    hook = reviewer.get("/api/webhooks/", params={"project": pushed.id}).json()[0]
    off = {"url": hook["url"], "actions": hook["actions"], "is_active": False}
    assert reviewer.patch(f"/api/webhooks/{hook['id']}/", json=off).status_code == 200
    tasks = tasks_of(reviewer, pushed.id)
    annotate(reviewer, tasks[TOP], "unrealistic", "drop")
    assert current(service, TOP) is None

    pulled = service.client.pull_from_label_studio(pushed.id)
    assert (pulled.tasks, pulled.labelled, pulled.unchanged, pulled.left_out) == (2, 1, 1, ())
    assert said(service, TOP) == ("unrealistic", "drop")
    again = service.client.pull_from_label_studio(pushed.id)
    assert (again.labelled, again.changed, again.unchanged) == (0, 0, 2)
    assert push(service).callback.active  # a push mends the webhook
    annotate(reviewer, tasks[BOTTOM], "realistic")
    until(lambda: said(service, BOTTOM) == ("realistic", None))


def test_what_was_said_while_the_service_was_down_is_pulled(service: Service, reviewer: httpx.Client) -> None:
    pushed = push(service, 2)
    tasks = tasks_of(reviewer, pushed.id)
    first = annotate(reviewer, tasks[TOP], "unrealistic", "drop")
    until(lambda: said(service, TOP))
    annotate(reviewer, tasks[BOTTOM], "realistic", "keep")
    until(lambda: said(service, BOTTOM))
    service.stop()
    assert reviewer.delete(f"/api/annotations/{first}/").status_code == 204
    annotate(reviewer, tasks["down blue"], "cartoon", "down-weight")
    service.start()
    assert (said(service, TOP), said(service, "down blue")) == (("unrealistic", "drop"), None)
    pulled = service.client.pull_from_label_studio(pushed.id)
    assert (pulled.labelled, pulled.changed, pulled.withdrawn, pulled.unchanged) == (1, 0, 1, 2)
    assert (said(service, TOP), said(service, "down blue")) == (None, ("cartoon", "down_weight"))
    assert said(service, BOTTOM) == ("realistic", "keep")


def test_what_was_said_elsewhere_since_is_not_overwritten(service: Service, reviewer: httpx.Client) -> None:
    pushed = push(service)
    annotate(reviewer, tasks_of(reviewer, pushed.id)[TOP], "unrealistic", "drop")
    until(lambda: said(service, TOP))
    service.client.label(TOP, verdict="realistic", author="lee")
    assert service.client.pull_from_label_studio(pushed.id).unchanged == 2
    assert said(service, TOP) == ("realistic", None)


def test_a_forged_webhook_is_refused(service: Service, reviewer: httpx.Client) -> None:
    pushed = push(service)
    forged = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": pushed.id},
        "task": {"id": tasks_of(reviewer, pushed.id)[TOP]["id"]},
        "annotation": {"id": 1, "result": result("realistic", "keep")},
    }
    for secret in (None, "", "0" * 64, WEBHOOK_SECRET.hex()[:-1]):
        headers = {} if secret is None else {SECRET_HEADER: secret}
        assert_problem(httpx.post(service.url + PATH, json=forged, headers=headers), 401, "webhook_secret")
    assert not waiting(service)


def test_a_webhook_is_believed_nothing_but_where_to_look(service: Service, reviewer: httpx.Client) -> None:
    """Replayed, made up, or of a task that is none: the task itself says what holds."""
    pushed = push(service)
    tasks = tasks_of(reviewer, pushed.id)
    annotate(reviewer, tasks[TOP], "unrealistic", "drop")
    until(lambda: said(service, TOP))
    for task in (tasks[TOP]["id"], 999_999):
        lie = {
            "action": "ANNOTATION_CREATED",
            "project": {"id": pushed.id},
            "task": {"id": task},
            "annotation": {"id": 1, "result": result("realistic", "keep")},
        }
        headers = {SECRET_HEADER: WEBHOOK_SECRET.hex()}
        assert httpx.post(service.url + PATH, json=lie, headers=headers).json() == {"noted": 1}
        until(lambda: not waiting(service))
    assert said(service, TOP) == ("unrealistic", "drop")
    assert len(service.client.labels(TOP).history) == 1


def waiting(service: Service) -> bool:
    """Whether the inbox has something to do."""
    database = Database.open(service.settings.url)
    with database.reading() as session:
        found = session.scalar(select(func.count()).select_from(LabelStudioChangeRecord))
    database.close()
    return bool(found)
