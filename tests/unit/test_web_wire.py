"""Requests as ImageKit's SDKs for PHP, Java, Ruby, Go and .NET put them on the wire, by their sources.

Current majors fill the password of Basic, number their attempts and send headers of their generator; previous majors
leave the password empty. They differ in the case of paths and of header names, and in how they frame a body.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from redis import Redis

from tests.unit.support_queue import queue_on
from tests.unit.support_web import KEY, StandInWorker, basic, context_on, served

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
    Sdk("php 4", "", ("User-Agent: GuzzleHttp/7", "Content-Type: application/json")),
    Sdk("java 3", FILLER, stainless("Java", "3.3.0", "Accept-Encoding: gzip", "Connection: Keep-Alive")),
    Sdk("java 2", "", ("Content-Type: application/json; charset=utf-8", "User-Agent: okhttp/4.9.3")),
    Sdk("ruby 4", FILLER, stainless("Ruby", "4.6.0")),
    Sdk("ruby 3", "", ("Accept: */*", "Content-Type: application/json", "User-Agent: rest-client/2.1.0")),
    Sdk("go 2", FILLER, stainless("Go", "2.10.0", "Accept-Encoding: gzip")),
    Sdk("go 1", "", ("User-Agent: Go-http-client/1.1", "Content-Type: application/json", "Accept-Encoding: gzip")),
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


def request_id(text: bytes) -> bytes:
    return text.lower().partition(b"x-kitsweep-request-id: ")[2].partition(b"\r\n")[0]


def answer(url: str, request: bytes) -> bytes:
    """Send a request, and return the whole answer, without an interim one."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=30) as connection:
        connection.sendall(request)
        seen = b""
        while not seen.endswith(b"}"):
            seen += connection.recv(65536)
    return seen.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
