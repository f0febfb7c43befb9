"""Which index a request means: the one it names, or the only one there is."""

from http import HTTPStatus

from sqlalchemy.orm import Session

from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.repositories import IndexRepository
from motiontrace.service.problem import ProblemError, invalid


def choose_index(session: Session, name: str | None) -> IndexRecord:
    """The index called `name`; without a name, the only one.

    Raises:
        ProblemError: 409 there is no index yet, 422 no such index, or several and none named.
    """
    indexes = {index.name: index for index in IndexRepository(session).all()}
    names = ", ".join(indexes)
    if not indexes:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "no_index",
            "There is no index yet, so there is nothing to ask.",
            "Ask whoever runs the service to index clips; GET /v1/indexes lists what there is.",
        )
    if name is None and len(indexes) > 1:
        raise invalid(
            "index",
            "index_needed",
            f"There are several indexes: {names}.",
            "Name one of them as the index.",
        )
    if name is not None and name not in indexes:
        raise invalid("index", "unknown_index", f"There is no index {name!r}.", f"Name one of these: {names}.")
    return next(iter(indexes.values())) if name is None else indexes[name]
