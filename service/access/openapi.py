"""Keys in the API's description: what each call needs, and the problems that the lack of it ends in."""

from __future__ import annotations

from typing import Any

from motiontrace.service.access.scopes import needed
from motiontrace.service.problem import documented

SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "mt_ID_SECRET",
    "description": "An API key, as whoever runs the service makes it. Scopes: `read` reads; `query` reads, asks, "
    "cancels and labels; `admin` may do everything. A service that listens on this machine only and for which no key "
    "was ever made asks for none. Below `/labeling/label-studio/ml/` a key may also be sent as the password of Basic "
    "authentication.",
}  # fmt: skip
HEADERS = {
    "401": ("WWW-Authenticate", "string", "Bearer."),
    "403": ("WWW-Authenticate", "string", "Bearer, with the scope that is needed."),
    "429": ("Retry-After", "integer", "Seconds until the next request is taken."),
}


def describe_access(document: dict[str, Any]) -> None:
    """Add to an OpenAPI document the bearer scheme, each call's scope, and its answers 401, 403 and 429."""
    document.setdefault("components", {})["securitySchemes"] = {"key": SCHEME}
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            scope = needed(method.upper(), path)
            if scope is not None:
                call["security"] = [{"key": [scope]}]
                call["responses"] = dict(sorted((_answers() | call["responses"]).items()))


def _answers() -> dict[str, Any]:
    problems = {str(status): answer for status, answer in documented(*map(int, HEADERS)).items()}
    for status, (name, kind, text) in HEADERS.items():
        problems[status]["headers"] = {name: {"schema": {"type": kind}, "description": text}}
    return problems
