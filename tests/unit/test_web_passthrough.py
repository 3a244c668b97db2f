"""The pass-through: every other call goes to ImageKit and back, as streams, with the account's own key only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from redis import Redis

from tasks.tokens import Scope
from tests.unit.support_queue import settings_for_tests
from tests.unit.support_web import KEY, context_on, served
from tests.waiting import wait_until
from web.context import Context
from worker.limiter.slots import Endpoint, Limiter

MB = 1024 * 1024


class Upstream(ThreadingHTTPServer):
    """An ImageKit that notes what it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.received = 0
        self.go_on = threading.Event()
        self.answer: tuple[int, dict[str, str]] = (200, {})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Notes one call and answers it."""

    protocol_version = "HTTP/1.1"
    server: Upstream

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Stay silent."""

    def do(self) -> None:
        self.server.seen.append(
            (self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        self._read(int(self.headers.get("Content-Length", 0)))
        status, headers = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "slow" in self.path:
            self._answer_slowly()
            return
        self.send_header("Content-Length", "2")
        self.send_header("Set-Cookie", "a=1")
        self.end_headers()
        self.wfile.write(b"{}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.do
        raise AttributeError(name)

    def _read(self, length: int) -> None:
        while length > 0:
            part = self.rfile.read(min(length, 65536))
            self.server.received += len(part)
            length -= len(part)

    def _answer_slowly(self) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nfirst\r\n")
        assert self.server.go_on.wait(10)
        self.wfile.write(b"4\r\nlast\r\n0\r\n\r\n")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def context(redis_client: Redis, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> Iterator[Context]:
    context = context_on(redis_client, monkeypatch, base_url=upstream.url)
    yield context
    context.close()


@pytest.fixture
def client(context: Context) -> Iterator[httpx2.Client]:
    with served(context) as url, httpx2.Client(base_url=url, auth=(KEY, "")) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files?limit=2&searchQuery=name%20%3D%20%22a%22"),
        ("GET", "/v1/files/abc/details"),
        ("PATCH", "/v1/files/abc/details"),
        ("DELETE", "/v1/files/abc/versions/v1"),
        ("POST", "/v1/files/purge"),
        ("DELETE", "/v1/folder"),
        ("POST", "/api/v1/files/upload"),
        ("POST", "/api/v2/files/upload"),
        ("PUT", "/nothing/%2Fhere"),
    ],
)
def test_a_call_goes_on_unchanged(client: httpx2.Client, upstream: Upstream, method: str, path: str) -> None:
    """Method, path, query and headers; those of one connection, and ours, stay behind."""
    headers = {"X-Custom": "yes", "X-Kitsweep-Source": "shop", "Connection": "keep-alive", "Cookie": "own=1"}
    body = {} if method == "GET" else {"content": b'{"a": 1}'}
    answer = client.request(method, path, headers=headers, **body)  # type: ignore[arg-type]
    assert (answer.status_code, answer.text) == (200, "{}")
    (seen_method, seen_path, seen_headers), *_ = upstream.seen
    assert (seen_method, seen_path) == (method, path)
    assert seen_headers["authorization"] == answer.request.headers["Authorization"]
    assert (seen_headers["x-custom"], seen_headers["cookie"]) == ("yes", "own=1")
    assert "x-kitsweep-source" not in seen_headers
    assert upstream.received == len(body.get("content", b""))


def test_the_proxy_keeps_no_cookies(client: httpx2.Client, upstream: Upstream) -> None:
    """Callers do not share them."""
    client.get("/v1/files")
    client.cookies.clear()
    client.get("/v1/files")
    assert "cookie" not in upstream.seen[1][2]


@pytest.mark.parametrize(("status", "headers"), [(201, {"x-ik-requestId": "r1"}), (404, {}), (302, {"Location": "/x"})])
def test_a_response_comes_back_unchanged(
    client: httpx2.Client, upstream: Upstream, status: int, headers: dict[str, str]
) -> None:
    """Redirects included: the caller decides whether to follow."""
    upstream.answer = status, headers
    answer = client.get("/v1/files", follow_redirects=False)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in headers} == headers


def test_a_response_is_passed_on_while_it_comes(client: httpx2.Client, upstream: Upstream) -> None:
    """Its first part arrives before its last is sent."""
    with client.stream("GET", "/v1/slow") as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"first"
        upstream.go_on.set()
        assert b"".join(parts) == b"last"


def test_an_upload_is_passed_on_while_it_comes(client: httpx2.Client, upstream: Upstream) -> None:
    """The upload host has its beginning before the caller has sent its end."""

    def body() -> Iterator[bytes]:
        for _ in range(8):
            yield b"x" * MB
        wait_until(lambda: upstream.received > MB)
        yield b"x" * MB

    answer = client.post("/api/v1/files/upload", content=body(), headers={"Content-Length": str(9 * MB)})
    assert answer.status_code == 200
    assert upstream.received == 9 * MB


def test_uploads_go_to_their_own_host(redis_client: Redis, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    """If a setting names one."""
    context = context_on(redis_client, monkeypatch, base_url="http://127.0.0.1:9", upload_url=upstream.url)
    with served(context) as url, httpx2.Client(base_url=url, auth=(KEY, "")) as client:
        assert client.post("/api/v1/files/upload", content=b"x").status_code == 200
        assert client.get("/v1/files").status_code == 502
    context.close()


def test_a_token_passes_nothing_on(client: httpx2.Client, context: Context, upstream: Upstream) -> None:
    """Whatever its scopes are."""
    token = context.admin.tokens.create("all", list(Scope), "shop")
    answer = client.get("/v1/files", auth=(token, ""))
    assert (answer.status_code, answer.json().keys()) == (403, {"message", "help"})
    assert upstream.seen == []


@pytest.mark.parametrize("status", [200, 429])
def test_rate_headers_teach_the_limiter(
    client: httpx2.Client, upstream: Upstream, redis_client: Redis, status: int
) -> None:
    """A 429 also pauses the calls of that endpoint, and of no other."""
    upstream.answer = (
        status,
        {"X-RateLimit-Limit": "7", "X-RateLimit-Interval": "2000", "X-RateLimit-Reset": "60000"},
    )
    client.get("/v1/files")
    limiter = Limiter(redis_client, settings_for_tests(), Endpoint.LIST)
    wait_until(lambda: limiter.read_limits().windows)
    window = limiter.read_limits().windows[0]
    assert (window.limit, window.interval_ms) == (7, 2000)
    assert (limiter.read_limits().pause_ms > 0) == (status == 429)
    assert Limiter(redis_client, settings_for_tests()).read_limits().pause_ms == 0
