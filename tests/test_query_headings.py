"""What motiontrace query says of the clips at both ends of a ranking: no more than their scores allow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from motiontrace.cli import app, register
from tests.service.conftest import copy_of
from tests.service.labeling.reviewed import ASKED, NAME, ROOMY, UNRELATED
from tests.service.test_chance import ALIKE, add_indexes

if TYPE_CHECKING:
    from collections.abc import Callable

    from motiontrace.service.settings import ServiceSettings
    from tests.service.conftest import Corpus


@pytest.fixture(scope="module")
def settings(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> ServiceSettings:
    settings = copy_of(corpus, tmp_path_factory.mktemp("headings"))
    add_indexes(corpus, settings)
    return settings


@pytest.fixture
def ask(settings: ServiceSettings) -> Callable[..., str]:
    register()

    def run(clip: str, index: str, *more: str) -> str:
        environment = {"MOTIONTRACE_HOME": str(settings.home), "COLUMNS": "120"}
        result = CliRunner().invoke(app, ["query", "--clip", clip, "--index", index, *more], env=environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_clips_that_stand_out_are_said_to_move_like_it_or_against_it(ask: Callable[..., str]) -> None:
    printed = ask(ASKED, ROOMY, "-k", "3")
    assert printed.startswith(f"moves like {ASKED} (of 47 clips in {ROOMY})")
    assert f"moves against {ASKED}\n" in printed
    assert "of 47 clips 3 are above and 4 below" in printed


def test_where_some_clips_of_an_end_stand_out_these_are_marked(ask: Callable[..., str]) -> None:
    printed = ask(ASKED, ROOMY, "-k", "10")
    assert printed.startswith(f"most like {ASKED}; *: moves like {ASKED} (of 47 clips")
    assert f"moves least like it; *: moves against {ASKED}\n" in printed
    marked = [line for line in printed.splitlines() if "  *  " in line]
    assert len(marked) == 7


def test_where_all_scores_are_positive_the_lowest_are_least_related_and_centring_is_pointed_to(
    ask: Callable[..., str],
) -> None:
    asked = next(iter(UNRELATED))
    printed = ask(asked, ALIKE)
    assert "moves least like it\n" in printed and "against" not in printed
    assert "All 39 scores are above zero" in printed and "--precondition centre" in printed
    assert "--precondition" not in ask(asked, ALIKE, "--precondition", "centre")
    document = json.loads(ask(asked, ALIKE, "--json"))
    assert document["chance"]["one_sign"] == "positive"
    assert "--precondition centre" in document["hint"]


def test_few_clips_are_said_to_be_too_few(ask: Callable[..., str]) -> None:
    printed = ask(ASKED, NAME)
    assert printed.startswith(f"most like {ASKED} (of ")
    assert "moves least like it\n" in printed
    assert "7 clips are too few to tell what stands out from chance." in printed
