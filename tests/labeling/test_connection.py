"""The calls of Label Studio's API that the service makes, against the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from motiontrace.service.labeling.label_studio.connection import LabelStudio as Connection
from motiontrace.service.labeling.label_studio.connection import LabelStudioError

if TYPE_CHECKING:
    import httpx

    from tests.labeling.conftest import LabelStudio

SETUP = """<View>
  <Text name="caption" value="$caption"/>
  <Choices name="verdict" toName="caption" choice="single">
    <Choice value="realistic"/>
    <Choice value="cartoon"/>
  </Choices>
</View>"""
TOLD = ("id", "result", "was_cancelled", "ground_truth", "completed_by", "created_at", "updated_at")
VERDICT = {"from_name": "verdict", "to_name": "caption", "type": "choices", "value": {"choices": ["cartoon"]}}


@pytest.mark.parametrize("kind", ["personal_token", "legacy_token"])
def test_tasks_are_made_read_and_changed_with_either_token(
    label_studio: LabelStudio, reviewer: httpx.Client, kind: str
) -> None:
    with Connection(label_studio.url, getattr(label_studio, kind)) as connection:
        project = connection.create_project(title=f"by {kind}", label_config=SETUP)["id"]
        captions = ["a ball", "a square", "a star"]
        tasks = connection.import_tasks(project, [{"data": {"caption": caption}} for caption in captions])
        found = list(connection.tasks(project))
        assert [(task["id"], task["data"]["caption"]) for task in found] == list(zip(tasks, captions, strict=True))
        assert next(connection.export(project))["annotations"] == []

        connection.update_task(tasks[0], {"caption": "a red ball"})
        made = reviewer.post(f"/api/tasks/{tasks[0]}/annotations/", json={"result": [VERDICT]})
        assert made.status_code == 201
        task = connection.task(tasks[0])
        assert task is not None
        assert (task["project"], task["data"]) == (project, {"caption": "a red ball"})
        annotation = {name: task["annotations"][0][name] for name in TOLD}
        assert annotation["result"][0]["value"] == VERDICT["value"]
        assert connection.users()[annotation["completed_by"]] == label_studio.email

        assert reviewer.delete(f"/api/tasks/{tasks[2]}/").status_code == 204
        assert connection.task(tasks[2]) is None
        exported = {task["id"]: task["annotations"] for task in connection.export(project)}
        assert exported == {tasks[0]: [exported[tasks[0]][0] | annotation], tasks[1]: []}
        assert [task["id"] for task in connection.tasks_of(project, [tasks[2], tasks[1]])] == [tasks[1]]


def test_a_set_up_that_is_none_is_refused_in_its_own_words(label_studio: LabelStudio) -> None:
    with (
        Connection(label_studio.url, label_studio.legacy_token) as connection,
        pytest.raises(LabelStudioError, match="label_config") as refused,
    ):
        connection.create_project(title="broken", label_config="<View>")
    assert (refused.value.code, refused.value.status) == ("label_studio_refused", 400)


@pytest.mark.parametrize("token", ["0" * 40, "header.payload.signature"], ids=["legacy", "personal"])
def test_a_token_that_is_nobodys_is_not_taken(label_studio: LabelStudio, token: str) -> None:
    with (
        Connection(label_studio.url, token) as connection,
        pytest.raises(LabelStudioError, match="does not take the token") as refused,
    ):
        connection.project(1)
    assert refused.value.code == "label_studio_token"


def test_a_project_that_is_none_is_not_found(label_studio: LabelStudio) -> None:
    with Connection(label_studio.url, label_studio.personal_token) as connection:
        assert connection.project(999_999) is None
