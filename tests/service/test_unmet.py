"""A filter that names what no clip has is told, with what was meant: no empty answer is silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

COLUMN = 'No clip of the index \'tiny\' has the column "motoin": did you mean "motion"? There is "motion".'


def asked(client: TestClient, **filter: Any) -> dict[str, Any]:
    answer = client.post("/v1/queries", json={"clip": "up-red", "filter": filter})
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        ({"metadata": {"motoin": ["up"]}}, COLUMN),
        ({"metadata": {"Motion": ["down"]}}, 'has the column "Motion": did you mean "motion"?'),
        (
            {"metadata": {"motion": ["dwon"]}},
            'has "dwon" in the column "motion": did you mean "down"? There are "broken"',
        ),
        ({"metadata": {"motion": ["DOWN"]}}, 'has "DOWN" in the column "motion": did you mean "down"?'),
        ({"metadata": {"motion": [3, "1e3"]}}, 'has 3 or "1e3" in the column "motion": there are "broken", "down",'),
        ({"verdict": ["cartoon"]}, "No clip of the index 'tiny' has the verdict \"cartoon\"."),
        ({"decision": ["keep"]}, "No clip of the index 'tiny' has the decision \"keep\"."),
    ],
)
def test_an_answer_without_clips_says_which_condition_no_clip_meets(
    reader: TestClient, filter: dict[str, Any], said: str
) -> None:
    answer = asked(reader, **filter)
    assert (answer["ranked"], answer["top"]) == (0, [])
    assert answer["message"].startswith("No other clip that moves passes the filter, so there is nothing to rank. No ")
    assert said in answer["message"]
    assert reader.get(f"/v1/queries/{answer['id']}").json()["message"] == answer["message"]


def test_a_value_that_nothing_has_is_told_beside_one_that_clips_have(reader: TestClient) -> None:
    answer = asked(reader, metadata={"motion": ["down", "lfet"]})
    assert [hit["id"] for hit in answer["top"]] == ["down-red"]
    assert answer["message"].startswith('No clip of the index \'tiny\' has "lfet" in the column "motion": did you mean')


def test_what_is_left_out_for_a_verdict_that_nothing_has_is_told(client: TestClient) -> None:
    client.put("/v1/clips/left-red/labels", json={"verdict": "unrealistic", "decision": "drop"})
    answer = asked(client, without_verdict=["unrealistc"])
    assert answer["ranked"] == 7
    assert 'has the verdict "unrealistc", so none is left out for it: did you mean "unrealistic"?' in answer["message"]
    assert asked(client, without_verdict=["unrealistic"], without_decision=["drop", "down_weight"])["message"] is None
    assert asked(client, verdict=["unrealistic"], decision=["drop"])["message"] is None


def test_pages_lists_and_files_tell_it_too(reader: TestClient) -> None:
    path = f"/v1/queries/{asked(reader)['id']}"
    page = reader.get(f"{path}/clips?metadata=motoin:up").json()
    assert (page["ranked"], page["clips"], page["message"]) == (0, [], COLUMN)
    assert reader.get(f"{path}/clips?metadata=motion:down").json()["message"] is None
    for format in ("csv", "jsonl", "parquet", "cvat"):
        file = reader.get(f"{path}/export?format={format}&metadata=motoin:up")
        assert file.status_code == 200
        assert unquote(file.headers["motiontrace-message"]) == COLUMN
    assert "motiontrace-message" not in reader.get(f"{path}/export?metadata=motion:down").headers
    listed = reader.get("/v1/clips?metadata=motoin:up&index=tiny").json()
    assert (listed["clips"], listed["message"]) == ([], COLUMN)
    everywhere = reader.get("/v1/clips?metadata=motoin:up").json()["message"]
    assert everywhere == 'No clip has the column "motoin": did you mean "motion"? There is "motion".'
    assert reader.get("/v1/clips?metadata=motion:up").json()["message"] is None


def test_a_header_can_say_every_value(reader: TestClient) -> None:
    path = f"/v1/queries/{asked(reader)['id']}/export"
    file = reader.get(path, params={"metadata": "motion:映像 100 %\r\nx: y"})
    assert r'has "映像 100 %\r\nx: y" in the column "motion"' in unquote(file.headers["motiontrace-message"])
