"""Whether the service is alive, and whether it can answer queries."""

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError

from catalog.repositories import IndexRepository
from service.context import Service
from service.problem import ProblemError, documented
from service.schemas import Document, FieldError

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
    indexes: dict[str, str | None] = Field(description="Each index: null if queries of it are answered, else why not.")


@router.get("/healthz", summary="Is the process alive?", responses=documented())
def get_health() -> Health:
    """Answers as long as the process does; looks at nothing else."""
    return Health(status="ok")


@router.get("/readyz", summary="Can queries be answered?", responses=documented(503))
def get_readiness(service: Service) -> Readiness:
    """200 once at least one index answers queries; until then 503 with every reason why not."""
    if not service.worker.alive:
        raise _not_ready({"worker": "The thread that answers queries has stopped: restart the service."})
    try:
        with service.database.reading() as session:
            indexes = IndexRepository(session).all()
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise _not_ready({"database": f"The database does not answer ({reason}): see that it runs."}) from error
    if not indexes:
        raise _not_ready({"index": "There is no index yet: motiontrace index MANIFEST --model DIR --index NAME."})
    states = {index.name: service.searchers.trouble(index) or service.engines.trouble(index) for index in indexes}
    if all(states.values()):
        raise _not_ready({f"index {name}": reason or "" for name, reason in states.items()})
    return Readiness(status="ready", indexes=states)


def _not_ready(reasons: dict[str, str]) -> ProblemError:
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "not_ready",
        "; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
        "Mend what is named and ask again; no restart is needed unless it says so.",
        errors=[FieldError(field=name, message=reason) for name, reason in reasons.items()],
        headers={"retry-after": "2"},
    )
