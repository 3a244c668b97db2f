"""One HTTP request and its response, and the faults that break the connection between them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from simulator.api.responses import JSON_TYPE, Response
from simulator.faults import Fault
from simulator.json_value import Json

_ENDLESS_START = b'{"successfullyDeletedFileIds": [ '


class Connection(HttpToolsProtocol):
    """A uvicorn connection that also hands its transport to the application: only a transport can be reset."""

    def on_message_begin(self) -> None:
        """Start a request. The parser calls this."""
        super().on_message_begin()
        self.scope["extensions"] = {"simulator": {"transport": self.transport}}


async def close_all(server: ServerState) -> None:
    """Reset all connections of a server and cancel the requests in progress."""
    for connection in list(server.connections):
        connection.transport.abort()
    await asyncio.sleep(0)  # uvicorn notices the resets here; otherwise it would answer cancelled requests with a 500
    for task in server.tasks:
        task.cancel()
    await asyncio.gather(*server.tasks, return_exceptions=True)


class Exchange:
    """One request and its response, in the terms of ASGI."""

    def __init__(
        self, scope: Json, receive: Callable[[], Awaitable[Json]], send: Callable[[Json], Awaitable[None]]
    ) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("ascii")
        self.query: str = scope["query_string"].decode("latin-1")
        self.authorization: str = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        self._transport: asyncio.Transport = scope["extensions"]["simulator"]["transport"]
        self._receive = receive
        self._send = send

    async def read_body(self) -> bytes | None:
        """Return the whole body, or None if the caller disconnects first."""
        body, more = bytearray(), True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            body += message["body"]
            more = message["more_body"]
        return bytes(body)

    async def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole response."""
        length = {} if status == HTTPStatus.NO_CONTENT else {"Content-Length": str(len(body))}
        await self._send_head(status, {**headers, **length})
        await self._send_part(body, more=False)

    async def deliver(self, response: Response, fault: Fault | None, request_id: str) -> None:
        """Send a response of the API, or break the connection as the fault says."""
        headers = {"x-ik-requestId": request_id, **response.headers}
        delay_seconds = fault.delay_ms / 1000 if fault else 0
        match fault.kind if fault else "":
            case "cut_before" | "cut_after":
                self._transport.abort()
                await self._disconnected()
            case "cut_middle":
                await self._cut_middle(response)
            case "hang":
                await self._disconnected()
            case "endless":
                await self._send_endless(headers, delay_seconds)
            case kind:
                if kind == "slow":
                    await asyncio.sleep(delay_seconds)
                if response.body or response.status == HTTPStatus.NO_CONTENT:
                    headers = {"Content-Type": response.content_type, **headers}
                await self.respond(response.status, response.body, headers)

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _cut_middle(self, response: Response) -> None:
        """Announce the whole body, send half of it, and close the connection."""
        body = response.body or b'{"successfullyDeletedFileIds": []}'
        await self._send_head(response.status, {"Content-Type": JSON_TYPE, "Content-Length": str(len(body))})
        await self._send_part(body[: len(body) // 2])
        self._transport.close()
        await self._disconnected()

    async def _send_endless(self, headers: Mapping[str, str], delay_seconds: float) -> None:
        await self._send_head(HTTPStatus.OK, {**headers, "Content-Type": JSON_TYPE})
        await self._send_part(_ENDLESS_START)
        disconnected = asyncio.ensure_future(self._disconnected())
        while not disconnected.done():
            await asyncio.sleep(delay_seconds)
            await self._send_part(b" ")

    async def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _send_part(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
