"""motiontrace migrate: the database's schema."""

from __future__ import annotations

import typer

from motiontrace.commands import options
from motiontrace.commands.options import given


def migrate(home: options.Home = None, database_url: options.DatabaseUrl = None) -> None:
    """Create the database's tables, or bring them up to date; index and serve do so too when they start."""
    from motiontrace.catalog.database import upgrade
    from motiontrace.catalog.settings import CatalogSettings

    settings = CatalogSettings(**given(home=home, database_url=database_url))
    typer.echo(f"The database is at revision {upgrade(settings.url)}.")
