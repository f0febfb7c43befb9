"""The settings file, as far as the command line needs it: it also holds defaults of options that are no settings."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.settings import config_file
from motiontrace.catalog.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Collection


def read_settings_file(options: Collection[str]) -> dict[str, Any]:
    """The settings file's keys and values, nothing where there is no file; `options` are those that verbs have.

    Raises:
        CatalogError: it is no TOML, or has a key that is neither an option nor a setting; says which.
    """
    from motiontrace.service.settings import ServiceSettings

    file = config_file()
    if file is None:
        return {}
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file} is not valid TOML: {error}.") from error
    known = {*options, *ServiceSettings.model_fields}
    for key in settings.keys() - known:
        near = nearest(key, known)
        hint = f": did you mean {near[0]}?" if near else "; docs/settings.md lists them."
        raise CatalogError(f"{file} has the key {key!r}, which is no setting{hint}")
    return settings
