"""Every line that tells how to install motiontrace is one that works: in a checkout, with extras that there are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from motiontrace.catalog.installing import EXTRAS, how_to_install, install_line

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT = Path(__file__).parent.parent
TOLD = re.compile(r"pip install (?!cvat-cli)[^\n`]*")
EXTRAS_OF_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def texts() -> dict[str, str]:
    """All that people read: documentation and source, without the tests."""
    kinds = ("*.md", "*.py", "*.txt", "*.toml", "*.yml")
    listed = subprocess.run(["git", "ls-files", *kinds], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split() or [str(path.relative_to(ROOT)) for kind in kinds for path in ROOT.rglob(kind)]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in names if not name.startswith(("tests/", "."))}


def test_nothing_names_a_package_that_is_not_published() -> None:
    wrong = re.compile(r"install[^\n]{0,60}\bmotiontrace(\[|['\"]|\s*$)")
    assert [(name, found[0]) for name, text in texts().items() for found in wrong.finditer(text)] == []


def test_every_line_installs_a_checkout_with_extras_that_there_are() -> None:
    told = [line for name, text in texts().items() if name.endswith(".md") for line in TOLD.findall(text)]
    assert len(told) >= 4
    for line in told:
        if line == "pip install .":  # the client
            continue
        found = re.match(r"pip install -c constraints\.txt '\.\[([a-z,]+)\]'", line)
        assert found, line
        extras = found[1].split(",")
        assert line.startswith(install_line(*extras))
        assert set(extras) <= EXTRAS_OF_PROJECT.keys()


def brought_by(extra: str) -> set[str]:
    """The distributions of an extra, and of those that it names."""
    found = set()
    for requirement in EXTRAS_OF_PROJECT[extra]:
        name, _, named = re.match(r"([\w-]+)(\[([\w,]+)\])?", requirement).groups()  # type: ignore[union-attr]
        found |= set().union(*map(brought_by, named.split(","))) if name == "motiontrace" else {name.replace("-", "_")}
    return found


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_the_extra_that_is_named_brings_the_package(module: str, extra: str) -> None:
    distributions = {name.lower().replace("-", "_") for name in packages_distributions()[module]}
    assert distributions & brought_by(extra)
    assert how_to_install(module) == f"in a checkout of motiontrace, pip install -c constraints.txt '.[{extra}]'"


def test_every_package_that_is_imported_comes_with_the_client_or_has_an_extra() -> None:
    client = {"anyio", "httpx", "pydantic", "pydantic_core", "pydantic_settings", "rich", "typer"}
    optional = {"hf_xet"}  # done without where it is missing
    imported: set[str] = set()
    for name, text in texts().items():
        if name.endswith(".py") and not name.startswith(("benchmarks/", "docker/")):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Import):
                    imported |= {each.name.partition(".")[0] for each in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported.add((node.module or "").partition(".")[0])
    packages = imported - sys.stdlib_module_names - {"motiontrace", ""}
    assert packages - client - optional == {name for name in EXTRAS if name in packages} - optional
    assert client <= packages


def run_without(missing: Collection[str], arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command where these packages are not installed."""
    hide = (
        "import sys; from importlib.machinery import PathFinder\n"
        "class Hidden(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        f"        return None if name in {set(missing)!r} else PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Hidden\n"
        f"sys.argv = ['motiontrace', *{arguments!r}]\n"
        "from motiontrace.cli import main; main()\n"
    )
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "MOTIONTRACE_HOME": str(home)}
    return subprocess.run([sys.executable, "-c", hide], env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("missing", "arguments", "said"),
    [
        ("faiss", ["query", "--clip", "a"], "the package faiss is not installed: in a checkout of motiontrace, pip"),
        ("matplotlib", ["compare", "a", "b", "--output", "c", "--prompt", "d"], "drawn by matplotlib: in a checkout"),
        ("scipy", ["evaluate", "a", "b", "--model", "m", "--output", "c"], "needs scipy and matplotlib: in a checkout"),
    ],
)
def test_a_package_that_is_missing_is_told_without_a_traceback(
    tmp_path: Path, missing: str, arguments: list[str], said: str
) -> None:
    failed = run_without([missing], arguments, tmp_path)
    assert failed.returncode == 1
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_client_alone_has_help_and_a_doctor_and_asks_services(tmp_path: Path) -> None:
    told = run_without(EXTRAS, ["--help"], tmp_path)
    assert told.returncode == 0
    assert {"index", "query", "serve", "labels", "demo"} <= set(re.findall(r"^  (\w+) ", told.stdout, re.MULTILINE))
    found = run_without(EXTRAS, ["doctor"], tmp_path)
    assert found.returncode == 0
    assert "the client alone is installed" in found.stdout
    asked = run_without(EXTRAS, ["query", "--url", "http://127.0.0.1:9", "--clip", "a"], tmp_path)
    assert "No answer from http://127.0.0.1:9" in asked.stderr


@pytest.mark.parametrize(
    "verb", [["serve"], ["worker"], ["indexes", "list"], ["query", "--clip", "a"], ["demo", "run"]]
)
def test_the_client_alone_says_what_a_verb_needs_besides(tmp_path: Path, verb: list[str]) -> None:
    failed = run_without(EXTRAS, verb, tmp_path)
    assert failed.returncode == 1
    assert re.fullmatch(
        r"error: the package \w+ is not installed: in a checkout of motiontrace, pip install [^\n]*'\.\[cpu\]'\n",
        failed.stderr,
    )
