"""Which index a request means: the one it names, or the only one there is."""

from sqlalchemy.orm import Session

from motiontrace.answering.errors import QuestionError
from motiontrace.catalog.records import IndexRecord
from motiontrace.catalog.repositories import IndexRepository


def choose_index(session: Session, name: str | None) -> IndexRecord:
    """The index called `name`; without a name, the only one.

    Raises:
        QuestionError: `no_index`: there is none yet; `unknown_index`: none has that name; `index_needed`: there are
            several, and no name.
    """
    indexes = {index.name: index for index in IndexRepository(session).all()}
    names = ", ".join(indexes)
    if not indexes:
        raise QuestionError("no_index", "There is no index yet, so there is nothing to ask.")
    if name is None and len(indexes) > 1:
        raise QuestionError("index_needed", f"There are several indexes: {names}.", field="index")
    if name is not None and name not in indexes:
        raise QuestionError(
            "unknown_index", f"There is no index {name!r}.", field="index", todo=f"Name one of these: {names}."
        )
    return next(iter(indexes.values())) if name is None else indexes[name]
