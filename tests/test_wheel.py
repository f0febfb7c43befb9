"""The wheel has one importable name, and works beside packages and folders that are called as its rooms are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.conftest import Corpus

ROOT = Path(__file__).parent.parent
NAMES = ("service", "demo", "catalog", "indexer", "client")
PYTHON = [sys.executable, "-S"]  # without site's .pth files, of which one leads to this checkout


def built(target: str, source: Path, folder: Path) -> Path:
    """Build a wheel or an sdist of the source into a folder of its own."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    return next(folder.glob("motiontrace-*"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel beside another package, which has modules of the same names as its rooms."""
    folder = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    foreign_packages(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder to work in that has packages of these names, too."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    foreign_packages(folder)
    return folder


def foreign_packages(folder: Path) -> None:
    for name in NAMES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('another {name} was imported')\n")


def run(installed: Path, folder: Path, *arguments: object) -> str:
    """Run a Python program in a folder, with the wheel and the packages that it depends on."""
    places = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    environment = {**os.environ, "PYTHONPATH": places, "MOTIONTRACE_HOME": str(folder / "home")}
    done = subprocess.run(
        [*PYTHON, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_one_importable_name_and_its_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"motiontrace"}
    assert "motiontrace/py.typed" in names
    assert "motiontrace/demo/checkpoint/model_index.json" in names  # motiontrace demo needs no network
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]
    assert "Classifier: Typing :: Typed" in metadata


def test_every_room_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    rooms = {path.name for path in (ROOT / "motiontrace").iterdir() if path.is_symlink()}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.split("/")[1] for name in archive.namelist() if name.startswith("motiontrace/")}
    assert rooms <= packed


def test_a_wheel_that_is_built_from_an_sdist_is_the_same(wheel: Path, tmp_path: Path) -> None:
    """`python -m build` and `uv build` make the wheel so, and an index without a wheel gives the sdist to pip."""
    for name in ("sdist", "wheel"):
        (tmp_path / name).mkdir()
    with tarfile.open(built("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("motiontrace-*")
    assert contents(built("wheel", source, tmp_path / "wheel")) == contents(wheel)


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


def test_help_and_doctor_run_beside_packages_that_are_called_like_rooms(installed: Path, elsewhere: Path) -> None:
    told = run(installed, elsewhere, "-c", "import motiontrace; print(motiontrace.__file__)")
    assert Path(told.strip()).is_relative_to(installed)
    assert "motiontrace index" in run(installed, elsewhere, "-m", "motiontrace", "--help")
    found = json.loads(run(installed, elsewhere, "-m", "motiontrace", "doctor", "--json"))
    assert {each["check"] for each in found} >= {"version", "device", "search", "decoder"}


def test_clips_are_indexed_and_asked_about_from_such_a_folder(installed: Path, elsewhere: Path, corpus: Corpus) -> None:
    lines = [{"video": str(path), "caption": path.stem} for path in sorted(corpus.directory.glob("*red.mp4"))]
    manifest = elsewhere / "clips.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    index = ["index", manifest, "--model", corpus.model, "--index", "tiny", "--device", "cpu"]
    run(installed, elsewhere, "-m", "motiontrace", *index)
    query = ["query", corpus.video("right-red"), "--prompt", "a square", "--device", "cpu", "--json"]
    answer = json.loads(run(installed, elsewhere, "-m", "motiontrace", *query))
    assert answer["status"] == "done"
    assert answer["ranked"] == len(lines)
