"""One HTTP exchange on `requests`, limited in time and size. It returns a `RawAnswer` whatever happens.

It adds three things that `requests` lacks: a deadline for the whole response, which a stopping worker can bring
forward (the read timeout of `requests` restarts with every byte); a limit on the size of a body; and certainty that
nothing of a call reached the server.
"""

from __future__ import annotations

import http.client
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.response import BaseHTTPResponse

from worker.imagekit.connections import POOLS, NoConnectionError, OpenSocket, current_call, no_deadline

IDLE_SECONDS = 4.0
"""Connections that were idle for longer are not reused. Servers close idle connections (Node.js after 5 s), and a call
sent while the server closes is ambiguous."""

# urllib3 logs malformed headers unescaped, with a traceback each.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
# At DEBUG it logs each path with its query, which may hold a token.
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


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


class _Adapter(HTTPAdapter):
    """One keep-alive connection of `worker.imagekit.connections`, without retries."""

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = POOLS


@dataclass(slots=True)
class Transport:
    """Sends calls over keep-alive connections, one per call at the same time. Safe to share among threads.

    It ignores the environment: credentials in a `.netrc` would replace the key, and a proxy variable would redirect
    calls meant for a local simulator. Proxies are therefore not supported.
    """

    connect_seconds: float
    """Timeout for each address of the server. The system limits how long a DNS lookup takes."""
    answer_seconds: float
    """Timeout for the whole response, from the last byte sent to the last byte received."""
    deadline: Callable[[], float] = no_deadline
    """Returns when calls must end, in monotonic seconds. It is called repeatedly while a call waits."""
    open_socket: OpenSocket | None = None
    """Opens the connection instead of urllib3. Host name and TLS checks stay those of the URL."""
    ready_seconds: float = math.inf
    """Maximum time for DNS, TCP and TLS together; a call that takes longer is not sent."""
    ca_file: str | None = None
    """PEM file with authorities to trust beside the public ones."""
    _idle: deque[tuple[_Adapter, float]] = field(default_factory=deque, repr=False)
    """Connections that no call uses, the last one used last, and when that was, in monotonic seconds."""

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int
    ) -> RawAnswer:
        """Send a request once, without following redirects, and read up to `max_bytes` of the response's body."""
        start = time.perf_counter()
        status, response_headers, content, sent = None, CaseInsensitiveDict[str](), b"", True
        failure: str | None
        current_call.sent_at, current_call.deadline = None, self.deadline
        current_call.open_socket, current_call.connect_by = self.open_socket, time.monotonic() + self.ready_seconds
        current_call.ca_file = self.ca_file
        adapter = self._take()
        try:
            # Not Session.send: it reads the environment, keeps cookies, and reads redirects without limit.
            response = adapter.send(
                _prepared(method, url, headers, body), stream=True, timeout=(self.connect_seconds, self.answer_seconds)
            )
        except Exception as error:  # noqa: BLE001  # anything that a server can cause is a result
            failure, sent = _describe(error), not _never_connected(error)
        else:
            status, response_headers = response.status_code, response.headers
            content, failure = _read(response.raw, status, max_bytes)
        self._idle.append((adapter, time.monotonic()))
        elapsed_ms = (time.perf_counter() - start) * 1000
        return RawAnswer(status, response_headers, content, failure, sent, elapsed_ms, current_call.sent_at)

    def close(self) -> None:
        """Close all connections that no call uses. A later call opens a new one."""
        self._close_idle(0.0)

    def close_old(self) -> None:
        """Close connections that were idle for so long that no call would use them."""
        self._close_idle(IDLE_SECONDS)

    def _close_idle(self, seconds: float) -> None:
        with suppress(IndexError):
            while time.monotonic() - self._idle[0][1] >= seconds:
                self._idle.popleft()[0].close()

    def _take(self) -> _Adapter:
        try:
            adapter, used_at = self._idle.pop()
        except IndexError:
            return _Adapter()
        if time.monotonic() - used_at > IDLE_SECONDS:
            adapter.close()
        return adapter


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
    return any(isinstance(cause, NoConnectionError) for cause in _causes(error))


def _describe(error: BaseException) -> str:
    """Describe an error by its innermost cause; outer ones show addresses, pools, and sometimes headers."""
    cause = list(_causes(error))[-1]
    quotable = isinstance(cause, OSError | http.client.HTTPException)
    detail = f": {cause}" if quotable and str(cause) else ""
    stage = "no connection" if _never_connected(error) else "no complete response"
    return f"{stage} ({type(cause).__name__}{detail})"
