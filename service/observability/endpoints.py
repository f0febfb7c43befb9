"""GET /metrics."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from motiontrace.service.context import Service
from motiontrace.service.problem import documented

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(),
    },
)
def get_metrics(service: Service) -> Response:
    """Requests, queries, stages, queue and indexes in figures; docs/operations.md explains each."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
