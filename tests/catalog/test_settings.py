import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from motiontrace.catalog.errors import CatalogError
from motiontrace.catalog.settings import CatalogSettings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("MOTIONTRACE_CONFIG", "MOTIONTRACE_HOME", "MOTIONTRACE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_defaults_are_in_the_users_home() -> None:
    settings = CatalogSettings()
    assert settings.home == Path.home() / ".motiontrace"
    assert settings.url == f"sqlite:///{Path.home()}/.motiontrace/catalog.db"
    assert settings.index_directory == settings.home / "indexes"
    assert settings.upload_directory == settings.home / "uploads"
    assert settings.thumbnail_directory == settings.home / "thumbnails"


def test_flags_win_over_variables_and_variables_over_the_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "motiontrace.toml").write_text('home = "/file"\ndatabase_url = "sqlite:////file.db"\nport = 1')
    assert CatalogSettings().home == Path("/file")
    monkeypatch.setenv("MOTIONTRACE_HOME", "/variable")
    assert CatalogSettings().home == Path("/variable")
    assert CatalogSettings(home=Path("/flag")).home == Path("/flag")
    assert CatalogSettings().url == "sqlite:////file.db"


def test_the_file_can_be_named(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = elsewhere / "other.toml"
    named.write_text('home = "/named"')
    monkeypatch.setenv("MOTIONTRACE_CONFIG", str(named))
    assert CatalogSettings().home == Path("/named")


def test_a_named_file_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTIONTRACE_CONFIG", "/nowhere.toml")
    with pytest.raises(CatalogError, match=r"/nowhere\.toml, which does not exist"):
        CatalogSettings()


def test_what_is_no_file_is_refused_without_waiting(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("motiontrace.toml").unlink(missing_ok=True)
    os.mkfifo("motiontrace.toml")
    with pytest.raises(CatalogError, match=r"The settings file motiontrace\.toml is a named pipe \(FIFO\), not a file"):
        CatalogSettings()
    monkeypatch.setenv("MOTIONTRACE_CONFIG", "/dev/zero")
    with pytest.raises(CatalogError, match="MOTIONTRACE_CONFIG names /dev/zero, which is a device, not a file"):
        CatalogSettings()


def test_a_relative_home_is_made_absolute(elsewhere: Path) -> None:
    assert CatalogSettings(home=Path("here")).home == elsewhere / "here"


def test_a_home_that_nobody_has_is_told() -> None:
    with pytest.raises(ValidationError, match="nobody knows the home folder ~nobody-of-this-name"):
        CatalogSettings(home=Path("~nobody-of-this-name/store"))
