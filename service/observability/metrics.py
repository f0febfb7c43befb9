"""What Prometheus reads; docs/operations.md explains every metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

disable_created_metrics()  # a further series beside each, of which nobody asks
REQUEST_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STAGE_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)


class Metrics:
    """The metrics of one process, in a registry of their own; safe to share between threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Histogram(
            "motiontrace_http_request_seconds",
            "Time from the first line of a request to the last byte of its answer.",
            ["method", "route", "status"],
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "motiontrace_query_stage_seconds",
            "Time that queries spent in each stage, waiting for a worker included.",
            ["stage"],
            buckets=STAGE_SECONDS,
            registry=self.registry,
        )
        self._ended = Counter(
            "motiontrace_queries_ended", "Queries that ended here, by how.", ["status"], registry=self.registry
        )
        self._models = Gauge(
            "motiontrace_model_load_seconds",
            "Time that loading took, for each model that is loaded in this process.",
            ["model"],
            registry=self.registry,
        )
        self._uploaded = Counter(
            "motiontrace_uploaded_bytes", "Bytes of the videos that were accepted.", registry=self.registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered HTTP request; `route` is the path's template, as in /v1/clips/{clip_id}."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def stage(self, name: str, seconds: float) -> None:
        """Count a stage of a query: waiting, loading, decoding, motion, gradient or scoring."""
        self._stages.labels(name).observe(seconds)

    def ended(self, status: str) -> None:
        """Count a query that ended: done, failed or cancelled."""
        self._ended.labels(status).inc()

    def model_loaded(self, model: str, seconds: float) -> None:
        """Note that the model at `model`, as its index names it, is loaded, and how long that took."""
        self._models.labels(model).set(seconds)

    def uploaded(self, size: int) -> None:
        """Count the bytes of a video that was accepted."""
        self._uploaded.inc(size)

    def add(self, collector: Collector) -> None:
        """Ask `collector` too, whenever the metrics are read."""
        self.registry.register(collector)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
