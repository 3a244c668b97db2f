"""Putting answers on the wire, and breaking them there."""

import asyncio
from http import HTTPStatus

from aiohttp import web

from simulator.api.answers import JSON_TYPE, Answer
from simulator.faults import Fault

_WATCH_SECONDS = 0.05
_ENDLESS_START = b'{"successfullyDeletedFileIds": [ '


async def deliver(request: web.BaseRequest, answer: Answer, fault: Fault | None, request_id: str) -> web.StreamResponse:
    """Send the answer, as whole and as soon as the fault allows."""
    headers = {"x-ik-requestId": request_id, **answer.headers}
    if fault is not None:
        spoiled = await _break(request, answer, fault, headers)
        if spoiled is not None:
            return spoiled
    if answer.body or answer.status == HTTPStatus.NO_CONTENT:
        headers.setdefault("Content-Type", answer.content_type)
    return web.Response(status=answer.status, body=answer.body, headers=headers)


async def _break(
    request: web.BaseRequest, answer: Answer, fault: Fault, headers: dict[str, str]
) -> web.StreamResponse | None:
    """Spoil the answer on the wire as the fault says; None where it goes out whole."""
    match fault.kind:
        case "cut_before" | "cut_after":
            return _cut(request)
        case "cut_middle":
            return _cut_middle(request, answer)
        case "hang":
            return await _hang(request)
        case "endless":
            return await _endless(request, fault.delay_ms / 1000, headers)
        case "slow":
            await asyncio.sleep(fault.delay_ms / 1000)
    return None


def _cut(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _cut_middle(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send headers that promise the whole body, half of the body, and the end of the connection."""
    body = answer.body or b'{"successfullyDeletedFileIds": []}'
    head = (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
        f"Content-Type: {JSON_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    if request.transport is not None:
        request.transport.write(head.encode() + body[: len(body) // 2])
        request.transport.close()
    return web.Response()


async def _hang(request: web.BaseRequest) -> web.StreamResponse:
    # aiohttp has no event for the end of a connection.
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_WATCH_SECONDS)
    return web.Response()


async def _endless(request: web.BaseRequest, pause: float, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={**headers, "Content-Type": JSON_TYPE})
    await response.prepare(request)
    await response.write(_ENDLESS_START)
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(pause)
        await response.write(b" ")
    return response
