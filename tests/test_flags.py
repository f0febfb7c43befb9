"""Flags follow from the fields of settings models: names, types, texts, defaults, variables and keys of the file."""

from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from motiontrace.attribution.presets import PRESETS
from motiontrace.attribution.recipe import Recipe
from motiontrace.commands.flags import RECIPE_HAS_IT, flags_of
from motiontrace.commands.index import index
from motiontrace.curation.finetuning.settings import FinetuneSettings
from motiontrace.fields import Flag, Mark, settings_of, text_of


class Wheels(BaseModel):
    count: int = Field(default=4, description="How many there are.")
    kind: Annotated[Literal["round", "square"], Flag(name="wheels")] = Field(default="round", description="Shape.")


class Engine(BaseModel):
    power: Annotated[float | None, Flag(default="as it comes")] = Field(default=None, gt=0, description="In kW.")


class Cart(BaseModel):
    made: Annotated[int, Mark.FIXED] = 1
    loads: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1, 2.5), description="Loads, kg.")
    covered: bool = Field(default=False, description="Whether it has a roof.")
    wheels: Wheels = Wheels()
    engine: Annotated[Engine | None, Mark.FLAT] = Engine()


found: list[dict[str, Any]] = []


@flags_of(settings=Cart)
def build(name: str, *, settings: dict[str, Any], quick: bool = False) -> None:
    """Build it."""
    found.append({"name": name, "quick": quick, **settings})


def run(*words: str, **variables: str) -> str:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(build)
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200", **variables})
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_settings_are_the_fields_and_those_of_groups():
    names = {setting.name: setting.path for setting in settings_of(Cart)}
    assert names == {
        "loads": ("loads",),
        "covered": ("covered",),
        "wheels_count": ("wheels", "count"),
        "wheels": ("wheels", "kind"),
        "power": ("power",),
    }


def test_help_has_the_fields_text_and_default():
    text = run("--help")
    assert "--loads <list[float]> Loads, kg. May be repeated. [env var: MOTIONTRACE_LOADS; default: (1, 2.5)]" in text
    assert "How many there are. [env var: MOTIONTRACE_WHEELS_COUNT; default: (4)]" in text
    assert "--wheels <str> Shape. [env var: MOTIONTRACE_WHEELS; default: (round)]" in text
    assert "In kW. [env var: MOTIONTRACE_POWER; default: (as it comes)]" in text
    assert "--covered / --no-covered Whether it has a roof. [env var: MOTIONTRACE_COVERED; default: (no)]" in text
    assert "--made" not in text and text.index("--loads") < text.index("--power") < text.index("--quick")


def test_a_verb_gets_what_was_given_in_its_groups():
    found.clear()
    run("a", "--wheels-count", "3", "--loads", "5", "--loads", "7", "--power", "9", "--no-covered", "--quick")
    run("b", MOTIONTRACE_WHEELS="square", MOTIONTRACE_LOADS="5 7")
    run("c")
    assert found == [
        {"name": "a", "quick": True, "wheels": {"count": 3}, "loads": [5, 7], "power": 9, "covered": False},
        {"name": "b", "quick": False, "wheels": {"kind": "square"}, "loads": [5, 7]},
        {"name": "c", "quick": False},
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "yes"),
        (1e-8, "1e-8"),
        (2.5e-4, "2.5e-4"),
        (0.25, "0.25"),
        (16_384, "16384"),
        ((), "none"),
    ],
)
def test_values_in_words(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize("model", [Recipe, FinetuneSettings])
def test_every_setting_says_what_it_is_in_a_sentence(model):
    for setting in settings_of(model):
        assert setting.info.description and setting.info.description.endswith("."), setting.name


def test_choices_of_method_are_those_of_named_recipes():
    choices = {setting.path for setting in settings_of(Recipe) if setting.choice}
    for preset in PRESETS.values():
        assert choices == {(name,) for name in preset if name != "motion"} | {
            ("motion", name) for name in preset["motion"]
        }
    app = typer.Typer(rich_markup_mode=None)
    app.command()(index)
    text = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert text.count(f"default: ({RECIPE_HAS_IT})") == len(choices)
