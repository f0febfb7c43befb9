"""What went wrong, as RFC 9457 problem+json: every error of the service leaves through here."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from motiontrace.answering.errors import QuestionError
from motiontrace.catalog.errors import RESTORE, CatalogError, DatabaseDamagedError, DatabaseUnavailableError
from motiontrace.catalog.outage import Outage
from motiontrace.documents.base import FieldError, Problem
from motiontrace.service.observability import request_ids
from motiontrace.service.places import without_places
from motiontrace.service.shortage import Shortage, out_of_order, shortage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MEDIA_TYPE = "application/problem+json"
FIELDS_TOLD = 20  # of a body that is wrong in thousands of places
UNUSABLE = {  # by kind of error: code, detail, what to do, and when to come again, in seconds
    DatabaseDamagedError: (
        "database_damaged",
        "The database cannot be read: it was damaged.",
        "Ask whoever runs the service to restore it from a backup; its log says what was found.",
        60,
    ),
    DatabaseUnavailableError: (
        "database_unavailable",
        "The database does not answer.",
        "Send it again later; GET /readyz tells when it works again.",
        5,
    ),
    CatalogError: (
        "index_unreadable",
        "The index cannot be read.",
        "Ask whoever runs the service, whose log says why; GET /readyz tells when it works again.",
        30,
    ),
}
QUESTIONS = {  # by code of a QuestionError: status, and what to do where the error does not say it
    "no_index": (
        HTTPStatus.CONFLICT,
        "Ask whoever runs the service to index clips; GET /v1/indexes lists what there is.",
    ),
    "index_needed": (HTTPStatus.UNPROCESSABLE_ENTITY, "Name one of them as the index."),
    "unknown_index": (HTTPStatus.UNPROCESSABLE_ENTITY, ""),
    "clip_not_indexed": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Look for the right one with GET /v1/clips?index={index}.",
    ),
    "too_many_videos": (HTTPStatus.UNPROCESSABLE_ENTITY, ""),
    "query_not_found": (HTTPStatus.NOT_FOUND, "Look for the right one with GET /v1/queries."),
    "query_not_done": (
        HTTPStatus.CONFLICT,
        "Wait until GET /v1/queries/{query} says that it is done; ask again where it failed.",
    ),
    "damping_without_whitening": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        'Leave it out, or send "whiten" as precondition.',
    ),
}
log = logging.getLogger(__name__)
_shortages = Outage(log, "calls are refused")


class ProblemError(Exception):
    """An error with an answer. `code` is stable and for programs, `detail` and `todo` are for people."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        todo: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.todo = status, code, detail, todo
        self.errors = list(errors)
        self.headers = dict(headers or {})


def not_found(kind: str, name: str, listing: str) -> ProblemError:
    """404 for a `kind` of thing (say "clip") called `name`; `listing` is the path that lists what exists."""
    return ProblemError(
        HTTPStatus.NOT_FOUND,
        f"{kind}_not_found",
        f"There is no {kind} {name!r}.",
        f"Look for the right one with GET {listing}.",
    )


def invalid(field: str, code: str, detail: str, todo: str) -> ProblemError:
    """422 about one field of the request."""
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY, code, detail, todo, errors=[FieldError(field=field, message=detail)]
    )


def of_fields(errors: Sequence[Mapping[str, Any]]) -> ProblemError:
    """422 about the first fields in pydantic's `errors`, whose places begin at the request itself."""
    first = errors[:FIELDS_TOLD]
    told = [FieldError(field=".".join(map(str, each["loc"])) or "body", message=each["msg"]) for each in first]
    more = [f"and {len(errors) - len(told):,} more"] if len(errors) > len(told) else []
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid_parameters",
        "; ".join([*(f"{each.field}: {each.message}" for each in told), *more]),
        "Correct the named fields; /docs gives each one's type and range.",
        errors=told,
    )


