"""One HTTP connection, bounded: callers that send or read slowly, or send endless headers, lose it."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""How long a caller may take from the connection, or the first byte of a request, to the end of its headers."""
MAX_HEAD_BYTES = 64 * 1024
READ_SECONDS = 60.0
"""How long a caller may leave a response unread."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with bounds that uvicorn leaves to a proxy in front of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data; start or stop the timer of the headers."""
        super().data_received(data)
        if not self._in_head:
            self._stop_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def on_message_begin(self) -> None:
        """Start a request. The parser calls this."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Hand a request to the application. The parser calls this."""
        self._in_head = False
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """Start the timer of a caller that does not read. asyncio calls this."""
        super().pause_writing()
        self._stop_timer()
        self._timer = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue after `pause_writing`. asyncio calls this."""
        self._stop_timer()
        super().resume_writing()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
