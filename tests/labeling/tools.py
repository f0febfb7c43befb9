"""Programs of labelling tools that read what the service exports, run by a Python that has the tool."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from motiontrace.client import unpack
from motiontrace.service.app import create_app
from tests.service.asking import ask
from tests.service.conftest import copy_of
from tests.service.labeling.exported import mark_motion

if TYPE_CHECKING:
    from tests.service.conftest import Corpus

SCRIPTS = Path(__file__).parent
LABEL = {
    "verdict": "unrealistic",
    "decision": "drop",
    "note": "jumps, 日本 <b>&",
    "ranges": [{"start": 0.25, "end": 0.5, "label": "bad motion"}],
    "boxes": [
        {
            "label": "square",
            "keyframes": [
                {"time": 0.25, "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4, "visible": True},
                {"time": 0.75, "x": 0.4, "y": 0.2, "width": 0.3, "height": 0.4, "visible": False},
            ],
        }
    ],
}


def python_with(package: str, variable: str) -> str:
    """The Python that has the package: that of the variable, or this one; the test is skipped where neither has it."""
    if named := os.environ.get(variable):
        return str(Path(named).absolute())
    if importlib.util.find_spec(package) is not None:
        return sys.executable
    pytest.skip(f"{package} is not installed: `make test-labeling` installs it, and names its Python in {variable}")


def read_by(python: str, script: str, folder: Path, home: Path) -> Any:
    """What a script of this folder prints of `folder` as JSON in its last line; the tool keeps its things in `home`."""
    environment = {
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "FIFTYONE_DO_NOT_TRACK": "1",
    }
    done = subprocess.run(
        [python, "-P", str(SCRIPTS / script), str(folder)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def exported(corpus: Corpus, home: Path, tool: str, folder: Path) -> list[dict[str, Any]]:
    """Make `folder` of both ends of a ranking for a tool, as the command does; gives the ranking's rows."""
    settings = copy_of(corpus, home)
    mark_motion(settings, "up-red")
    with TestClient(create_app(settings)) as client:
        query = ask(client, corpus.video("up-red"), "a square, up-red").json()["id"]
        assert client.put("/v1/clips/up-red/labels", json=LABEL).status_code == 200
        path = f"/v1/queries/{query}/export?end=both&limit=3&format="
        (home / "folder.zip").write_bytes(client.get(path + tool).content)
        rows = [json.loads(line) for line in client.get(path + "jsonl").text.splitlines()]
    unpack(home / "folder.zip", folder)
    return rows
