"""motiontrace clips, indexes and queries: what is there, without a service and without a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from motiontrace.catalog.database import Database
from motiontrace.catalog.errors import CatalogError, UnknownIndexError
from motiontrace.catalog.repositories import IndexRepository, LabelRepository
from motiontrace.cli import app, register
from tests.service.conftest import copy_of

if TYPE_CHECKING:
    from typer.testing import Result

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus


@pytest.fixture(scope="module")
def settings(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> ServiceSettings:
    register()
    settings = copy_of(corpus, tmp_path_factory.mktemp("listing"))
    database = Database.open(settings.url)
    with database.writing() as session:
        LabelRepository(session).put("left-red", verdict="cartoon", decision="drop", tool="test")
        IndexRepository(session).create("empty", recipe='{"family": "wan"}', recipe_digest="0" * 64, model="/m[1]")
    database.close()
    return settings


def run(settings: ServiceSettings, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"MOTIONTRACE_HOME": str(settings.home)})


def document(settings: ServiceSettings, *arguments: str) -> Any:
    result = run(settings, *arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_indexes_are_listed_and_shown_with_their_recipe(settings: ServiceSettings, corpus: Corpus) -> None:
    listed = {index["name"]: index for index in document(settings, "indexes", "list")}
    assert listed["tiny"]["clips"] == {"indexed": 8, "no_motion": 1, "failed": 1}
    shown = run(settings, "indexes", "list").stdout
    assert "/m[1]" in shown
    assert str(corpus.model)[:20] in shown
    assert document(settings, "indexes", "show", "tiny")["recipe"]["frames"] == corpus.recipe.frames
    assert f"frames                 {corpus.recipe.frames}" in run(settings, "indexes", "show", "tiny").stdout
    unknown = run(settings, "indexes", "show", "wan")
    assert isinstance(unknown.exception, UnknownIndexError)
    assert "there are empty, tiny" in str(unknown.exception)


def test_clips_are_listed_page_by_page_with_file_label_and_outcome(settings: ServiceSettings, corpus: Corpus) -> None:
    page = document(settings, "clips", "list", "--index", "tiny", "--limit", "4")
    rest = document(settings, "clips", "list", "--index", "tiny", "--after", page["next"])
    clips = page["clips"] + rest["clips"]
    assert [clip["id"] for clip in clips] == sorted(path.stem for path in corpus.directory.glob("*.mp4"))
    assert rest["next"] is None
    by_id = {clip["id"]: clip for clip in clips}
    assert by_id["up-red"]["path"] == str(corpus.video("up-red"))
    assert (by_id["left-red"]["verdict"], by_id["still"]["entry"]["outcome"]) == ("cartoon", "no_motion")
    assert [clip["id"] for clip in document(settings, "clips", "list", "--text", "LEFT")["clips"]] == [
        "left blue",
        "left-red",
    ]
    failed = run(settings, "clips", "list", "--index", "tiny", "--outcome", "failed").stdout
    assert "broken.mp4" in failed
    assert "is not a video" in failed
    assert "more: --after down-red" in run(settings, "clips", "list", "--limit", "3").stdout
    refused = run(settings, "clips", "list", "--outcome", "failed")
    assert (refused.exit_code, "name that too" in refused.output) == (2, True)


def test_a_clip_is_shown_with_what_became_of_it(settings: ServiceSettings, corpus: Corpus) -> None:
    assert document(settings, "clips", "show", "left-red")["indexes"][0]["outcome"] == "indexed"
    shown = run(settings, "clips", "show", "left-red").stdout
    assert str(corpus.video("left-red")) in shown
    assert "index tiny: indexed" in shown
    assert "its caption" not in shown
    unknown = run(settings, "clips", "show", "nobody")
    assert isinstance(unknown.exception, CatalogError)
    assert "motiontrace clips list" in str(unknown.exception)


def test_queries_that_are_kept_are_listed_and_shown(settings: ServiceSettings) -> None:
    asked = [
        document(settings, "query", "--clip", clip, "--keep", "-k", "2", "--index", "tiny")
        for clip in ("up-red", "left-red")
    ]
    listed = document(settings, "queries", "list", "--limit", "1")
    assert [query["id"] for query in listed["queries"]] == [asked[1]["id"]]
    behind = document(settings, "queries", "list", "--after", listed["next"], "--index", "tiny", "--status", "done")
    assert [query["id"] for query in behind["queries"]] == [asked[0]["id"]]
    assert "clip left-red" in run(settings, "queries", "list").stdout
    found = document(settings, "queries", "show", asked[0]["id"])
    assert {name: found[name] for name in ("top", "bottom", "ranked")} == {
        name: asked[0][name] for name in ("top", "bottom", "ranked")
    }
    shown = run(settings, "queries", "show", asked[0]["id"]).stdout
    assert "like up-red" in shown and "(of 7 clips in tiny)" in shown
    assert found["hint"] == asked[0]["hint"] and "--precondition centre" in shown and '"precondition"' not in shown
    for arguments, said in ((("show", "none"), "motiontrace queries list"), (("list", "--after", "x"), "no place")):
        refused = run(settings, "queries", *arguments)
        assert isinstance(refused.exception, CatalogError)
        assert said in str(refused.exception)


def test_nothing_heavy_is_imported(settings: ServiceSettings) -> None:
    kept = document(settings, "query", "--clip", "up-red", "--keep", "--index", "tiny")["id"]
    heavy = {"torch", "diffusers", "transformers", "cv2", "av", "fastapi", "pyarrow", "PIL"}
    lines = [
        ("indexes", "list"),
        ("indexes", "show", "tiny"),
        ("clips", "list"),
        ("clips", "show", "still"),
        ("queries", "list"),
        ("queries", "show", kept),
    ]
    script = (
        "import sys; from motiontrace.cli import app, register; register()\n"
        f"for line in {lines!r}: app(list(line), standalone_mode=False)\n"
        f"print('heavy:', sorted({heavy!r} & sys.modules.keys()))"
    )
    environment = {**os.environ, "MOTIONTRACE_HOME": str(settings.home)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.stdout.splitlines()[-1] == "heavy: []", ended.stderr
