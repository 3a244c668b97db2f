"""HTTP connections with a deadline, on `urllib3`: what one call of the transport needs of its connection.

The call of a thread is in `current_call`, since neither `requests` nor `urllib3` passes such things down.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.wait import wait_for_read

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

POLL_SECONDS = 0.5
"""How often a waiting call checks whether its deadline was brought forward."""


def no_deadline() -> float:
    """Return infinity: the call may take as long as its timeouts allow."""
    return math.inf


OpenSocket = Callable[[str, int, float], socket.socket]
"""Connects to a host and port, with a timeout in seconds. Raises `OSError`."""


class _CurrentCall(threading.local):
    """The call of this thread."""

    sent_at: float | None = None
    deadline: Callable[[], float] = staticmethod(no_deadline)
    open_socket: OpenSocket | None = None
    connect_by: float = math.inf
    ca_file: str | None = None


current_call = _CurrentCall()


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until its timeout from now, however slowly bytes arrive, or until an earlier deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: Callable[[], float]) -> None:
        self._raw = raw
        self._sock = sock
        seconds = sock.gettimeout()
        self._times_out_at = math.inf if seconds is None else time.monotonic() + seconds
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        while not self._is_ready():
            pass
        return self._raw.readinto(buffer)

    def _is_ready(self) -> bool:
        """Wait for bytes, at most `POLL_SECONDS`. Raises `TimeoutError` after the timeout or the deadline."""
        now, deadline = time.monotonic(), self._deadline()
        if now >= deadline:
            raise TimeoutError("aborted because the worker is stopping")
        if now >= self._times_out_at:
            raise TimeoutError("timed out")
        left = min(self._times_out_at, deadline) - now
        # An incomplete TLS record would block beyond the poll.
        self._sock.settimeout(left if math.isfinite(left) else None)
        pending = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        return pending or wait_for_read(self._sock, min(left, POLL_SECONDS))

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response whose status line, headers and body must all arrive before the deadline."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        current_call.sent_at = time.monotonic()  # http.client creates the response when the request is sent
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_DeadlineReader(raw, sock, current_call.deadline))


class NoConnectionError(NewConnectionError):
    """DNS, TCP or TLS failed, before the first byte of the call."""


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        if current_call.open_socket is None:
            return super()._new_conn()
        return current_call.open_socket(self.host.strip("[]"), self.port, float(self.timeout or 0))

    def connect(self) -> None:
        try:
            super().connect()
            self._check_time()
        except Exception as error:
            raise NoConnectionError(self, type(error).__name__) from error

    def _check_time(self) -> None:
        if time.monotonic() > current_call.connect_by:
            self.close()
            raise TimeoutError("connecting took too long")


@cache
def _context_trusting(public: str, private: str | None) -> ssl.SSLContext:
    context = create_urllib3_context()
    for certificates in filter(None, (public, private)):
        context.load_verify_locations(certificates)
    return context


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        # Reading the certificates takes 16 ms of processor time, so connections share them.
        if self.ca_certs:
            self.ssl_context, self.ca_certs = _context_trusting(self.ca_certs, current_call.ca_file), None
        super().connect()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


POOLS = {"http": _Pool, "https": _SecurePool}
"""Pools of these connections, by the scheme of the URL."""
