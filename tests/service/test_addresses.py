"""Addresses and the token of Label Studio in the settings: what is taken, what follows, and what is never shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from motiontrace.catalog.errors import CatalogError
from motiontrace.cli import main
from motiontrace.service.settings import ServiceSettings
from motiontrace.settings_file import read_settings_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ADDRESSES = ("public_url", "label_studio_url", "label_studio_public_url", "label_studio_callback_url")
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiI4NzY1In0.Q2hlY2stdGhpcy1vdXQ_-x"


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8600",
        "https://labels.example.org",
        "https://example.org/motiontrace",
        "http://[::1]:8090",
        "http://label_studio:8080",
        "https://example.org/a/b-c.d~e",
        "https://Example.org",
    ],
)
def test_addresses_are_taken_as_they_are(tmp_path: Path, name: str, address: str) -> None:
    settings = ServiceSettings(home=tmp_path, **{name: address})  # type: ignore[arg-type]
    assert getattr(settings, name) == address


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    "address",
    [
        "labels.example.org",
        "//labels.example.org",
        "ftp://example.org",
        "javascript:alert(1)",
        "http://",
        "http://example.org/",
        "http://example.org/app/",
        "http://example.org//app",
        "http://kim:secret@example.org",
        "http://kim@example.org",
        "http://example.org?a=b",
        "http://example.org/app?a=b",
        "http://example.org#a",
        "http://example.org ",
        " http://example.org",
        "http://example.org\n",
        "http://exam ple.org",
        "http://[::1",
        "http://example.org:",
        "http://example.org:port",
        f"http://{'e' * 500}.org",
        'http://example.org/"><script>',
    ],
)
def test_what_is_no_address_is_refused_with_the_name_of_the_setting(tmp_path: Path, name: str, address: str) -> None:
    with pytest.raises(ValidationError, match="it is no address: write https://HOST") as refusal:
        ServiceSettings(home=tmp_path, **{name: address})  # type: ignore[arg-type]
    assert [error["loc"] for error in refusal.value.errors()] == [(name,)]
    assert "secret" not in refusal.value.errors()[0]["msg"]  # doctor shows that


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "http://127.0.0.1:8600"),
        ({"host": "10.0.0.5", "port": 80}, "http://10.0.0.5:80"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8600"),
        ({"host": "::"}, "http://127.0.0.1:8600"),
        ({"host": "::1"}, "http://[::1]:8600"),
        ({"host": "localhost"}, "http://localhost:8600"),
        ({"host": "0.0.0.0", "public_url": "https://example.org/mt"}, "https://example.org/mt"),
    ],
)
def test_the_public_address_is_the_one_set_or_follows_from_host_and_port(
    tmp_path: Path, given: Mapping[str, Any], address: str
) -> None:
    settings = ServiceSettings(home=tmp_path, **given)
    assert settings.public_address == address
    assert settings.callback_address == address  # where no other is set
    assert ServiceSettings(home=tmp_path, public_url=address).public_url == address  # it is an address itself


def test_label_studios_addresses_default_to_one_another(tmp_path: Path) -> None:
    alone = ServiceSettings(home=tmp_path)
    assert alone.label_studio_public_address is None
    inside = ServiceSettings(home=tmp_path, label_studio_url="http://studio:8080")
    assert inside.label_studio_public_address == "http://studio:8080"
    both = inside.model_copy(
        update={"label_studio_public_url": "https://labels.example.org", "label_studio_callback_url": "http://api.lan"}
    )
    assert both.label_studio_public_address == "https://labels.example.org"
    assert both.callback_address == "http://api.lan"


def test_a_variable_that_is_there_but_empty_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ADDRESSES, "label_studio_token"):
        monkeypatch.setenv(f"MOTIONTRACE_{name.upper()}", "")
    settings = ServiceSettings(home=tmp_path)
    assert [getattr(settings, name) for name in (*ADDRESSES, "label_studio_token")] == [None] * 5


@pytest.mark.parametrize("token", [TOKEN, PERSONAL])
def test_the_token_is_read_from_variable_and_file_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("MOTIONTRACE_LABEL_STUDIO_TOKEN", token)
    by_variable = ServiceSettings(home=tmp_path)
    monkeypatch.delenv("MOTIONTRACE_LABEL_STUDIO_TOKEN")
    (tmp_path / "motiontrace.toml").write_text(f'label_studio_token = "{token}"\n')
    monkeypatch.setenv("MOTIONTRACE_CONFIG", str(tmp_path / "motiontrace.toml"))
    by_file = ServiceSettings(home=tmp_path)
    for settings in (by_variable, by_file):
        assert settings.label_studio_token is not None
        assert settings.label_studio_token.get_secret_value() == token
        shown = (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json())
        assert not any(token in text for text in shown)


BROKEN = (f"{TOKEN} ", f"{TOKEN}\n", f"{TOKEN}é", "x" * 4097)


@pytest.mark.parametrize("token", BROKEN)
def test_a_broken_token_is_refused_without_being_quoted(tmp_path: Path, token: str) -> None:
    with pytest.raises(ValidationError, match="it is no text that a token can be") as refusal:
        ServiceSettings(home=tmp_path, label_studio_token=token)  # type: ignore[arg-type]
    assert token.strip() not in str(refusal.value)
    assert token.strip() not in repr(refusal.value.errors())


@pytest.mark.parametrize("value", ["12345678", '["12345678"]', "12345678.5", "true"])
def test_a_token_that_is_no_text_in_the_file_is_refused_without_being_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    (tmp_path / "motiontrace.toml").write_text(f"label_studio_token = {value}\n")
    monkeypatch.setenv("MOTIONTRACE_CONFIG", str(tmp_path / "motiontrace.toml"))
    with pytest.raises(ValidationError, match="it is no text that a token can be") as refusal:
        ServiceSettings(home=tmp_path)
    assert "1234" not in repr(refusal.value.errors())


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run the program; gives its exit code and all it prints."""
    monkeypatch.setattr(sys, "argv", ["motiontrace", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, told.out + told.err


@pytest.mark.parametrize(("token", "code"), [(TOKEN, 0), (f"{TOKEN} ", 1)])
def test_no_command_shows_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], token: str, code: int
) -> None:
    monkeypatch.setenv("MOTIONTRACE_LABEL_STUDIO_TOKEN", token)
    home = ("--home", str(tmp_path / "home"), "--device", "cpu")
    looked, told = run(monkeypatch, capsys, "doctor", "--json", *home)
    assert looked == code
    assert "MOTIONTRACE_LABEL_STUDIO_TOKEN" in told
    assert TOKEN not in told
    served, told = run(monkeypatch, capsys, "serve", "--host", "10.0.0.1", *home)
    assert served == 1  # there is no key, or the token is found broken before that
    assert ("label_studio_token: " in told) == (code == 1)
    assert TOKEN not in told


@pytest.mark.parametrize("flag", ["--label-studio-token", "--public-url"])
def test_there_is_no_flag_that_a_list_of_processes_would_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    code, told = run(monkeypatch, capsys, "serve", flag, "x")
    assert code == 2
    assert "No such option" in told


def test_a_file_with_the_token_and_a_misspelt_key_is_told_without_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "motiontrace.toml").write_text(f'label_studio_tokens = "{TOKEN}"\n')
    monkeypatch.setenv("MOTIONTRACE_CONFIG", str(tmp_path / "motiontrace.toml"))
    with pytest.raises(CatalogError, match="did you mean label_studio_token") as refusal:
        read_settings_file(())
    assert TOKEN not in str(refusal.value)
