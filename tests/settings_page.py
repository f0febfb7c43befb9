"""The tables of docs/settings.md, made of flags and fields: `python -m tests.settings_page` writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main

from motiontrace.attribution.presets import DEFAULT_PRESET, PRESETS
from motiontrace.attribution.recipe import Recipe
from motiontrace.cli import app, register
from motiontrace.fields import settings_of, text_of
from motiontrace.service.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = "| flag, variable | default | what |\n|---|---|---|\n"
TABLE = re.compile(r"(<!-- rows: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
EVERYWHERE = ("home", "database_url", "device")
LOGS = ("log_format", "log_level", "metrics_port", "metrics_host")
LABELLING = (
    "public_url",
    "media_link_days",
    "label_studio_url",
    "label_studio_public_url",
    "label_studio_token",
    "label_studio_callback_url",
)
# Not settings, but read with them: options that have no variable.
BESIDE = {
    "query": ("precondition", "damping"),
    "evaluate": ("look", "within", "gravity", "fps", "output"),
}


@dataclass(frozen=True)
class Row:
    """A setting as the page shows it."""

    name: str
    flag: str
    variable: str
    default: str
    text: str

    def __str__(self) -> str:
        names = " ".join(name for name in (self.flag, self.variable) if name != "-")
        return f"| {names} | {_marked(self.default)} | {_marked(self.text)} |\n"


def tables() -> dict[str, list[Row]]:
    """All rows by table, each setting once."""
    register()
    verbs = {name: list(_of_verb(name, verb.params)) for name, verb in typer.main.get_command(app).commands.items()}
    recipe = {"recipe", *(setting.name for setting in settings_of(Recipe))}
    fields = list(_of_service())
    return {
        "everywhere": [row for row in verbs["serve"] if row.name in EVERYWHERE],
        "index": [row for row in verbs["index"] if row.name not in {*EVERYWHERE, *recipe}],
        "recipe": [row for row in verbs["index"] if row.name in recipe],
        "query": [row for row in verbs["query"] if row.name not in EVERYWHERE],
        "finetune": [row for row in verbs["finetune"] if row.name not in {*EVERYWHERE, "model", "strict"}],
        "select": [row for row in verbs["select"] if row.name not in {*EVERYWHERE, "index", "strict"}],
        "evaluate": [row for row in verbs["evaluate"] if row.name not in {*EVERYWHERE, "model", "strict"}],
        "serve": [row for row in verbs["serve"] if row.name not in EVERYWHERE]
        + [row for row in fields if row.name not in {*EVERYWHERE, *LOGS, *LABELLING, "host", "port"}],
        "labelling": [row for row in fields if row.name in LABELLING],
        "logs": [row for row in fields if row.name in LOGS],
    }


def written(page: str) -> str:
    """The page with its tables made anew."""
    found = tables()
    return TABLE.sub(lambda match: f"{match[1]}{HEAD}{''.join(map(str, found[match[2]]))}{match[3]}", page)


def _of_verb(verb: str, parameters: Iterable[Any]) -> Iterator[Row]:
    chosen = {setting.name: PRESETS[DEFAULT_PRESET] for setting in settings_of(Recipe) if setting.choice}
    paths = {setting.name: setting.path for setting in settings_of(Recipe)}
    for parameter in parameters:
        if not parameter.envvar and parameter.name not in BESIDE.get(verb, ()):
            continue
        default = parameter.show_default if isinstance(parameter.show_default, str) else text_of(parameter.default)
        if verb == "index" and parameter.name in chosen:
            value: Any = chosen[parameter.name]
            for step in paths[parameter.name]:
                value = value[step]
            default = text_of(value)
        variable = f"`{parameter.envvar}`" if parameter.envvar else "-"
        flag = f"`{max(parameter.opts, key=len)}`"
        yield Row(parameter.name, flag, variable, "must be given" if parameter.required else default, parameter.help)


def _of_service() -> Iterator[Row]:
    for setting in settings_of(ServiceSettings):
        variable = f"`MOTIONTRACE_{setting.name.upper()}`"
        yield Row(setting.name, "-", variable, setting.default_text, setting.info.description or "")


def _marked(text: str) -> str:
    """The text with its flags set as code, and without anything that Markdown reads."""
    text = re.sub(r"(?<![\w`-])--[a-z][a-z-]*", r"`\g<0>`", text)
    return re.sub(r"(?<!`)\*(?!`)", r"\*", text.replace("|", r"\|").replace("<", "&lt;"))


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
