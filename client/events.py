"""A stream of server-sent events, decoded as it comes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from motiontrace.client.errors import parse_document
from motiontrace.documents.queries import UNFINISHED, Query

if TYPE_CHECKING:
    import httpx

LINE_END = re.compile(rb"\r\n|\n|\r(?!\n|\Z)")  # a CR at the very end may be half of CR LF


class EventDecoder:
    """Takes the bytes of GET /v1/queries/{query_id}/events, gives its events.

    Lines end as the standard has it and at nothing else, as str.splitlines() would: a caption may hold U+2028.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._rest = b""
        self._name, self._data = "message", bytearray()
        self.ended = False
        """Whether the last event has come."""

    def feed(self, data: bytes) -> list[tuple[str, Query]]:
        """The events that are whole with `data`: (name, query).

        Raises:
            ServiceError: this is no stream of a motiontrace service.
        """
        *lines, self._rest = LINE_END.split(self._rest + data)
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: bytes) -> tuple[str, Query] | None:
        if line:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                self._name = value.decode(errors="replace")
            elif field == b"data":
                self._data += value + b"\n"
            return None
        name, text = self._name, bytes(self._data)
        self._name, self._data = "message", bytearray()
        if not text:
            return None
        query = parse_document(Query, text, self._response)
        self.ended = query.status not in UNFINISHED
        return name, query
