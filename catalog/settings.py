"""Where things are stored: one place for flags, environment and file."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from motiontrace.catalog.errors import CatalogError
from motiontrace.fields import Flag
from motiontrace.files import FileError, check_file, home_expanded

CONFIG_VARIABLE = "MOTIONTRACE_CONFIG"
DEFAULT_CONFIG = Path("motiontrace.toml")
_MOST_BYTES = 1024**2


def absolute(path: Path) -> Path:
    """The absolute path, a leading `~` spelled out; raises ValueError where nobody knows that home."""
    found = home_expanded(path)
    if found.parts[:1] and found.parts[0].startswith("~"):
        raise ValueError(f"nobody knows the home folder {found.parts[0]}: give the path without it")
    return found.absolute()


def apart(separator: str | None) -> BeforeValidator:
    """Read several values: a variable holds them in one text, the settings file in a list.

    `separator`: what stands between them in the text; None: blanks.
    """

    def split(value: Any) -> Any:
        return [each for each in value.split(separator) if each] if isinstance(value, str) else value

    return BeforeValidator(split)


class CatalogSettings(BaseSettings):
    """Settings of everything stored; init arguments (flags) win over MOTIONTRACE_* variables over the file.

    The file is TOML with the fields as top-level keys: the one MOTIONTRACE_CONFIG names, else
    ./motiontrace.toml where there is one. Keys that belong to another room's settings are ignored here.
    """

    model_config = SettingsConfigDict(env_prefix="MOTIONTRACE_", extra="ignore", frozen=True)

    home: Annotated[Path, AfterValidator(absolute)] = Field(
        default=Path("~/.motiontrace"),
        validate_default=True,
        description="Directory of the database, indexes, uploads and thumbnails.",
    )
    database_url: Annotated[str | None, Flag(default="SQLite in --home")] = Field(
        default=None,
        description="SQLAlchemy URL of the catalog, as postgresql+psycopg://USER:PASSWORD@HOST/NAME.",
    )

    @property
    def url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.home / 'catalog.db'}"

    @property
    def index_directory(self) -> Path:
        """Holds one vector store for each index, in a directory of the index's name."""
        return self.home / "indexes"

    @property
    def basis_directory(self) -> Path:
        """Holds the bases that indexes' recipes name, each in a file named by its digest."""
        return self.home / "bases"

    @property
    def calibration_directory(self) -> Path:
        """Holds what new indexes have computed for their bases, by name; what no run is using may be deleted."""
        return self.home / "calibration"

    @property
    def upload_directory(self) -> Path:
        """Holds the videos of queries."""
        return self.home / "uploads"

    @property
    def thumbnail_directory(self) -> Path:
        """Holds cached thumbnails; may be deleted at any time."""
        return self.home / "thumbnails"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: first wins."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())


def config_file() -> Path | None:
    """The settings file: the one MOTIONTRACE_CONFIG names, else ./motiontrace.toml, None where there is none.

    Raises:
        CatalogError: what is named, or is there, is no file that can be read.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named is None and not os.path.lexists(DEFAULT_CONFIG):
        return None
    path = DEFAULT_CONFIG if named is None else home_expanded(named).absolute()
    try:
        check_file(path, empty=True, most_bytes=_MOST_BYTES)
    except FileError as error:
        if named is None:
            raise CatalogError(f"The settings file {error}: mend it, or remove it to use the defaults.") from error
        raise CatalogError(
            f"{CONFIG_VARIABLE} names {path}, which {error.reason}: correct it, or unset it to use the defaults."
        ) from error
    return path
