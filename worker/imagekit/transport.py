"""One HTTP exchange on `requests`, limited in time and size. It returns a `RawAnswer` whatever happens.

It adds three things that `requests` lacks: a deadline for the whole response, which a stopping worker can bring
forward (the read timeout of `requests` restarts with every byte); a limit on the size of a body; and certainty that
nothing of a call reached the server.
"""

from __future__ import annotations

import http.client
import io
import logging
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.response import BaseHTTPResponse
from urllib3.util.wait import wait_for_read

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

IDLE_SECONDS = 4.0
"""Connections that were idle for longer are not reused. Servers close idle connections (Node.js after 5 s), and a call
sent while the server closes is ambiguous."""
POLL_SECONDS = 0.5
"""How often a waiting call checks whether its deadline was brought forward."""

# urllib3 logs malformed headers unescaped, with a traceback each.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An unparsed response. `status` is None if no status line arrived; `failure` says why the body is incomplete."""

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    failure: str | None = None
    sent: bool = True
    """False if no connection was made, so nothing of the call can have reached the server."""
    elapsed_ms: float = 0.0
    sent_at: float | None = None
    """When the last byte of the call was sent, in monotonic seconds; None if it was not sent completely."""


def no_deadline() -> float:
    """Return infinity: the call may take as long as its timeouts allow."""
    return math.inf


class _CurrentCall(threading.local):
    """The call of this thread."""

    sent_at: float | None = None
    deadline: Callable[[], float] = staticmethod(no_deadline)


_current_call = _CurrentCall()


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
        _current_call.sent_at = time.monotonic()  # http.client creates the response when the request is sent
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_DeadlineReader(raw, sock, _current_call.deadline))


class _NoConnectionError(NewConnectionError):
    """DNS, TCP or TLS failed, before the first byte of the call."""


class _Connection(HTTPConnection):
    response_class = _Response

    def connect(self) -> None:
        try:
            super().connect()
        except Exception as error:
            raise _NoConnectionError(self, type(error).__name__) from error


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """One keep-alive connection of the classes above, without retries."""

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _ThreadAdapter(threading.local):
    """The adapter of one thread."""

    adapter: _Adapter | None = None
    used_at: float = 0.0
    """Monotonic seconds."""


@dataclass(slots=True)
class Transport:
    """Sends calls over one keep-alive connection per thread. Safe to share among threads.

    It ignores the environment: credentials in a `.netrc` would replace the key, and a proxy variable would redirect
    calls meant for a local simulator. Proxies are therefore not supported.
    """

    connect_seconds: float
    """Timeout for each address of the server. The system limits how long a DNS lookup takes."""
    answer_seconds: float
    """Timeout for the whole response, from the last byte sent to the last byte received."""
    deadline: Callable[[], float] = no_deadline
    """Returns when calls must end, in monotonic seconds. It is called repeatedly while a call waits."""
    _thread: _ThreadAdapter = field(default_factory=_ThreadAdapter, repr=False)

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int
    ) -> RawAnswer:
        """Send a request once, without following redirects, and read up to `max_bytes` of the response's body."""
        start = time.perf_counter()
        status, response_headers, content, sent = None, CaseInsensitiveDict[str](), b"", True
        failure: str | None
        _current_call.sent_at, _current_call.deadline = None, self.deadline
        try:
            # Not Session.send: it reads the environment, keeps cookies, and reads redirects without limit.
            response = self._adapter().send(
                _prepared(method, url, headers, body), stream=True, timeout=(self.connect_seconds, self.answer_seconds)
            )
        except Exception as error:  # noqa: BLE001  # anything that a server can cause is a result
            failure, sent = _describe(error), not _never_connected(error)
        else:
            status, response_headers = response.status_code, response.headers
            content, failure = _read(response.raw, status, max_bytes)
            self._thread.used_at = time.monotonic()
        elapsed_ms = (time.perf_counter() - start) * 1000
        return RawAnswer(status, response_headers, content, failure, sent, elapsed_ms, _current_call.sent_at)

    def close(self) -> None:
        """Close the connection of the calling thread. A later call opens a new one."""
        if self._thread.adapter is not None:
            self._thread.adapter.close()

    def _adapter(self) -> _Adapter:
        thread = self._thread
        if thread.adapter is None:
            thread.adapter = _Adapter()
        elif time.monotonic() - thread.used_at > IDLE_SECONDS:
            thread.adapter.close()
        return thread.adapter


def _prepared(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> requests.PreparedRequest:
    # By hand: Session.request would merge and check the same values at every call.
    request = requests.PreparedRequest()
    request.method, request.url, request.body = method, url, body
    request.headers = CaseInsensitiveDict(headers)
    if body is not None:
        request.headers["Content-Length"] = str(len(body))
    return request


def _read(raw: BaseHTTPResponse, status: int, max_bytes: int) -> tuple[bytes, str | None]:
    """Return the whole body; or no body and the reason, with the connection closed."""
    body, failure = b"", None
    try:
        if status < 200:
            failure = "an interim response instead of a final one"
        else:
            body = b"".join(_chunks(raw, max_bytes))
    except Exception as error:  # noqa: BLE001  # anything that a server can cause is a result
        failure = _describe(error)
    if len(body) > max_bytes:
        failure = f"a response of more than {max_bytes} bytes"
    if failure:
        raw.close()
        return b"", failure
    return body, None


def _chunks(raw: BaseHTTPResponse, max_bytes: int) -> Iterator[bytes]:
    """Yield a body, at most one byte over the limit. The last, empty read detects a body that was cut off."""
    left = max_bytes + 1
    while left > 0 and (chunk := raw.read(left, decode_content=True)):
        left -= len(chunk)
        yield chunk


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _never_connected(error: BaseException) -> bool:
    return any(isinstance(cause, _NoConnectionError) for cause in _causes(error))


def _describe(error: BaseException) -> str:
    """Describe an error by its innermost cause; outer ones show addresses, pools, and sometimes headers."""
    cause = list(_causes(error))[-1]
    quotable = isinstance(cause, OSError | http.client.HTTPException)
    detail = f": {cause}" if quotable and str(cause) else ""
    stage = "no connection" if _never_connected(error) else "no complete response"
    return f"{stage} ({type(cause).__name__}{detail})"
