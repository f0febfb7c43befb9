"""Where files lie is the business of whoever runs the service: callers are told files' names."""

import re

# Not after what may be the beginning of an address, and no path of this service's own calls.
_PLACE = re.compile(
    r"(?:sqlite:///|file://|(?<![\w./…]))/(?!/|v1/|media/clips/|(?:readyz|healthz|metrics|docs|openapi\.json)(?![\w/.-]))"
    r"(?:[^\s/'\",;:()]+/)*([^\s/'\",;:()]+)"
)


def without_places(text: str) -> str:
    """A text in which of each absolute path the last part is left, behind an ellipsis."""
    return _PLACE.sub(r"…/\1", text)
