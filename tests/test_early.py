"""What is wrong with a command line is told before anything dear: no model code is loaded, nothing is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from motiontrace.catalog.settings import CatalogSettings
from tests.catalog.indexing import run

ROOT = Path(__file__).parents[1]
DEAR = ("torch", "diffusers", "transformers", "accelerate")
RUN = """
import json, sys, time
from typer.testing import CliRunner
from motiontrace.cli import app, register
from motiontrace.errors import told
register()
found = []
for arguments in json.load(sys.stdin):
    start = time.process_time()
    result = CliRunner().invoke(app, arguments)
    said = result.output + (told(result.exception) or repr(result.exception) if result.exception else "")
    loaded = [name for name in {dear} if name in sys.modules]
    found.append((result.exit_code, said, loaded, time.process_time() - start))
json.dump(found, sys.stdout)
"""
MODEL = ("--model", "model", "--index", "x")
REFUSED = {
    "a manifest that is not there": (("index", "none.csv", *MODEL), "none.csv"),
    "a model that is not there": (("index", "clips", "--model", "./nowhere", "--index", "x"), "nowhere"),
    "a folder that is no model": (("index", "clips", "--model", "clips", "--index", "x"), "clips"),
    "a name that is none": (("index", "clips", "--model", "model", "--index", "a/b"), "cannot name a directory"),
    "a number format that is none": (("index", "clips", *MODEL, "--dtype", "int8"), "dtype"),
    "a height that is none": (("index", "clips", *MODEL, "--height", "480px"), "--height"),
    "a height beyond all bounds": (("index", "clips", *MODEL, "--height", "100000"), "height"),
    "a timestep beyond all bounds": (("index", "clips", *MODEL, "--timesteps", "5000"), "timesteps"),
    "a device that is none": (("index", "clips", *MODEL, "--device", "gpu"), "--device"),
    "a recipe that is none": (("index", "clips", *MODEL, "--recipe", "best"), "--recipe"),
    "too few clips for a basis": (("index", "clips", *MODEL, "--basis-clips", "9"), "--basis-clips"),
    "an option that is none": (("index", "clips", *MODEL, "--hieght", "64"), "--hieght"),
    "an index that is not there": (("query", "--clip", "a", "--index", "other"), "'other'"),
    "a clip that is not there": (("query", "--clip", "zz", "--index", "demo"), "'zz'"),
    "a video that is not there": (("query", "none.mp4", "--prompt", "x"), "none.mp4"),
    "a home that is not there": (("query", "--clip", "a", "--home", "nowhere"), "no catalog"),
    "a selection that is not there": (("select", "--repeat", "other"), "other"),
    "queries that are not there": (("select", "--queries", "nowhere", "--budget", "1"), "nowhere"),
    "an index to select from that is not there": (
        ("select", "--query", "clips/a.mp4", "--prompt", "x", "--budget", "1", "--index", "other"), "'other'",
    ),
    "a manifest to train on that is not there": (
        ("finetune", "none.csv", "--model", "model", "--output", "out"), "none.csv",
    ),
    "a model to train that is not there": (("finetune", "clips", "--model", "./nowhere", "--output", "out"), "nowhere"),
    "a model to compare that is not there": (
        ("compare", "./nowhere", "model", "--prompt", "x", "--output", "out"), "nowhere",
    ),
    "prompts that are not there": (("compare", "model", "model", "--prompts", "none.txt", "--output", "out"), "none"),
    "clips to evaluate that are not there": (
        ("evaluate", "none.csv", "clips", "--model", "model", "--output", "out"), "none.csv",
    ),
    "a key that is not there": (("keys", "revoke", "nokey"), "nokey"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the index demo, a folder of clips, and one that looks like a model."""
    folder = tmp_path_factory.mktemp("early")
    run(CatalogSettings(home=folder / "home"), ["a", "b", "c"], 3)
    (folder / "clips").mkdir()
    (folder / "clips" / "a.mp4").write_bytes(b"no video, which only decoding tells")
    (folder / "clips" / "metadata.jsonl").write_text('{"file_name": "a.mp4", "caption": "a"}\n')
    (folder / "model").mkdir()
    (folder / "model" / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    return folder


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, tuple[int, str, list[str], float]]:
    """What each of REFUSED comes to, all in one process that has loaded nothing before."""
    asked = [list(arguments) for arguments, _ in REFUSED.values()]
    return dict(zip(REFUSED, invoke(folder, asked), strict=True))


def invoke(folder: Path, asked: list[list[str]]) -> list[tuple[int, str, list[str], float]]:
    done = subprocess.run(
        [sys.executable, "-c", RUN.replace("{dear}", repr(DEAR))],
        input=json.dumps(asked),
        cwd=folder,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MOTIONTRACE_HOME": str(folder / "home")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[tuple[int, str, list[str], float]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_told_before_model_code_is_loaded(
    answers: dict[str, tuple[int, str, list[str], float]], what: str
) -> None:
    code, said, loaded, seconds = answers[what]
    assert code in (1, 2), said
    assert REFUSED[what][1] in said
    assert "Errno" not in said and "Error(" not in said
    assert loaded == []
    assert seconds < 2  # of this process; imports that several share count for the first


def test_a_query_of_a_clip_loads_no_model_code(folder: Path) -> None:
    [(code, said, loaded, _)] = invoke(folder, [["query", "--clip", "a", "--index", "demo", "--json"]])
    assert code == 0, said
    assert {hit["id"] for hit in json.loads(said)["top"]} == {"b", "c"}
    assert loaded == []


@pytest.mark.parametrize("arguments", [["--help"], ["index", "--help"], ["query", "--help"], ["demo", "--help"]])
def test_help_loads_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom motiontrace.cli import main\nsys.argv = ['motiontrace', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print([name for name in ('torch', 'numpy', 'sqlalchemy', 'fastapi', 'cv2', 'av') if name in sys.modules])"
    )
    start = time.process_time()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    assert time.process_time() - start < 2
