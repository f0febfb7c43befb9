"""The command as a user runs it: a process, its output and its exit code."""

import json
import os
import subprocess
import sys

import pytest

import motiontrace.indexer.calibration
import motiontrace.indexer.run  # for tests.processes
from motiontrace import __version__
from motiontrace.catalog.database import Database
from motiontrace.catalog.publishing import recipe_of
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.commands.options import share_processors
from tests.checkpoints import tiny_wan
from tests.processes import run_command
from tests.videos import moving_square


def motiontrace(*arguments, cwd, **variables):
    return run_command(*arguments, cwd=cwd, **{"MOTIONTRACE_HOME": str(cwd / "home"), **variables})


def motiontrace_anew(*arguments, cwd):
    """In a process that has imported nothing: seconds longer, so that there is one for each verb."""
    environment = {**os.environ, "MOTIONTRACE_HOME": str(cwd / "home")}
    command = [sys.executable, "-m", "motiontrace", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    tiny_wan(folder / "model")
    (folder / "clips").mkdir()
    rows = []
    for name, (dx, dy) in {"right": (2, 0), "left": (-2, 0), "down": (0, 2)}.items():
        moving_square(folder / "clips" / f"{name}.mp4", dx, dy)
        rows.append({"file_name": f"{name}.mp4", "caption": f"a square moves {name}", "id": name})
    (folder / "clips" / "bad.mp4").write_text("no video")
    rows.append({"file_name": "bad.mp4", "caption": "bad", "id": "bad"})
    (folder / "clips" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_version_and_help(tmp_path):
    assert motiontrace_anew("--version", cwd=tmp_path).stdout == f"motiontrace {__version__}\n"
    shown = motiontrace_anew("--help", cwd=tmp_path).stdout
    assert all(verb in shown for verb in ("index", "query", "serve", "demo"))


def test_index_then_query(folder):
    indexed = motiontrace_anew("index", "clips", "--model", "model", "--index", "squares", cwd=folder)
    assert indexed.returncode == 0, indexed.stderr
    assert "1 failed, 3 indexed" in indexed.stdout
    assert "bad.mp4 is not a video" in indexed.stdout

    asked = ("query", "clips/down.mp4", "--prompt", "a square moves down", "-k", "2")
    table = motiontrace_anew(*asked, cwd=folder)
    assert table.returncode == 0, table.stderr
    assert "most related (of 3 clips in squares)" in table.stdout
    assert "3 clips are too few to tell what stands out from chance" in table.stdout
    answer = json.loads(motiontrace(*asked, "--json", cwd=folder).stdout)
    assert answer["top"][0]["id"] == "down"
    assert answer["top"][0]["score"] == pytest.approx(1, abs=2e-3)
    assert [hit["rank"] for hit in answer["bottom"]] == [3, 2]


def test_settings_come_from_flag_over_variable_over_file(folder, tmp_path):
    (tmp_path / "motiontrace.toml").write_text(
        f'model = "{folder / "model"}"\nindex = "from-file"\nframes = 9\ntimesteps = [500, 751]\nbatch = 1\n'
    )
    clips = folder / "clips"
    from_file = motiontrace("index", clips, cwd=tmp_path)
    assert "9 frames of 32x32" in from_file.stdout, from_file.stderr
    assert "index from-file:" in from_file.stdout
    given = {"MOTIONTRACE_FRAMES": "13", "MOTIONTRACE_TIMESTEPS": "400 600.5"}
    from_variable = motiontrace("index", clips, cwd=tmp_path, MOTIONTRACE_INDEX="variable", **given)
    assert "13 frames of 32x32" in from_variable.stdout, from_variable.stderr
    flags = (
        "--frames",
        "5",
        "--timesteps",
        "300",
        "--timesteps",
        "200",
        "--noise-draws",
        "2",
        "--gradients",
        "exact",
        "--projection-width",
        "2048",
        "--projection-dim",
        "256",
        "--basis-clips",
        "0",
    )
    from_flag = motiontrace("index", clips, *flags, "--index", "flag", cwd=tmp_path, **given)
    assert "5 frames of 32x32" in from_flag.stdout, from_flag.stderr
    database = Database.open(f"sqlite:///{tmp_path}/home/catalog.db")
    with database.reading() as session:
        made = {index.name: recipe_of(index) for index in IndexRepository(session).all()}
    database.close()
    steps = {"from-file": (500, 751), "variable": (400, 600.5), "flag": (300, 200)}
    assert {name: recipe.timesteps for name, recipe in made.items()} == steps
    recipe = made["flag"]
    assert (recipe.noise_draws, recipe.gradients, recipe.projection.width, recipe.dim) == (2, "exact", 2048, 256)
    assert (made["variable"].noise_draws, made["variable"].gradients) == (1, "factorised")


def test_mistyped_key_in_the_settings_file_is_refused(folder, tmp_path):
    (tmp_path / "motiontrace.toml").write_text("heigth = 64\n")
    refused = motiontrace("index", folder / "clips", cwd=tmp_path)
    assert refused.returncode == 1
    assert "did you mean height?" in refused.stderr


def test_run_that_indexes_nothing_exits_with_1(folder, tmp_path):
    (tmp_path / "clips.csv").write_text("video,caption\nnone.mp4,x\n")
    failed = motiontrace("index", "clips.csv", "--model", folder / "model", "--index", "none", cwd=tmp_path)
    assert failed.returncode == 1
    assert "none.mp4" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("index", "none.csv", "--model", "model", "--index", "x"), 1, "there is no file or folder none.csv"),
        (("index", "clips", "--model", "nowhere/", "--index", "x"), 1, "there is no folder nowhere/"),
        (
            ("index", "clips", "--model", "model", "--index", "x", "--height", "33"),
            1,
            "The nearest is 5 frames of 32x32",
        ),
        (("index", "clips", "--model", "model", "--index", "x", "--dtype", "int8"), 1, "dtype: "),
        (("index", "clips", "--model", "model", "--index", "x", "--parameters", "q.*"), 1, "no parameter of the"),
        (("index", "clips", "--model", "model", "--index", "x", "--device", "gpu"), 2, "'gpu' is no device"),
        (("index", "clips", "--model", "model", "--index", "a/b"), 1, "cannot name a directory"),
        (("index", "clips"), 2, "Missing option"),
        (("index", "clips", "--model", "m", "--index", "x", "--basis-clips", "9"), 2, "learned from 64 clips or more"),
        (("query", "clips/bad.mp4", "--prompt", "x", "--url", "http://127.0.0.1:9"), 1, "is the service running there"),
        (("query", "none.mp4", "--prompt", "x"), 2, "does not exist"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(folder, arguments, code, said):
    result = motiontrace(*arguments, cwd=folder)
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_idle_threads_of_workers_sleep_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", before or "")  # so that it is put back afterwards
    if before is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    share_processors()
    assert os.environ["OMP_WAIT_POLICY"] == after
