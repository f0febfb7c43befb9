"""What is a number in a request, and what only looks like one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.asking import assert_problem

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.service.conftest import Corpus

JSON = {"content-type": "application/json"}
NO_WHOLE_NUMBERS = [
    "true", "false", '"10"', '""', "null", "5.5", "1e-1", "5e20", "NaN", "Infinity", "-Infinity", "1e400", "[10]", "{}",
    "0", "-1", "1" + "0" * 30, "1" + "0" * 5000,
]  # fmt: skip
NO_NUMBERS = ["true", "false", '"0.1"', "NaN", "Infinity", "1e400", "[0.1]", "0", "-1", "1" + "0" * 5000]


@pytest.mark.parametrize("text", NO_WHOLE_NUMBERS)
def test_k_is_a_whole_number_in_json(reader: TestClient, text: str) -> None:
    body = f'{{"clip": "up-red", "k": {text}}}'
    problem = assert_problem(reader.post("/v1/queries", content=body, headers=JSON), 422, "invalid_parameters")
    if len(text) < 100:
        assert problem["errors"][0]["field"] == "k"
    batch = f'{{"queries": [{body}]}}'
    assert_problem(reader.post("/v1/queries/batch", content=batch, headers=JSON), 422, "invalid_parameters")


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_damping_is_a_number_in_json(reader: TestClient, text: str) -> None:
    body = f'{{"clip": "up-red", "precondition": "whiten", "damping": {text}}}'
    assert_problem(reader.post("/v1/queries", content=body, headers=JSON), 422, "invalid_parameters")


@pytest.mark.parametrize("field", ["k", "damping"])
@pytest.mark.parametrize(
    "text",
    [
        "true",
        "",
        " 5",
        "5 ",
        "+5",
        "1_0",
        "0x5",
        "\u0665",
        "05",
        "five",
        "NaN",
        "inf",
        "1e400",
        "[5]",
        '"5"',
        "9" * 5000,
    ],
)
def test_numbers_of_a_form_are_written_as_json_writes_them(
    reader: TestClient, corpus: Corpus, field: str, text: str
) -> None:
    form = {"prompt": "a square", "precondition": "whiten", field: text}
    files = {"video": corpus.video("still").read_bytes()}
    problem = assert_problem(reader.post("/v1/queries", data=form, files=files), 422, "invalid_parameters")
    assert problem["errors"][0]["field"] == field


def test_a_whole_number_of_a_form_has_no_fraction(reader: TestClient, corpus: Corpus) -> None:
    files = {"video": corpus.video("still").read_bytes()}
    for text in ("5.5", "5e-1", "0.5"):
        response = reader.post("/v1/queries", data={"prompt": "a square", "k": text}, files=files)
        assert_problem(response, 422, "invalid_parameters")
    form = {"prompt": "a square", "k": "5", "precondition": "whiten", "damping": "1e-1"}
    answer = reader.post("/v1/queries", data=form, files=files).json()
    assert (answer["k"], answer["damping"]) == (5, 0.1)


@pytest.mark.parametrize("text", ["true", "", " 5", "+5", "1_0", "5.0", "5e0", "\u0665", "0x5", "nan", "9" * 5000, "0"])
@pytest.mark.parametrize("path", ["/v1/queries", "/v1/clips", "/v1/queries/none/clips", "/v1/queries/none/export"])
def test_limits_are_written_in_digits(reader: TestClient, path: str, text: str) -> None:
    assert_problem(reader.get(path, params={"limit": text}), 422, "invalid_parameters")


def test_what_are_numbers_is_taken(reader: TestClient) -> None:
    body = '{"clip": "up-red", "k": 5.0, "precondition": "whiten", "damping": 1}'
    answer = reader.post("/v1/queries", content=body, headers=JSON).json()
    assert (answer["k"], answer["damping"], answer["status"]) == (5, 1.0, "done")
    assert reader.get("/v1/clips", params={"limit": "5"}).status_code == 200


@pytest.mark.parametrize("field", ["top", "bottom", "project"])
@pytest.mark.parametrize("text", ["true", '"1"', "1.5", "NaN"])
def test_numbers_of_a_push_are_numbers(reader: TestClient, field: str, text: str) -> None:
    body = f'{{"queries": ["x"], "{field}": {text}}}'
    response = reader.post("/v1/labeling/label-studio/projects", content=body, headers=JSON)
    problem = assert_problem(response, 422, "invalid_parameters")
    assert problem["errors"][0]["field"].endswith(field)
