"""motiontrace serve: the REST service."""

from __future__ import annotations

from typing import Annotated

import typer

from motiontrace.commands import options
from motiontrace.commands.flags import flag
from motiontrace.commands.options import given, share_processors
from motiontrace.service.settings import ServiceSettings


def serve(
    host: Annotated[str | None, flag(ServiceSettings, "host")] = None,
    port: Annotated[int | None, flag(ServiceSettings, "port")] = None,
    worker: Annotated[
        bool,
        typer.Option(
            "--worker/--no-worker", help="Answer queries in this process, or leave that to motiontrace worker."
        ),
    ] = True,
    device: options.Device = None,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Answer queries over HTTP; /docs describes every call. What waits when it ends is taken up at the next start."""
    share_processors()
    from motiontrace.service.app import serve as run

    run(
        ServiceSettings(**given(host=host, port=port, device=device, home=home, database_url=database_url)),
        worker=worker,
    )
