"""Options that several verbs have. A setting has one name: --flag, key of motiontrace.toml, MOTIONTRACE_* variable."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from motiontrace.answering.settings import AnsweringSettings
from motiontrace.catalog.settings import CatalogSettings
from motiontrace.commands.flags import flag, option


def index_names(context: typer.Context, incomplete: str) -> list[str]:
    """The names of indexes that begin so, for a shell's completion; none where the catalog cannot be read."""
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.repositories import IndexRepository

    with suppress(Exception):  # an error here would garble the line that is being typed
        places = CatalogSettings(**given(**{name: context.params.get(name) for name in ("home", "database_url")}))
        with closing(Database.open(places.url, reading=True)) as database, database.reading() as session:
            return [index.name for index in IndexRepository(session).all() if index.name.startswith(incomplete)]
    return []


def _check_device(device: str | None) -> str | None:
    """Refuse what is no name of a torch device. Whether there is such a device shows when it is used."""
    if device is not None and not re.fullmatch(r"(cpu|cuda|mps|xpu|hpu|mtia|npu|musa)(:\d+)?", device):
        raise typer.BadParameter(f"{device!r} is no device: give cpu, cuda, cuda:1 or mps", param_hint="--device")
    return device


BASIS_CLIPS = 1024
MIN_BASIS_CLIPS, MAX_BASIS_CLIPS = 64, 8192  # as in attribution.basis and indexer.calibration: seconds to import

Home = Annotated[Path | None, flag(CatalogSettings, "home")]
DatabaseUrl = Annotated[str | None, flag(CatalogSettings, "database_url")]
Device = Annotated[str | None, flag(AnsweringSettings, "device", callback=_check_device)]
Model = Annotated[str, option("model", "diffusers checkpoint folder, or Hugging Face model id.")]
Index = Annotated[str, option("index", "Name of the index; made if there is none.", autocompletion=index_names)]
AskedIndex = Annotated[
    str | None, option("index", "Name of the index to ask.", show_default="the only one", autocompletion=index_names)
]
Strict = Annotated[
    bool,
    option(
        "strict",
        "Stop at the first row of the manifest that cannot be used, instead of passing it over.",
    ),
]
ListedIndex = Annotated[
    str | None, typer.Option("--index", help="Only those of this index.", autocompletion=index_names)
]
Decoders = Annotated[int, option("decoders", "Threads that decode ahead of the model.", min=1, max=64)]
Batch = Annotated[
    int | None,
    option(
        "batch",
        "Clips that the model differentiates at once.",
        min=1,
        max=1024,
        show_default="as many as pay and fit in memory",
    ),
]
BasisClips = Annotated[
    int,
    option(
        "basis_clips",
        "Clips that a new index learns its basis from, at least 64; 0: a plain random projection.",
        min=0,
        max=MAX_BASIS_CLIPS,
    ),
]

RecipeName = Annotated[
    str | None,
    option(
        "recipe",
        "Named recipe, default or paper; single options win over it.",
        show_default="for a new index: default",
    ),
]


def parameters(command: Any) -> Iterator[Any]:
    """The options and arguments of a click command and of all commands below it."""
    yield from command.params
    for below in getattr(command, "commands", {}).values():
        yield from parameters(below)


def share_processors() -> None:
    """Let idle OpenMP threads sleep. By default they spin for a while and take processors from others.

    Two workers on two cores took 8 and 25 s for 16 queries of the demo; with this they take 2.5 and 2.2 s. Call it
    before torch is imported. A value in the environment stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def given(**options: Any) -> dict[str, Any]:
    """The options that somebody has set. What is None is left out, so that the settings' own default holds."""
    return {name: value for name, value in options.items() if value is not None}
