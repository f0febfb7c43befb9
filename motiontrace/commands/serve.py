"""motiontrace serve: the REST service."""

from __future__ import annotations

from typing import Annotated

import typer

from motiontrace.commands import options
from motiontrace.commands.options import given, share_processors


def serve(
    host: Annotated[
        str | None, typer.Option(envvar="MOTIONTRACE_HOST", help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(envvar="MOTIONTRACE_PORT", help="TCP port to listen on.", show_default="8600")
    ] = None,
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
    from motiontrace.service.settings import ServiceSettings

    run(
        ServiceSettings(**given(host=host, port=port, device=device, home=home, database_url=database_url)),
        worker=worker,
    )
