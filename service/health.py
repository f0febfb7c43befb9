"""Whether the service is alive, and whether it can answer queries."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from motiontrace.catalog.errors import DatabaseUnavailableError
from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.repositories import IndexRepository, QueryRepository, Queue
from motiontrace.documents.base import Document, FieldError
from motiontrace.service.context import Context, Service
from motiontrace.service.observability.queue import stalled
from motiontrace.service.places import without_places
from motiontrace.service.problem import ProblemError, documented
from motiontrace.service.shortage import disk_full

WITHHELD = "Not in order; ask with an API key of scope read to see why."
router = APIRouter(tags=["health"])


class Health(Document):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str


class Readiness(Document):
    """Queries can be answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "ready", "indexes": {"demo": None, "old": "its model is being loaded"}}]
        }
    )

    status: str
    indexes: dict[str, str | None] = Field(
        description="Each index: null if queries of it are answered, else why not. Empty without a key to read."
    )


@router.get("/healthz", summary="Is the process alive?", responses=documented())
async def get_health() -> Health:  # async: it needs none of the threads, which may all be waiting
    """Answers as long as the process does; looks at nothing else."""
    return Health(status="ok")


@router.get("/readyz", summary="Can queries be answered?", responses=documented(503))
def get_readiness(request: Request, service: Service) -> Readiness:
    """200 once at least one index answers queries; until then 503 with every reason why not.

    Anybody may ask, and sees what is not in order: database, disk, index, queue or worker. The reasons name paths,
    hosts and indexes: keys that may read see them, and all callers where no key is asked for.

    An API process without a worker of its own loads no models: that they load is seen by its queue's moving.
    """
    reasons: dict[str, str] = {}
    if service.worker is not None and not service.worker.alive:
        reasons["worker"] = "The thread that answers queries has stopped: restart the service."
    if (full := disk_full(service.settings)) is not None:
        reasons["disk"] = full
    states: dict[str, str | None] = {}
    try:
        with service.database.reading() as session:
            indexes = IndexRepository(session).all()
            queue = QueryRepository(session).queue()
    except DatabaseUnavailableError as error:
        reasons["database"] = f"The database does not answer: {error}"
    else:
        states = {index.name: _trouble(service, index) for index in indexes}
        reasons |= _of_catalog(states, queue)
    may_read: bool = request.state.may_read
    if reasons:
        raise _not_ready(reasons if may_read else dict.fromkeys((name.split()[0] for name in reasons), WITHHELD))
    told = {name: reason and without_places(reason) for name, reason in states.items()}
    return Readiness(status="ready", indexes=told if may_read else {})


def _of_catalog(states: dict[str, str | None], queue: Queue) -> dict[str, str]:
    reasons = {}
    if not states:
        reasons["index"] = "There is no index yet: there is one once clips are indexed."
    elif all(states.values()):
        reasons |= {f"index {name}": reason or "" for name, reason in states.items()}
    if (reason := stalled(queue)) is not None:
        reasons["queue"] = reason
    return reasons


def _trouble(service: Context, index: IndexRecord) -> str | None:
    reasons = [service.searchers.trouble(index)]
    if service.worker is not None:
        reasons.append(service.engines.trouble(index))
    return "; ".join(reason for reason in reasons if reason) or None


def _not_ready(reasons: dict[str, str]) -> ProblemError:
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "not_ready",
        "; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
        "Mend what is named and ask again; no restart is needed unless it says so.",
        errors=[FieldError(field=name, message=reason) for name, reason in reasons.items()],
        headers={"retry-after": "2"},
    )
