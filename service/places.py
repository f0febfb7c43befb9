"""Where files lie is the business of whoever runs the service: callers see only files' names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from motiontrace.formats.file_names import file_name

if TYPE_CHECKING:
    from motiontrace.answering.documents import ShownPath

# Not after what may be the beginning of an address, and no path of this service's own calls.
_PLACE = re.compile(
    r"(?:sqlite:///|file://|(?<![\w./…]))/(?!/|v1/|media/clips/|(?:readyz|healthz|metrics|docs|openapi\.json)(?![\w/.-]))"
    r"(?:[^\s/'\",;:()]+/)*([^\s/'\",;:()]+)"
)


def without_places(text: str) -> str:
    """A text in which of each absolute path the last part is left, behind an ellipsis."""
    return _PLACE.sub(r"…/\1", text)


def without_path(text: str, path: str, shown: ShownPath) -> str:
    """A sentence that may name a clip's file by its path: it does as the path is `shown`, else by the file's name."""
    return text.replace(path, shown(path) or file_name(path))
