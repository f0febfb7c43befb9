"""With --json each verb prints one JSON document on standard output and nothing else, also where it fails."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

import motiontrace.curation.comparison.compare
import motiontrace.curation.finetuning.run
import motiontrace.indexer.run  # noqa: F401  # for tests.processes, as the two above
from tests.checkpoints import tiny_wan
from tests.processes import run_command
from tests.videos import moving_square

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    tiny_wan(folder / "model")
    (folder / "clips").mkdir()
    rows = []
    for name, (dx, dy) in {"right": (2, 0), "left": (-2, 0), "down": (0, 2)}.items():
        moving_square(folder / "clips" / f"{name}.mp4", dx, dy)
        rows.append({"file_name": f"{name}.mp4", "caption": f"a square moves {name}", "id": name, "motion": name})
    (folder / "clips" / "bad.mp4").write_text("no video")
    rows.append({"file_name": "bad.mp4", "caption": "bad", "id": "bad", "motion": "down"})
    (folder / "clips" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    indexed = document(folder, 0, "index", "clips", "--model", "model", "--index", "squares")
    assert indexed["clips"] == {"failed": 1, "indexed": 3}
    assert (indexed["index"], len(indexed["problems"]), indexed["refused"]) == ("squares", 1, [])
    return folder


def document(folder: Path, code: int, *arguments: object) -> Any:
    """The one document that a verb prints."""
    run = run_command(*arguments, "--json", cwd=folder, MOTIONTRACE_HOME=str(folder / "home"))
    assert run.returncode == code, run.stderr
    return json.loads(run.stdout)


def test_an_index_that_is_unchanged_is_told(folder: Path) -> None:
    again = document(folder, 0, "index", "clips", "--model", "model", "--index", "squares")
    assert again["clips"]["unchanged"] == 3


def test_answers_selections_and_keys(folder: Path) -> None:
    answer = document(folder, 0, "query", "--clip", "down", "--keep")
    assert answer["ranked"] == 2
    chosen = document(folder, 0, "select", "--stored", answer["id"], "--budget", "1")
    assert document(folder, 0, "selections")[0]["id"] == chosen["id"]
    made = document(folder, 0, "keys", "create", "kim", "--scope", "read")
    assert made["key"].startswith(f"mt_{made['id']}_")
    listed = document(folder, 0, "keys", "list")
    assert [(key["id"], key["revoked_at"]) for key in listed] == [(made["id"], None)]
    assert made["key"] not in json.dumps(listed)
    kept = document(folder, 0, "keys", "create", "tool", "--scope", "read", "--output", "tool.key")
    assert (kept["output"], kept["made"]) == ("tool.key", True)
    assert "key" not in kept
    again = document(folder, 0, "keys", "create", "tool", "--scope", "read", "--output", "tool.key", "--if-missing")
    assert again["made"] is False
    assert document(folder, 0, "keys", "revoke", made["id"])["revoked_at"] is not None


def test_finetune_and_compare(folder: Path) -> None:
    small = ("--train-steps", "2", "--batch-size", "1", "--frames", "5", "--height", "32", "--width", "32")
    tuned = document(folder, 0, "finetune", "clips", "--model", "model", "--output", "tuned", *small)
    assert (tuned["output"], tuned["clips"], len(tuned["losses"]), tuned["already"]) == ("tuned", 3, 2, False)
    assert [each["name"] for each in tuned["left_out"]] == ["bad"]
    again = document(folder, 0, "finetune", "clips", "--model", "model", "--output", "tuned", *small)
    assert again["already"] is True
    asked = ("--prompt", "a square moves", "--seeds", "0", "--steps", "1", "--frames", "5")
    compared = document(folder, 0, "compare", "model", "tuned", "--output", "compared", *asked)
    assert compared["page"] == "compared/comparison.html"
    written = json.loads((folder / "compared" / "comparison.json").read_text())
    assert {name: compared[name] for name in written} == written


def test_doctor_tells_in_one_document_what_fails(folder: Path) -> None:
    findings = document(folder, 0, "doctor")
    assert {"level", "check", "found", "todo"} == set(findings[0])
    (folder / "empty").mkdir(exist_ok=True)
    failed = document(folder, 1, "doctor", "--home", "nowhere/at/all", "--database-url", "mysql://x")
    assert any(finding["level"] == "FAIL" for finding in failed)


@pytest.mark.parametrize(
    ("arguments", "code", "error", "said"),
    [
        (("index", "none.csv", "--model", "model", "--index", "x"), 1, "manifest", "none.csv"),
        (("index", "clips", "--index", "x"), 2, "usage", "--model"),
        (("index", "clips", "--wrong"), 2, "usage", "No such option"),
        (("query", "--clip", "down", "--index", "none"), 1, "unknown_index", "'none'"),
        (("query", "--clip", "down", "--metadata", "motoin:up"), 1, "filter_passes_none", '"motion"'),
        (("query", "clips/bad.mp4", "--prompt", "x"), 1, "not_a_video", "bad.mp4"),
        (("query", "--clip", "down", "--url", "http://127.0.0.1:9"), 1, "service", "is the service running there"),
        (("select", "--stored", "none", "--budget", "1"), 1, "selection", "there is no query of this id"),
        (("finetune", "none", "--model", "model", "--output", "o"), 1, "manifest", "none"),
        (("compare", "model", "nowhere/", "--output", "o", "--prompt", "x"), 1, "model", "nowhere"),
        (("evaluate", "clips", "clips", "--model", "m", "--output", "o", "--size", "big"), 2, "usage", "--size"),
        (("keys", "revoke", "none"), 1, "catalog", "There is no key none"),
        (("labels", "export", "q", "--format", "csv", "--output", "clips"), 1, "is_a_directory", "It is a folder"),
        (("labels", "push", "q", "--url", "http://127.0.0.1:9"), 1, "service", "is the service running there"),
        (("nothing",), 2, "usage", "nothing"),
    ],
)
def test_a_failure_is_a_document_as_well(
    folder: Path, arguments: tuple[str, ...], code: int, error: str, said: str
) -> None:
    failed = document(folder, code, *arguments)
    assert set(failed) == {"error"}
    assert failed["error"]["code"] == error
    assert said in failed["error"]["message"]


def test_without_json_a_failure_prints_nothing_on_standard_output(folder: Path) -> None:
    failed = run_command("query", "--clip", "down", "--index", "none", cwd=folder, MOTIONTRACE_HOME=f"{folder}/home")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: There is no index 'none'.")


def test_a_fault_of_ours_is_a_document_beside_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from motiontrace import cli

    monkeypatch.setattr(sys, "argv", ["motiontrace", "doctor", "--json"])
    monkeypatch.setattr("motiontrace.doctor.examine", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main()
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "internal_error"
