"""HTTP/1.1 as the service reads it: what is no body is bounded, before anybody has shown a key."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 << 10  # of a request's head, and of what stands between the parts of a chunked body


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol; it collects a head of any size in memory, this one closes the connection with a 400."""

    _pending = 0  # bytes that have come since the last head, piece of a body or end of a request

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._pending += len(data)
        super().data_received(data)
        if self._pending > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request's head has more than {HEAD_BYTES:,} bytes.")

    def on_headers_complete(self) -> None:
        """Take the end of a head."""
        self._pending = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._pending = 0
        super().on_message_complete()
