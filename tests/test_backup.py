"""docs/operations.md: its own commands back up and restore a catalog, and the same question has the same answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from motiontrace.catalog.database import Database
from motiontrace.catalog.publishing import compact, open_index
from motiontrace.catalog.repositories import ClipRepository, IndexRepository, QueryRepository
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.catalog.vectors import Searcher
from motiontrace.doctor import examine
from tests.catalog import indexing, postgresql
from tests.catalog.postgresql import database as postgresql_database
from tests.catalog.vectors import vector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motiontrace.catalog.vectors import Hit

PAGE = (Path(__file__).parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
IDS = [f"clip-{number:03}" for number in range(60)]


def commands(heading: str) -> list[str]:
    """The bash blocks of a section of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


HOLD, COPY_SQLITE, COPY_POSTGRESQL, COPY_FILES = commands("Backup")
UNPACK, RESTORE_SQLITE, RESTORE_POSTGRESQL, CHECK = commands("Restore")


@dataclass
class Installation:
    """A home and its database."""

    settings: CatalogSettings
    backup: Path

    def run(self, *blocks: str) -> subprocess.CompletedProcess[str]:
        url = make_url(self.settings.url)
        program = f"{sys.executable} -m motiontrace"
        environment = {
            **os.environ,
            "PATH": f"{postgresql.BINARIES}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
            "MOTIONTRACE_HOME": str(self.settings.home),
            "BACKUP": str(self.backup),
        }
        if url.get_backend_name() == "postgresql":
            environment["DATABASE"] = url.set(drivername="postgresql").render_as_string(hide_password=False)
            environment["MOTIONTRACE_DATABASE_URL"] = self.settings.url
        script = f'motiontrace() {{ {program} "$@"; }}\n' + "".join(blocks)
        return subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, cwd=self.backup, timeout=120
        )

    def answers(self) -> tuple[list[Hit], list[Hit], list[str], str]:
        """The ranking of a question, with captions, and the prompt of the query that waits."""
        database = Database.open(self.settings.url)
        try:
            with database.reading() as session:
                index = IndexRepository(session).get(indexing.NAME)
                searcher = Searcher.open(self.settings.index_directory / index.name, index.recipe_digest)
                found = searcher.search(vector("clip-007"), 20)
                clips = ClipRepository(session).get_many([hit.id for hit in found.top])
                waiting = QueryRepository(session).page(status="queued").items
            return found.top, found.bottom, [clips[hit.id].caption for hit in found.top], waiting[0].prompt or ""
        finally:
            database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest) -> Iterator[list[str | None]]:
    """Addresses of two databases, the second one empty; None: SQLite in home."""
    if request.param == "sqlite":
        yield [None, None]
        return
    server = request.getfixturevalue("postgresql_server")
    with postgresql_database(server, "kept") as kept, postgresql_database(server, "restored") as restored:
        yield [kept, restored]


@pytest.fixture
def installation(urls: list[str | None], tmp_path: Path) -> Installation:
    """An index in several segments, one of them merged, and a query that waits."""
    settings = CatalogSettings(home=tmp_path / "home", database_url=urls[0])
    indexing.run(settings, IDS[:40], 10)
    database = Database.open(settings.url)
    index, store, _ = open_index(database, settings, indexing.NAME, recipe=indexing.RECIPE, model="/model")
    with store:
        indexing.publish(database, store, index, IDS[40:])
        indexing.publish(database, store, index, IDS[:3], version=1)
    video = settings.upload_directory / "a1" / "The upload"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"a video")
    with database.writing() as session:
        QueryRepository(session).create(index, prompt="a ball", video_path=str(video), video_sha256="0" * 64, k=3)
    database.close()
    (tmp_path / "backup").mkdir()
    return Installation(settings, tmp_path / "backup")


def copies(installation: Installation) -> tuple[str, str]:
    is_sqlite = installation.settings.database_url is None
    return (COPY_SQLITE, RESTORE_SQLITE) if is_sqlite else (COPY_POSTGRESQL, RESTORE_POSTGRESQL)


def test_what_the_page_backs_up_and_restores_answers_alike(
    installation: Installation, urls: list[str | None], tmp_path: Path
) -> None:
    copy, restore = copies(installation)
    made = installation.run(HOLD, copy, COPY_FILES)
    assert made.returncode == 0, made.stderr
    before = installation.answers()
    assert before[0][0].id == "clip-007"

    elsewhere = CatalogSettings(home=tmp_path / "elsewhere", database_url=urls[1])
    restored = Installation(elsewhere, installation.backup)
    done = restored.run(UNPACK, restore)
    assert done.returncode == 0, done.stderr
    assert restored.answers() == before
    assert (elsewhere.upload_directory / "a1" / "The upload").read_bytes() == b"a video"
    checked = restored.run(CHECK.splitlines(keepends=True)[0])
    assert checked.returncode == 0, checked.stderr

    findings = {found.check: found.level for found in examine({"home": elsewhere.home, "database_url": urls[1]}, [])}
    assert (findings["database"], findings["index demo"]) == ("ok", "ok")

    # An index run goes on where the old one ended: nothing is mended, nothing lost.
    database = Database.open(elsewhere.url)
    index, store, recovered = open_index(database, elsewhere, indexing.NAME, recipe=indexing.RECIPE, model="/model")
    with store:
        assert not (recovered.lost or recovered.published or recovered.damage or recovered.set_aside)
        compact(database, store, index)
    database.close()
    assert restored.answers()[0] == before[0]


def test_no_backup_is_made_while_an_index_is_written(installation: Installation) -> None:
    database = Database.open(installation.settings.url)
    _, store, _ = open_index(database, installation.settings, indexing.NAME, recipe=indexing.RECIPE, model="/model")
    with store:
        refused = installation.run(HOLD, "echo went on")
        assert refused.returncode == 1
        assert "an index run holds" in refused.stderr
        assert "went on" not in refused.stdout
    assert installation.run(HOLD, "echo went on").stdout == "went on\n"
    database.close()


def test_no_index_run_starts_during_a_backup(installation: Installation) -> None:
    # What an index run meets while the shell holds the locks, told by flock from another process.
    lock = installation.settings.index_directory / indexing.NAME / "writer.lock"
    meanwhile = f'flock --nonblock "{lock}" true && echo free || echo held\n'
    assert installation.run(HOLD, meanwhile).stdout == "held\n"
    assert installation.run(meanwhile).stdout == "free\n"
