"""A worker without the API: as many processes as there are devices, beside one API or several."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from prometheus_client import start_http_server

from motiontrace.answering.engines import Engines
from motiontrace.answering.sandbox import Decoder, decoder_limits
from motiontrace.answering.searchers import Searchers
from motiontrace.catalog.database import Database
from motiontrace.service.observability.logs import configure_logging
from motiontrace.service.observability.metrics import Metrics
from motiontrace.service.worker.loop import Worker

if TYPE_CHECKING:
    from types import FrameType

    from motiontrace.service.settings import ServiceSettings

SHUTDOWN_SECONDS = 10.0  # for the stage in hand; another worker takes the query up again


def work(settings: ServiceSettings) -> None:
    """Answer queries until SIGINT or SIGTERM; the one in hand is handed back then.

    Raises:
        CatalogError: the database cannot be used, or is not up to date; says what to do.
        OSError: the port for metrics is taken.
    """
    configure_logging(settings)
    database = Database.open(settings.url)
    metrics, stopping = Metrics(), threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if settings.metrics_port is not None:
        try:
            server, _ = start_http_server(settings.metrics_port, settings.metrics_host, metrics.registry)
        except OSError as error:
            place = f"{settings.metrics_host}:{settings.metrics_port} (MOTIONTRACE_METRICS_PORT)"
            raise OSError(error.errno, error.strerror, place) from error
        server.RequestHandlerClass.timeout = settings.head_seconds  # type: ignore[attr-defined]
    decoder = Decoder(decoder_limits(settings))
    engines = Engines(settings.device, settings.basis_directory, metrics.model_loaded)
    searchers = Searchers(settings.index_directory)
    worker = Worker(database, settings, engines, searchers, decoder, metrics, stopping)
    try:
        worker.start()
        stopping.wait()
    finally:
        worker.stop(SHUTDOWN_SECONDS)
        decoder.close()
        database.close()
