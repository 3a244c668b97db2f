"""One HTTP exchange on `requests`, bounded in time and size: a `RawAnswer` for whatever happens.

Three things are added to `requests`, which has none of them: a deadline for the answer as a whole (its own
read time-out starts anew with every byte, and so a trickle can last for ever) that may come nearer when the
worker is to stop, a cap on the size of a body, and the certainty whether anything of a call can have reached
the server.
"""

from __future__ import annotations

import http.client
import io
import logging
import math
import os
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
"""A connection that idled for longer is not used again: servers close idle ones (Node's default is 5 s), and
a call sent into the closing is an ambiguous one. A new connection costs little to whoever calls so rarely."""
GLANCE_SECONDS = 0.5
"""How often a call that waits looks whether it is to be given up."""

# It would log a server's malformed headers as they are, control characters included, with a traceback for
# each.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What came back, unread: no `status` if no status line came; `failure` says why no whole body."""

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    failure: str | None = None
    sent: bool = True
    """False when no connection was made, and so nothing of the call can have reached the server."""
    elapsed_ms: float = 0.0
    sent_at: float | None = None
    """When the last byte of the call was sent, monotonic seconds; None when it was not sent whole."""


def never() -> float:
    """Tell of no end."""
    return math.inf


class _UnderWay(threading.local):
    """This thread's call."""

    sent_at: float | None = None
    """Monotonic seconds."""
    end: Callable[[], float] = staticmethod(never)


_under_way = _UnderWay()


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a moment that is set at the start, however the bytes dribble in, or an earlier `end`."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, end: Callable[[], float]) -> None:
        self._raw = raw
        self._sock = sock
        seconds = sock.gettimeout()
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        while not self._is_ready():
            pass
        return self._raw.readinto(buffer)

    def _is_ready(self) -> bool:
        """Wait for bytes, for a glance at most. Raises `TimeoutError` when it is too late."""
        now, end = time.monotonic(), self._end()
        if now >= end:
            raise TimeoutError("given up, since the worker stops")
        if now >= self._deadline:
            raise TimeoutError("timed out")
        left = min(self._deadline, end) - now
        # A record of TLS that came in part would block after the glance.
        self._sock.settimeout(left if math.isfinite(left) else None)
        pending = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        return pending or wait_for_read(self._sock, min(left, GLANCE_SECONDS))

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that must arrive within the read time-out as a whole, status line, headers and body."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        _under_way.sent_at = time.monotonic()  # http.client makes the answer's reader when all is sent
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_DeadlineReader(raw, sock, _under_way.end))


class _NoConnectionError(NewConnectionError):
    """No connection: the name, the address or TLS failed, before the first byte of the call."""


class _Connection(HTTPConnection):
    response_class = _Response

    def connect(self) -> None:
        try:
            super().connect()
        except Exception as error:
            raise _NoConnectionError(self, type(error).__name__) from error


class _SecureConnection(HTTPSConnection):
    response_class = _Response

    def connect(self) -> None:
        try:
            super().connect()
        except Exception as error:
            raise _NoConnectionError(self, type(error).__name__) from error


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """One kept connection, no retries, and the classes above."""

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _Kept(threading.local):
    """The session of one thread, the process that made it, and when it was last used (monotonic seconds)."""

    session: requests.Session | None = None
    pid: int = 0
    used: float = 0.0


@dataclass(slots=True)
class Transport:
    """Sends calls, each thread over a session of its own, kept between calls; safe to share, even over forks.

    Nothing is taken from the surroundings: a `.netrc` would replace the key by other credentials without a
    word, and a proxy variable would send the deletions of a local simulator elsewhere. Proxies are therefore
    not supported.
    """

    connect_seconds: float
    """For each address of the server; the time that looking up a name takes is the system's."""
    answer_seconds: float
    """For the whole answer, from the last byte sent to the last byte received."""
    end: Callable[[], float] = never
    """Tells by when an answer must be there at the latest, monotonic seconds; asked again and again while one waits."""
    _kept: _Kept = field(default_factory=_Kept, repr=False)

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int
    ) -> RawAnswer:
        """Send a request once, without following redirects, and read up to `max_bytes` of the response's body."""
        start = time.perf_counter()
        request = _prepared(method, url, headers, body)
        _under_way.sent_at, _under_way.end = None, self.end
        adapter = self._session().get_adapter(str(request.url))
        try:
            # Not Session.send: it obeys the environment, keeps cookies, and reads redirects without bound.
            response = adapter.send(request, stream=True, timeout=(self.connect_seconds, self.answer_seconds))
        except Exception as error:  # noqa: BLE001  # whatever a server does to the libraries is an answer too
            sent = not _never_connected(error)
            return RawAnswer(None, {}, b"", _describe(error), sent, _ms_since(start), _under_way.sent_at)
        body, failure = _read(response.raw, response.status_code, max_bytes)
        self._kept.used = time.monotonic()
        return RawAnswer(
            response.status_code,
            response.headers,
            body,
            failure,
            elapsed_ms=_ms_since(start),
            sent_at=_under_way.sent_at,
        )

    def close(self) -> None:
        """Close this thread's connection; a later call opens a new one."""
        if self._kept.session is not None and self._kept.pid == os.getpid():
            self._kept.session.close()

    def _session(self) -> requests.Session:
        kept = self._kept
        if kept.session is None or kept.pid != os.getpid():
            kept.session = requests.Session()
            kept.session.mount("http://", _Adapter())
            kept.session.mount("https://", _Adapter())
            kept.pid = os.getpid()
        elif time.monotonic() - kept.used > IDLE_SECONDS:
            kept.session.close()
        return kept.session


def _prepared(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> requests.PreparedRequest:
    # By hand: Session.request merges and checks at every call what never changes here.
    request = requests.PreparedRequest()
    request.method, request.url, request.body = method, url, body
    request.headers = CaseInsensitiveDict(headers)
    if body is not None:
        request.headers["Content-Length"] = str(len(body))
    return request


def _read(raw: BaseHTTPResponse, status: int, max_bytes: int) -> tuple[bytes, str | None]:
    """Read a body to its end; else return nothing and why not, with the connection closed."""
    body = b""
    failure: str | None = None
    if status < 200:
        failure = "an interim answer in the place of a final one"
    else:
        try:
            body = b"".join(_pieces(raw, max_bytes))
        except Exception as error:  # noqa: BLE001  # the same
            failure = _describe(error)
    if len(body) > max_bytes:
        failure = f"an answer of more than {max_bytes} bytes"
    if failure:
        raw.close()
        return b"", failure
    return body, None


def _pieces(raw: BaseHTTPResponse, max_bytes: int) -> Iterator[bytes]:
    """Yield a body up to one byte over the cap; the last, empty read is what notices that a body was cut."""
    left = max_bytes + 1
    while left > 0 and (piece := raw.read(left, decode_content=True)):
        left -= len(piece)
        yield piece


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _never_connected(error: BaseException) -> bool:
    return any(isinstance(cause, _NoConnectionError) for cause in _causes(error))


def _describe(error: BaseException) -> str:
    """Tell what went wrong by its innermost cause: outer ones quote addresses, pools, sometimes headers."""
    cause = list(_causes(error))[-1]
    quotable = isinstance(cause, OSError | http.client.HTTPException)
    detail = f": {cause}" if quotable and str(cause) else ""
    stage = "no connection" if _never_connected(error) else "no whole answer"
    return f"{stage} ({type(cause).__name__}{detail})"


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
