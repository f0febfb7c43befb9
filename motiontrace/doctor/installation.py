"""The program itself, and what it was told: settings file, variables, flags."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from motiontrace import __version__
from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.installing import EXTRAS, install_line
from motiontrace.catalog.settings import CONFIG_VARIABLE, config_file
from motiontrace.catalog.spelling import nearest
from motiontrace.doctor.finding import Finding, fail, ok, warn
from motiontrace.service.settings import ServiceSettings
from motiontrace.settings_file import read_settings_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PREFIX = "MOTIONTRACE_"


def version() -> Finding:
    """Which program this is."""
    return ok("version", f"motiontrace {__version__}, Python {platform.python_version()}, {platform.platform()}")


def missing_packages() -> Finding | None:
    """What indexing, queries and the service need and is not installed; None: nothing."""
    needed = [package for package, extra in EXTRAS.items() if extra == "cpu"]
    missing = [package for package in needed if find_spec(package) is None]
    if not missing:
        return None
    todo = f"To index and serve here: in a checkout, {install_line('cpu')}; with an NVIDIA GPU, {install_line('gpu')}."
    if missing == needed:
        return warn("packages", "the client alone is installed: it asks a service; it indexes and serves nothing", todo)
    return fail("packages", f"{', '.join(missing)} not installed; nothing further was looked at", todo)


def given_settings(options: Iterable[Any]) -> Iterator[Finding]:
    """The settings file and the variables; `options` are click's parameters of all verbs."""
    options = list(options)
    try:
        file = config_file()
        settings = read_settings_file({option.name for option in options})
    except CatalogError as error:
        yield fail("settings file", str(error))
    else:
        yield ok(
            "settings file", "none" if file is None else f"{file.absolute()} sets {', '.join(settings) or 'nothing'}"
        )
    known = {CONFIG_VARIABLE, *(f"{PREFIX}{name.upper()}" for name in ServiceSettings.model_fields)}
    known |= {option.envvar for option in options if isinstance(option.envvar, str)}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    for name in unknown:
        near = nearest(name, known)
        advice = f"Did you mean {near[0]}?" if near else "docs/settings.md lists those there are."
        yield warn("variables", f"{name} is set, which is no setting and has no effect.", advice)
    if not unknown:
        found = sorted(name for name in os.environ if name.startswith(PREFIX))
        yield ok("variables", ", ".join(found) or "none is set")


def valid_settings(flags: Mapping[str, Any]) -> ServiceSettings | Finding:
    """The settings that hold; a finding where one has a value that it cannot have."""
    try:
        return ServiceSettings(**flags)
    except CatalogError as error:
        return fail("settings", str(error))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return fail("settings", wrong, "Correct it; nothing further was looked at.")
