"""motiontrace keys: who may call the service."""

from __future__ import annotations

import os
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from motiontrace.catalog.errors import CatalogError
from motiontrace.commands import options
from motiontrace.commands.documents import AsJson, print_document
from motiontrace.commands.options import given
from motiontrace.files import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from motiontrace.catalog.database import Database
    from motiontrace.catalog.records import ApiKeyRecord
    from motiontrace.catalog.repositories.keys import Token

_KEY_BYTES = 64 * 1024  # a longer file holds no key
app = typer.Typer(help="Make, list and revoke the API keys that calls of the service bring.", no_args_is_help=True)


class Scope(StrEnum):
    """As catalog.repositories.keys.Scope, in the form that Typer reads."""

    read = "read"
    query = "query"
    admin = "admin"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, for people: alice, label-studio, ...")],
    scope: Annotated[
        list[Scope],
        typer.Option(help="What it may do: read; query (reads, asks and labels); admin (everything). May be repeated."),
    ],
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Most requests a minute.", show_default="the service's setting")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the key to this new file, readable by you only, and do not show it.")
    ] = None,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing where --output holds a key of that NAME that still works.")
    ] = False,
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Make an API key and show it, this once: only a digest of it is kept."""
    from motiontrace.catalog.database import upgrade
    from motiontrace.catalog.repositories.keys import ApiKeyRepository
    from motiontrace.catalog.settings import CatalogSettings

    if not name.strip() or len(name) > 200:
        raise typer.BadParameter("it has 1 to 200 characters", param_hint="NAME")
    if if_missing and output is None:
        raise typer.BadParameter("it needs --output", param_hint="--if-missing")
    upgrade(CatalogSettings(**given(home=home, database_url=database_url)).url)
    with _catalog(home, database_url) as database:
        if output is not None and output.exists():
            if not if_missing:
                raise CatalogError(f"{output} is there already: name another file, or remove it.")
            if _holds_key(database, name, output):
                if json:
                    print_document({"name": name, "output": str(output), "made": False})
                else:
                    typer.echo(f"{output} holds a key of {name} already.")
                return
        with database.writing() as session:
            key, token = ApiKeyRepository(session).create(name, scope, requests_per_minute)
            if output is not None:
                _write(output, token)  # before the key is: one that nobody has would only be in the way
    if json:
        shown = {"key": str(token)} if output is None else {"output": str(output)}
        print_document({**_document(key), **shown, "made": True})
        return
    typer.echo(f"Key {key.id} of {name}, scope {' and '.join(key.scopes)}.", err=True)
    if output is None:
        typer.echo("Keep it well, it is not shown again:", err=True)
        typer.echo(str(token))
    else:
        typer.echo(f"It is in {output}.", err=True)


@app.command("list")
def list_keys(json: AsJson = False, home: options.Home = None, database_url: options.DatabaseUrl = None) -> None:
    """List all keys, the oldest first; times are UTC."""
    from motiontrace.catalog.repositories.keys import ApiKeyRepository

    with _catalog(home, database_url, reading=True) as database, database.reading() as session:
        keys = ApiKeyRepository(session).all()
    if json:
        print_document([_document(key) for key in keys])
        return
    rows = [("id", "name", "scopes", "a minute", "created", "last used", "revoked"), *map(_row, keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id: the part between mt_ and the next _.")],
    json: AsJson = False,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Revoke a key for good; a running service refuses it within seconds."""
    from motiontrace.catalog.repositories.keys import ApiKeyRepository

    with _catalog(home, database_url) as database, database.writing() as session:
        key = ApiKeyRepository(session).revoke(key_id)
    if key is None:
        raise CatalogError(f"There is no key {key_id}: 'motiontrace keys list' shows their ids.")
    if json:
        print_document(_document(key))
        return
    typer.echo(f"Key {key.id} of {key.name} is revoked since {_time(key.revoked_at)}.")


@contextmanager
def _catalog(home: Path | None, database_url: str | None, *, reading: bool = False) -> Iterator[Database]:
    from motiontrace.catalog.database import Database
    from motiontrace.catalog.settings import CatalogSettings

    url = CatalogSettings(**given(home=home, database_url=database_url)).url
    database = Database.open(url, reading=reading)
    try:
        yield database
    finally:
        database.close()


def _holds_key(database: Database, name: str, file: Path) -> bool:
    from motiontrace.catalog.repositories.keys import ApiKeyRepository, Token

    held = read_file(file, empty=True, most_bytes=_KEY_BYTES).decode(errors="replace").strip()
    token = Token.read(held)
    if held and token is None:
        raise CatalogError(f"{file} holds something else than a key: name another file, or remove it.")
    with database.reading() as session:
        key = None if token is None else ApiKeyRepository(session).find(token.key_id)
    return token is not None and key is not None and key.name == name and key.revoked_at is None and token.opens(key)


def _write(file: Path, token: Token) -> None:
    """Put the key in a new file that nobody else could read for a moment, either."""
    unfinished = file.with_name(f"{file.name}.{token.key_id}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f"{token}\n")
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)


def _row(key: ApiKeyRecord) -> tuple[str, ...]:
    rate = "" if key.requests_per_minute is None else f"{key.requests_per_minute}"
    times = map(_time, (key.created_at, key.last_used_at, key.revoked_at))
    return (key.id, key.name, " ".join(key.scopes), rate, *times)


def _document(key: ApiKeyRecord) -> dict[str, Any]:
    """A key as JSON values, without its secret; times as ISO 8601 in UTC."""
    times = {name: getattr(key, name) for name in ("created_at", "last_used_at", "revoked_at")}
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "requests_per_minute": key.requests_per_minute,
        **{name: None if moment is None else moment.isoformat() for name, moment in times.items()},
    }


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