def of_question(error: QuestionError) -> ProblemError:
    """The problem that tells of a question's error, in the words of HTTP."""
    status, todo = QUESTIONS[error.code]
    errors = [] if error.field is None else [FieldError(field=error.field, message=error.detail)]
    return ProblemError(status, error.code, error.detail, error.todo or todo.format(**error.facts), errors=errors)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses=` for the problems a call may end in; 500 and 503 are those of every call."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    always = (int(HTTPStatus.INTERNAL_SERVER_ERROR), int(HTTPStatus.SERVICE_UNAVAILABLE))
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in dict.fromkeys((*statuses, *always))
    }


def install(app: FastAPI) -> None:
    """Make every error of `app` problem+json, those of the framework included."""
    app.add_exception_handler(ProblemError, _raised)
    app.add_exception_handler(QuestionError, _of_question)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(CatalogError, of_catalog)
    app.add_exception_handler(OSError, _of_system)
    app.add_exception_handler(ValidationError, _of_stored)  # those of requests are ProblemErrors by now
    app.add_exception_handler(Exception, _unexpected)


def problem(error: ProblemError, path: str | None) -> Problem:
    """The document that tells of an error; `path` is the request's, None where it is not known."""
    return Problem(
        type=f"urn:problem-type:motiontrace:{error.code}",
        title=error.status.phrase,
        status=error.status,
        code=error.code,
        detail=error.detail,
        todo=error.todo,
        instance=path,
        request_id=request_ids.current.get(),
        errors=error.errors or None,
    )


def respond(request: Request, error: ProblemError) -> JSONResponse:
    """The problem as it is sent."""
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        error = _without_places(error)
    body = problem(error, request.scope["path"])
    return JSONResponse(body.model_dump(exclude_none=True), error.status, headers=error.headers, media_type=MEDIA_TYPE)


def _without_places(error: ProblemError) -> ProblemError:
    """The error without the places of files: the log and `motiontrace doctor` have them."""
    errors = [FieldError(field=each.field, message=without_places(each.message)) for each in error.errors]
    detail = without_places(error.detail)
    return ProblemError(error.status, error.code, detail, error.todo, errors=errors, headers=error.headers)


def _raised(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return respond(request, error)


def _of_question(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QuestionError)
    return respond(request, of_question(error))


def _of_framework(request: Request, error: Exception) -> JSONResponse:
    """Unknown paths, wrong methods and bodies that are no multipart, as Starlette raises them."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    method, path = request.method, request.scope["path"]
    told = {
        HTTPStatus.NOT_FOUND: (
            f"Nothing is served at {path}.",
            "See /docs for every path, or /openapi.json.",
        ),
        HTTPStatus.METHOD_NOT_ALLOWED: (
            f"{path} does not answer {method}.",
            "Use a method named in this response's Allow header; /docs shows what each does.",
        ),
    }
    detail, todo = told.get(status, (str(error.detail), "See /docs for how this call is made."))
    headers = {"allow": _allowed(request)} if status == HTTPStatus.METHOD_NOT_ALLOWED else error.headers or {}
    return respond(request, ProblemError(status, status.name.lower(), detail, todo, headers=headers))


def of_catalog(request: Request, error: Exception) -> JSONResponse:
    """What is stored cannot be used. Errors name paths, hosts and statements, so only the log has them."""
    if (short := shortage(error)) is not None:
        return _of_shortage(request, short)
    code, detail, todo, pause = UNUSABLE[
        DatabaseDamagedError
        if isinstance(error, DatabaseDamagedError)
        else (DatabaseUnavailableError if isinstance(error, DatabaseUnavailableError) else CatalogError)
    ]
    if not isinstance(error, DatabaseUnavailableError):  # of which the catalog tells, now and then
        log.warning("%s %s: %s", request.method, request.scope["path"], error)
    return respond(
        request,
        ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, todo, headers={"retry-after": str(pause)}),
    )


def _of_stored(request: Request, error: Exception) -> JSONResponse:
    """A stored document is not what was stored."""
    log.error("%s %s: the database holds what it cannot: %s. %s", request.method, request.scope["path"], error, RESTORE)
    return of_catalog(request, DatabaseDamagedError(str(error)))


def _of_system(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    short = shortage(error) or out_of_order(error)
    return _unexpected(request, error) if short is None else _of_shortage(request, short)


def _of_shortage(request: Request, short: Shortage) -> JSONResponse:
    _shortages.note(short.reason)
    headers = {"retry-after": str(short.pause)}
    return respond(request, ProblemError(short.status, short.code, short.detail, short.todo, headers=headers))


def _allowed(request: Request) -> str:
    """The methods of all routes of this path; the framework names those of the first one only."""
    return ", ".join(
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    )


def _of_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # FastAPI's places begin with where a parameter was: path, query, header.
    return respond(request, of_fields([{**each, "loc": each["loc"][1:]} for each in error.errors()]))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    return respond(
        request,
        ProblemError(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal_error",
            "The service failed on this request; the fault is not yours.",
            "Try again; if it stays, report it with the traceback that the service's log has under this request's id.",
        ),
    )
