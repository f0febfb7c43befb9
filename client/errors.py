"""What goes wrong with a call, in words that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from motiontrace.documents.base import Document, Problem

if TYPE_CHECKING:
    import httpx

Read = TypeVar("Read", bound=Document)


class ServiceError(Exception):
    """The service refused a call or could not be reached; the message says what to do.

    `problem` is what the service answered, None where it was not reached or no motiontrace service answered.
    """

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


def shown(url: httpx.URL) -> str:
    """An address for people, without the password that it may hold."""
    return str(url.copy_with(userinfo=b""))


def unreached(url: httpx.URL, error: httpx.RequestError) -> ServiceError:
    """Nobody answered at `url`, or not to the end."""
    return ServiceError(
        f"No answer from {shown(url)} ({error or type(error).__name__}): is the service "
        "running there (motiontrace serve), and is the address right?"
    )


def refused(response: httpx.Response) -> ServiceError:
    """An answer that is no success; it has been read."""
    problem = read_document(Problem, response)
    return ServiceError(f"{problem.detail} {problem.todo}", problem)


def broken_off(response: httpx.Response) -> ServiceError:
    """A stream of events that ended before its query did."""
    return ServiceError(f"The events of {shown(response.url)} broke off before the query ended: ask for them again.")


def read_document(model: type[Read], response: httpx.Response) -> Read:
    """The document of an answer that has been read; ServiceError where it is none of a motiontrace service."""
    return parse_document(model, response.content, response)


def parse_document(model: type[Read], text: bytes, response: httpx.Response) -> Read:
    """The document that a part of an answer holds; raises as read_document."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise ServiceError(
            f"{shown(response.url)} answered {response.status_code} {response.reason_phrase}, not as a motiontrace "
            "service does: is the address right, and is the service of this client's version?"
        ) from error
