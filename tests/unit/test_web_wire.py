"""Requests of ImageKit's SDKs for PHP, Java, Ruby, Go and .NET: recorded (tests/wire), or written from their sources.

Current majors fill the password of Basic, number their attempts and send headers of their generator; previous majors
leave the password empty. They differ in the case of paths and of header names, and in how they frame a body.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from redis import Redis

from tests.unit.support_queue import queue_on
from tests.unit.support_web import KEY, StandInWorker, basic, context_on, served

RECORDED = sorted((Path(__file__).parents[1] / "wire").glob("*.http"))
FILLER = "do_not_set"


class Sdk(NamedTuple):
    """How one SDK writes a bulk delete."""

    name: str
    password: str
    headers: tuple[str, ...]
    path: str = "/v1/files/batch/deleteByFileIds"
    is_chunked: bool = False

    def request(self, file_ids: list[str]) -> bytes:
        """Return the bytes on the wire."""
        body = json.dumps({"fileIds": file_ids})
        framing = "Transfer-Encoding: chunked" if self.is_chunked else f"Content-Length: {len(body)}"
        sent = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n" if self.is_chunked else body
        lines = ["Host: kitsweep", f"Authorization: {basic(KEY, self.password)}", framing, *self.headers]
        return "\r\n".join([f"POST {self.path} HTTP/1.1", *lines, "", sent]).encode()


def stainless(language: str, version: str, *more: str) -> tuple[str, ...]:
    return (
        "Accept: application/json",
        "Content-Type: application/json",
        f"User-Agent: ImageKit/{language} {version}",
        f"X-Stainless-Lang: {language.lower()}",
        f"X-Stainless-Package-Version: {version}",
        "X-Stainless-Retry-Count: 0",
        *more,
    )


SDKS = [
    Sdk("java 3", FILLER, stainless("Java", "3.3.0", "Accept-Encoding: gzip", "Connection: Keep-Alive")),
    Sdk("java 2", "", ("Content-Type: application/json; charset=utf-8", "User-Agent: okhttp/4.9.3")),
    Sdk("go 2", FILLER, stainless("Go", "2.10.0", "Accept-Encoding: gzip")),
    Sdk("dotnet 6", FILLER, stainless("CSharp", "6.3.0"), is_chunked=True),
    Sdk(
        "dotnet 5",
        "",
        ("content-type: application/json; charset=utf-8", "expect: 100-continue"),
        path="/v1/files/batch/deleteByfileIds",
    ),
    Sdk("a trailing slash", "", (), path="/v1/files/batch/deleteByFileIds/"),
]


@pytest.fixture
def worker(redis_client: Redis) -> Iterator[StandInWorker]:
    with StandInWorker(queue_on(redis_client)) as worker:
        yield worker


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_the_request_of_an_sdk_is_understood(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, worker: StandInWorker, sdk: Sdk
) -> None:
    """It deletes, and its retry is answered from the same request."""
    context = context_on(redis_client, monkeypatch, web_wait_seconds=20)
    with served(context) as url:
        first = answer(url, sdk.request(["a1", "a2"]))
        again = answer(url, sdk.request(["a1", "a2"]).replace(b"Retry-Count: 0", b"Retry-Count: 1"))
    context.close()
    assert first.splitlines()[0] == b"HTTP/1.1 200 OK"
    assert json.loads(first.partition(b"\r\n\r\n")[2]) == {"successfullyDeletedFileIds": ["a1", "a2"]}
    assert request_id(again) == request_id(first)
    assert worker.claims == [["a1", "a2"]]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_request_is_understood(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, worker: StandInWorker, path: Path
) -> None:
    """It deletes, and gets the answer of ImageKit. Some SDKs send a body with a single delete; it is ignored."""
    context = context_on(redis_client, monkeypatch, web_wait_seconds=20)
    with served(context) as url:
        told = answer(url, path.read_bytes(), b"}" if path.stem.endswith("bulk") else b"\r\n\r\n")
    context.close()
    if path.stem.endswith("bulk"):
        assert told.startswith(b"HTTP/1.1 200 OK\r\n")
        assert told.endswith(b'{"successfullyDeletedFileIds":["a1","b2"]}')
        assert worker.claims == [["a1", "b2"]]
    else:
        assert told.startswith(b"HTTP/1.1 204 No Content\r\n")
        assert worker.claims == [["a1"]]


def test_there_are_recordings_of_four_sdks() -> None:
    """Of each a bulk and a single delete, with the key of these tests."""
    assert len(RECORDED) == 8
    assert all(f"Basic {basic(KEY).split()[1][:16]}".encode() in path.read_bytes() for path in RECORDED)


def request_id(text: bytes) -> bytes:
    return text.lower().partition(b"x-kitsweep-request-id: ")[2].partition(b"\r\n")[0]


def answer(url: str, request: bytes, end: bytes = b"}") -> bytes:
    """Send a request, and return the whole answer, without an interim one."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=30) as connection:
        connection.sendall(request)
        seen = b""
        while not seen.endswith(end):
            seen += connection.recv(65536)
    return seen.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
