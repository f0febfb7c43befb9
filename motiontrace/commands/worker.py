"""motiontrace worker: answers queries that a service without a worker of its own has taken."""

from __future__ import annotations

from motiontrace.commands import options
from motiontrace.commands.options import given, share_processors


def worker(
    device: options.Device = None,
    home: options.Home = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Answer queries without listening to HTTP: one process for each device, on any machine that sees --home.

    Any number of workers share the work; a query whose worker is killed is taken over by another. At SIGTERM the
    query in hand is handed back.
    """
    share_processors()
    from motiontrace.service.settings import ServiceSettings
    from motiontrace.service.worker.process import work

    work(ServiceSettings(**given(device=device, home=home, database_url=database_url)))
