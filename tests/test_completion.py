"""The Tab key completes verbs, options and names of indexes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from motiontrace.catalog.database import Database, upgrade
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.catalog.settings import CatalogSettings

if TYPE_CHECKING:
    from pathlib import Path


def completed(home: Path, words: str) -> set[str]:
    """What bash is given to complete a line with."""
    run = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'motiontrace'; from motiontrace.cli import main; main()"],
        env={
            **os.environ,
            "MOTIONTRACE_HOME": str(home),
            "_MOTIONTRACE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stderr == ""
    return set(run.stdout.split())


def test_verbs_options_and_names_of_indexes_are_completed(tmp_path: Path) -> None:
    settings = CatalogSettings(home=tmp_path / "home")
    upgrade(settings.url)
    database = Database.open(settings.url)
    with database.writing() as session:
        for name in ("wan", "wan-large", "cog"):
            IndexRepository(session).create(name, recipe="{}", recipe_digest="0" * 64, model="/m")
    database.close()
    assert completed(settings.home, "motiontrace sel") == {"select", "selections"}
    assert "--without-decision" in completed(settings.home, "motiontrace query --wi")
    assert completed(settings.home, "motiontrace query --index wa") == {"wan", "wan-large"}
    assert completed(tmp_path / "nowhere", "motiontrace query --index wa") == set()
