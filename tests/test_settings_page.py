"""docs/settings.md names every setting, and none that does not exist."""

import re
from pathlib import Path

import pytest
import typer.main

from motiontrace.cli import app, register
from motiontrace.service.settings import ServiceSettings
from tests.settings_page import written

PAGE = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")


def settings() -> set[str]:
    register()
    group = typer.main.get_command(app)
    variables = {f"MOTIONTRACE_{name.upper()}" for name in ServiceSettings.model_fields}
    for verb in ("index", "query", "select", "serve", "finetune", "evaluate"):
        for parameter in group.commands[verb].params:
            if isinstance(parameter.envvar, str):
                variables.add(parameter.envvar)
    return variables


@pytest.mark.parametrize("variable", sorted(settings()))
def test_every_setting_is_on_the_page(variable):
    assert f"`{variable}`" in PAGE


def test_no_other_setting_is_on_the_page():
    assert set(re.findall(r"MOTIONTRACE_[A-Z0-9_]+[A-Z0-9]", PAGE)) - settings() == {"MOTIONTRACE_CONFIG"}


def test_the_tables_say_what_the_settings_do():
    assert written(PAGE) == PAGE, "python -m tests.settings_page writes them"
