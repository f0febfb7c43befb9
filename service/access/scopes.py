"""What a call needs: the one place that says so. A path that is not named here needs a key."""

from collections.abc import Collection

from catalog.repositories.keys import Scope

OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
TELLS_MORE = frozenset({"/readyz"})  # open to all; why it is not ready is told to those who may read
OPEN_BELOW = "/docs/"  # Swagger UI's own files
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HOLDS: dict[str, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "query": frozenset({"read", "query"}),  # who asks a question wants to read its answer
    "admin": frozenset({"read", "query", "admin"}),
}


def needed(method: str, path: str) -> Scope | None:
    """The scope that a call needs: "read" where it only reads, "query" where it changes something, None: no key."""
    if path in OPEN or path.startswith(OPEN_BELOW):
        return None
    return "read" if method in SAFE_METHODS else "query"


def held(scopes: Collection[str], scope: Scope) -> bool:
    """Whether a key with these scopes has `scope`, itself or through a wider one."""
    return any(scope in HOLDS.get(each, ()) for each in scopes)
