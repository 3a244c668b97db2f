"""One HTTP request and its response, in the terms of ASGI, for handlers without FastAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

MAX_BODY = 1024 * 1024
BODY_SECONDS = 30.0
"""How long the body of a drop-in call may take."""


class CutOff(Exception):
    """The caller disconnected before its request was complete."""


class TooLarge(Exception):
    """The body has more than `MAX_BODY` bytes."""


def header_in(headers: Iterable[tuple[bytes, bytes]], name: bytes, default: str = "") -> str:
    """Return the first header of a name in lower case."""
    return next((value.decode("latin-1") for key, value in headers if key == name), default)


class Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.client: tuple[str, int] | None = scope["client"]
        self.raw_path: str = scope["raw_path"].decode("latin-1")
        self.query: bytes = scope["query_string"]
        self.raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.receive = receive
        self.send = send

    def header(self, name: bytes, default: str = "") -> str:
        """Return the first header of a name in lower case."""
        return header_in(self.raw_headers, name, default)

    async def body(self) -> bytes:
        """Return the whole body. Raises `CutOff`, `TooLarge`, and `TimeoutError` after `BODY_SECONDS`."""
        message = await self.receive()
        if message["type"] == "http.request" and not message["more_body"] and len(message["body"]) <= MAX_BODY:
            return bytes(message["body"])
        async with asyncio.timeout(BODY_SECONDS):
            return await self._rest_of_body(message)

    async def _rest_of_body(self, message: Any) -> bytes:
        body = bytearray()
        while True:
            if message["type"] == "http.disconnect":
                raise CutOff
            body += message["body"]
            if len(body) > MAX_BODY:
                raise TooLarge
            if not message["more_body"]:
                return bytes(body)
            message = await self.receive()

    async def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole response with a JSON body, or with none."""
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        if status != 204:
            raw += [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})
