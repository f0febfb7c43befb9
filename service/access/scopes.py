"""What a call needs: the one place that says so. A path that is not named here needs a key."""

from collections.abc import Collection

from motiontrace.catalog.repositories.keys import Scope

OPEN = frozenset(
    {
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/labeling/label-studio/webhook",  # brings a secret of its own, which the call checks
    }
)
TELLS_MORE = frozenset({"/readyz"})  # open to all; only those who may read see why it is not ready
REFERENCE = "/docs/"  # Swagger UI's own files
LINKED = "/media/"  # links bring a signature, which their calls check
ML_BACKEND = "/labeling/label-studio/ml/"  # what Label Studio posts there only reads
ML_WEBHOOK = "/webhook"  # at the end of those: Label Studio sends it without any credential; it does nothing
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HOLDS: dict[str, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "query": frozenset({"read", "query"}),  # who asks a question wants to read its answer
    "admin": frozenset({"read", "query", "admin"}),
}


def needed(method: str, path: str) -> Scope | None:
    """The scope that a call needs: "read" where it only reads, "query" where it changes something, None: no key."""
    if path in OPEN or path.startswith((REFERENCE, LINKED)):
        return None
    if path.startswith(ML_BACKEND):
        return None if path.endswith(ML_WEBHOOK) else "read"
    return "read" if method in SAFE_METHODS else "query"


def takes_passwords(path: str) -> bool:
    """Whether a key may come as the password of Basic authentication, the only one that Label Studio sends.

    Browsers add passwords that they know to calls which foreign pages make. Where nothing can be changed that does no
    harm; anywhere else a key is sent by who means to.
    """
    return path.startswith(ML_BACKEND)


def held(scopes: Collection[str], scope: Scope) -> bool:
    """Whether a key with these scopes has `scope`, itself or through a wider one."""
    return any(scope in HOLDS.get(each, ()) for each in scopes)
