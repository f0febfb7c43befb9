"""The whole ranking of a query, page by page and as a file."""

from __future__ import annotations

import codecs
import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pandas
import pyarrow.parquet
import pytest

from motiontrace.answering import reading
from motiontrace.catalog.vectors import VectorStore
from motiontrace.formats.export import COLUMNS
from tests.service.asking import ask, assert_problem
from tests.service.labeling.exported import mark_motion

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus, RunningApp

BOTH_DATABASES = True
VIDEO = ("width", "height", "frames", "seconds", "fps")
JSON_COLUMNS = ("ranges", "boxes", "motion_region", "metadata")
TYPES = (
    dict.fromkeys(("rank", "width", "height", "frames"), int)
    | dict.fromkeys(("score", "percentile", "seconds", "fps"), float)
    | dict.fromkeys(JSON_COLUMNS, json.loads)
)
JUMP = {"start": 0.1, "end": 0.4, "label": "bad motion"}
BOX = {
    "label": "square",
    "keyframes": [{"time": 0.25, "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4, "visible": True}],
}


@pytest.fixture(scope="module")
def query(reader: TestClient, corpus: Corpus) -> dict[str, Any]:
    found: dict[str, Any] = ask(reader, corpus.video("up-red"), "a square, up-red", k=100).json()
    assert found["ranked"] == 8
    return found


def pages(client: TestClient, path: str) -> list[dict[str, Any]]:
    """The clips of all pages from this one on."""
    clips: list[dict[str, Any]] = []
    following: str | None = path
    while following is not None:
        page = client.get(following)
        assert page.status_code == 200, page.text
        clips += page.json()["clips"]
        following = page.json()["next"]
    return clips


@pytest.mark.parametrize("limit", [1, 3, 8, 50])
def test_all_pages_together_are_the_ranking(reader: TestClient, query: dict[str, Any], limit: int) -> None:
    path = f"/v1/queries/{query['id']}/clips?limit={limit}"
    assert pages(reader, path) == query["top"]
    assert pages(reader, f"{path}&end=bottom") == query["bottom"]


def test_a_filter_is_kept_from_page_to_page(reader: TestClient, query: dict[str, Any]) -> None:
    path = f"/v1/queries/{query['id']}/clips?limit=1&metadata=motion:left&metadata=motion:up"
    found = pages(reader, path)
    assert {clip["id"] for clip in found} == {"left-red", "up-red"}
    assert [clip["rank"] for clip in found] == [1, 2]


def test_the_querys_own_filter_holds_too(reader: TestClient, corpus: Corpus) -> None:
    own = json.dumps({"metadata": {"motion": ["left", "up"]}})
    query = ask(reader, corpus.video("up-red"), filter=own).json()
    assert query["ranked"] == 2
    path = f"/v1/queries/{query['id']}/clips"
    assert reader.get(path).json()["ranked"] == 2
    found = reader.get(f"{path}?metadata=motion:up&metadata=motion:down").json()
    assert [clip["id"] for clip in found["clips"]] == ["up-red"]


def test_pages_go_on_where_they_were_though_the_index_changes(
    client: TestClient, settings: ServiceSettings, corpus: Corpus
) -> None:
    query = ask(client, corpus.video("up-red"), k=100).json()
    order = [hit["id"] for hit in query["top"]]
    first = client.get(f"/v1/queries/{query['id']}/clips?limit=4").json()
    with VectorStore(settings.index_directory / "tiny", corpus.recipe.digest) as store:
        store.publish([], removed=[order[1], order[5]])
    rest = pages(client, first["next"])
    assert [clip["id"] for clip in first["clips"] + rest] == [*order[:5], *order[6:]]
    assert rest[0]["rank"] == 4  # among those that are left


@pytest.mark.parametrize("after", ["x", "1.0", "nan~a", "inf~a", "~a"])
def test_a_place_that_is_none_is_refused(reader: TestClient, query: dict[str, Any], after: str) -> None:
    response = reader.get(f"/v1/queries/{query['id']}/clips", params={"after": after})
    assert_problem(response, 422, "unknown_place")


def test_a_query_that_is_not_done_has_no_ranking(client: TestClient, corpus: Corpus) -> None:
    content = bytearray(corpus.video("up-red").read_bytes())
    start = content.index(b"mdat")
    size = int.from_bytes(content[start - 4 : start])
    content[start + 4 : start - 4 + size] = b"\xff" * (size - 8)
    failed = ask(client, bytes(content)).json()
    assert failed["status"] == "failed"
    for path in ("clips", "export"):
        problem = assert_problem(client.get(f"/v1/queries/{failed['id']}/{path}"), 409, "query_not_done")
        assert "failed" in problem["detail"]
        assert_problem(client.get(f"/v1/queries/none/{path}"), 404, "query_not_found")


def rows(reader: TestClient, query: dict[str, Any], format: str, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of an export, each with the types of the JSON."""
    response = reader.get(f"/v1/queries/{query['id']}/export", params={"format": format, **parameters})
    assert response.status_code == 200, response.text
    assert response.headers["content-disposition"] == f'attachment; filename="motiontrace-{query["id"]}.{format}"'
    if format == "jsonl":
        assert response.headers["content-type"] == "application/jsonl"
        return [json.loads(line) for line in response.text.splitlines()]
    if format == "parquet":
        table = pyarrow.parquet.read_table(io.BytesIO(response.content)).to_pylist()
        return [row | {name: row[name] and json.loads(row[name]) for name in JSON_COLUMNS} for row in table]
    return [
        {name: TYPES.get(name, str)(value) if value else None for name, value in row.items()}
        for row in csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"), newline=""))
    ]


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_file_holds_the_whole_ranking(reader: TestClient, query: dict[str, Any], format: str) -> None:
    found = rows(reader, query, format)
    hits = [{key: value for key, value in hit.items() if key != "thumbnail_url"} for hit in query["top"]]
    if format == "csv":  # which people open in spreadsheets
        hits = [hit | {"video_url": f"http://testserver{hit['video_url']}"} for hit in hits]
    assert [{key: row[key] for key in hits[0]} for row in found] == hits
    for row in found:
        clip = reader.get(f"/v1/clips/{row['id']}").json()
        assert {name: row[name] for name in VIDEO} == {name: clip[name] for name in VIDEO}
        assert list(row) == list(COLUMNS)
        assert row["end"] == "top"
    assert [row["id"] for row in rows(reader, query, format, end="bottom", limit=3)] == [
        hit["id"] for hit in query["bottom"][:3]
    ]
    filtered = rows(reader, query, format, metadata="motion:left")
    assert [row["id"] for row in filtered] == ["left-red"]


def test_spreadsheets_and_programs_read_a_csv_file_alike(client: TestClient, corpus: Corpus) -> None:
    client.put("/v1/clips/up-red/labels", json={"verdict": "näh 映像", "note": 'line\r\none; two, "three"'})
    query = ask(client, corpus.video("up-red"), "a square, up-red", k=1).json()
    content = client.get(f"/v1/queries/{query['id']}/export?format=csv").content
    assert content.count(codecs.BOM_UTF8) == 1
    assert content.startswith(codecs.BOM_UTF8)  # by which spreadsheets know it for UTF-8
    by_pandas = pandas.read_csv(io.BytesIO(content))
    by_csv = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert list(by_pandas.columns) == list(by_csv[0]) == list(COLUMNS)
    for row in (by_pandas.iloc[0], by_csv[0]):
        assert (row["id"], row["verdict"]) == ("up-red", "näh 映像")
        assert row["note"].split() == ["line", "one;", "two,", '"three"']
        assert client.get(row["video_url"]).content == corpus.video("up-red").read_bytes()


def test_links_in_a_csv_file_lead_to_where_the_service_is_said_to_be(
    settings: ServiceSettings, running_app: RunningApp
) -> None:
    with running_app(settings.model_copy(update={"public_url": "https://clips.example/motion"})) as client:
        query = client.post("/v1/queries", json={"clip": "up-red"}).json()
        (row, *_) = rows(client, query, "csv")
    assert row["video_url"].startswith("https://clips.example/motion/v1/clips/")


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_file_is_written_portion_by_portion(
    reader: TestClient, query: dict[str, Any], format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motiontrace.answering.reading.PORTION", 3)
    assert [row["id"] for row in rows(reader, query, format)] == [hit["id"] for hit in query["top"]]
    assert len(rows(reader, query, format, limit=5)) == 5


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_file_tells_all_that_is_known_of_a_clip(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, format: str
) -> None:
    query = ask(client, corpus.video("up-red"), k=100).json()
    label = {
        "verdict": "unrealistic",
        "decision": "drop",
        "note": 'jumps, "twice"\nand back',
        "ranges": [JUMP],
        "boxes": [BOX],
    }
    assert client.put("/v1/clips/up-red/labels", json=label).status_code == 200
    client.put("/v1/clips/left-red/labels", json={"decision": "keep", "note": "fine"})
    client.put("/v1/clips/left-red/labels", json={"note": "was wrong"})  # withdraws it
    moves = mark_motion(settings, "up-red")
    found = {row["id"]: row for row in rows(client, query, format)}
    assert {name: found["up-red"][name] for name in label} == label
    assert found["up-red"]["motion_region"] == moves
    nothing = {"verdict": None, "decision": None, "note": None, "ranges": [], "boxes": [], "motion_region": None}
    assert {name: found["left-red"][name] for name in nothing} == nothing


def test_no_cell_of_a_csv_file_is_a_formula_and_each_text_can_be_had_back(client: TestClient, corpus: Corpus) -> None:
    query = ask(client, corpus.video("up-red"), k=100).json()
    notes = {"up-red": "=HYPERLINK(1)", "down-red": "'tis", "left-red": "\t+1", "right-red": "a = b", "up blue": "＝1"}
    for clip_id, note in notes.items():
        client.put(f"/v1/clips/{clip_id}/labels", json={"verdict": "-1", "note": note})
    found = {row["id"]: row for row in rows(client, query, "csv")}
    assert [found[clip_id]["note"] for clip_id in notes] == ["'=HYPERLINK(1)", "''tis", "'\t+1", "a = b", "'＝1"]
    for clip_id, note in notes.items():
        assert found[clip_id]["verdict"] == "'-1"
        assert found[clip_id]["note"].removeprefix("'") == note
    verbatim = {row["id"]: row["note"] for row in rows(client, query, "jsonl")}
    assert {clip_id: verbatim[clip_id] for clip_id in notes} == notes


@pytest.mark.parametrize(
    ("limit", "top", "bottom"),
    [(1, [0], [7]), (3, [0, 1, 2], [7, 6, 5]), (4, [0, 1, 2, 3], [7, 6, 5, 4]), (100, [0, 1, 2, 3], [7, 6, 5, 4])],
)
@pytest.mark.parametrize("portion", [2, 10_000])
def test_both_ends_are_told_without_a_clip_twice(
    reader: TestClient,
    query: dict[str, Any],
    limit: int,
    top: list[int],
    bottom: list[int],
    portion: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("motiontrace.answering.reading.PORTION", portion)
    found = rows(reader, query, "jsonl", end="both", limit=limit)
    order = [hit["id"] for hit in query["top"]]
    assert [(row["id"], row["end"]) for row in found] == [
        *((order[place], "top") for place in top),
        *((order[place], "bottom") for place in bottom),
    ]
    assert [row["rank"] for row in found] == [place + 1 for place in top + bottom]


def test_both_ends_of_all_and_of_few_clips(reader: TestClient, query: dict[str, Any]) -> None:
    assert [row["rank"] for row in rows(reader, query, "jsonl", end="both")] == [1, 2, 3, 4, 8, 7, 6, 5]
    three = {"metadata": ["motion:up", "motion:left", "motion:down"]}
    found = rows(reader, query, "jsonl", end="both", limit=5, **three)
    assert [(row["rank"], row["end"]) for row in found] == [(1, "top"), (2, "top"), (3, "bottom")]
    assert rows(reader, query, "jsonl", end="both", limit=5, metadata="motion:none") == []


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_an_empty_ranking_is_an_empty_file(reader: TestClient, query: dict[str, Any], format: str) -> None:
    assert rows(reader, query, format, metadata="motion:none") == []


def test_a_parquet_file_leaves_nothing_behind(
    reader: TestClient, query: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows(reader, query, "parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wanted", ["bytes=0-3", "bytes=0-1,5-6", "bytes=x", "bytes=99999999-"])
def test_a_part_of_a_parquet_file_is_not_served(
    reader: TestClient, query: dict[str, Any], wanted: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = f"/v1/queries/{query['id']}/export?format=parquet"
    response = reader.get(path, headers={"Range": wanted})
    assert response.status_code == 200
    assert len(response.content) == int(response.headers["content-length"])
    assert pyarrow.parquet.read_table(io.BytesIO(response.content)).num_rows == 8
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_of_one_version_of_the_index(
    client: TestClient, settings: ServiceSettings, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = ask(client, corpus.video("up-red"), k=100).json()
    monkeypatch.setattr("motiontrace.answering.reading.PORTION", 3)
    monkeypatch.setattr("motiontrace.answering.reading.SLICE", 2)
    real = reading.described

    def shrinking(*arguments: Any) -> Any:
        with VectorStore(settings.index_directory / "tiny", corpus.recipe.digest) as store:
            store.publish([], removed=[query["top"][0]["id"], query["top"][6]["id"]])
        return real(*arguments)

    monkeypatch.setattr(reading, "described", shrinking)
    found = rows(client, query, "jsonl")
    assert [(row["id"], row["rank"]) for row in found] == [(hit["id"], hit["rank"]) for hit in query["top"]]
