"""The server's bounds: callers that send or read slowly, or send too much, lose their connection and nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from redis import Redis

import web.connection
import web.exchange
from tests.unit.support_queue import queue_on, raw
from tests.unit.support_web import KEY, StandInWorker, basic, beat, context_on, served
from tests.waiting import wait_until
from web.context import Context

BULK = "POST /v1/files/batch/deleteByFileIds HTTP/1.1"
CREDENTIAL = f"Authorization: {basic(KEY)}"


@pytest.fixture
def context(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    context = context_on(redis_client, monkeypatch, web_wait_seconds=20)
    yield context
    context.close()


@pytest.fixture
def url(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with short patience."""
    monkeypatch.setattr(web.connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(web.connection, "READ_SECONDS", 0.3)
    monkeypatch.setattr(web.exchange, "BODY_SECONDS", 0.3)
    with served(context) as url:
        yield url


def connect(url: str) -> socket.socket:
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10)


def answer(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize("start", ["", "GET /livez HTTP/1.1\r\nHost: x\r\n"])
def test_headers_that_do_not_end_cost_the_connection(url: str, start: str) -> None:
    """Also if nothing is sent at all."""
    with connect(url) as connection:
        connection.sendall(start.encode())
        assert answer(connection) == b""


def test_headers_without_end_are_bounded(url: str) -> None:
    """The server does not collect them."""
    with connect(url) as connection, pytest.raises(ConnectionError):
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + b"X-Long: x\r\n" * 1_000_000)


def test_a_keep_alive_connection_outlasts_the_time_for_headers(url: str) -> None:
    """Between two calls, a caller may rest."""
    with connect(url) as connection:
        for _ in range(2):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            seen = b""
            while not seen.endswith(b"}"):
                seen += connection.recv(65536)
            assert seen.startswith(b"HTTP/1.1 200 OK")
            threading.Event().wait(0.5)


def test_a_slow_body_is_408(url: str, redis_client: Redis) -> None:
    """Nothing is enqueued."""
    with connect(url) as connection:
        connection.sendall(f'{BULK}\r\n{CREDENTIAL}\r\nContent-Length: 100\r\n\r\n{{"fileIds":'.encode())
        assert answer(connection).startswith(b"HTTP/1.1 408")
    assert redis_client.keys("*request*") == []


def test_a_body_that_is_cut_off_enqueues_nothing(url: str, context: Context, redis_client: Redis) -> None:
    """What arrived is not taken for the whole."""
    beat(queue_on(redis_client))
    with connect(url) as connection:
        connection.sendall(f'{BULK}\r\n{CREDENTIAL}\r\nContent-Length: 40\r\n\r\n{{"fileIds":["a1"]}}'.encode())
    with connect(url) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200")
    assert redis_client.keys("*request*") == []


def test_what_is_not_http_is_refused(url: str) -> None:
    """And the server goes on."""
    with connect(url) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 400")


def test_a_caller_that_goes_away_leaves_its_request(url: str, context: Context, redis_client: Redis) -> None:
    """It was accepted; a repeat joins it."""
    queue = queue_on(redis_client)
    beat(queue)
    call = f"DELETE /v1/files/a1 HTTP/1.1\r\nConnection: close\r\n{CREDENTIAL}\r\n\r\n".encode()
    with connect(url) as connection:
        connection.sendall(call)
        wait_until(lambda: raw(queue).hget(queue.keys("waiting"), "http"))
    with StandInWorker(queue) as worker, connect(url) as connection:
        connection.sendall(call)
        assert answer(connection).startswith(b"HTTP/1.1 204")
    assert worker.claims == [["a1"]]
