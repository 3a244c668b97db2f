"""Bodies of requests: bounded JSON, and streams of file ids of any length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from io import BufferedReader, RawIOBase

from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from typing_extensions import Buffer

from tasks.client import Urls
from tasks.id_files import Form, read_file_ids
from web.api.shapes import NewRequest
from web.problems import Problem

MAX_JSON_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
SILENT_SECONDS = 30.0
"""How long a caller may send nothing before its request is dropped."""
FORMS = {
    "application/x-ndjson": Form.JSONL,
    "application/jsonl": Form.JSONL,
    "text/csv": Form.CSV,
    "text/plain": Form.LINES,
}
"""Content types of streams."""
JSON = "application/json"
"""The content type of a request in one piece."""


def file_ids_in(request: Request, form: Form, urls: Urls | None) -> Iterator[str]:
    """Return the file ids of a body, to be read on another thread than that of the event loop. URLs go to `urls`.

    Reading raises `InputError`, which names the line, `ClientDisconnect` if the body is cut off, and `Problem` if
    nothing comes for too long.
    """
    body = BufferedReader(_Body(request), CHUNK_BYTES)
    return (file_id for _, file_id in read_file_ids(body, form, urls))


class _Body(RawIOBase):
    """The body of a request as a file that blocks."""

    def __init__(self, request: Request) -> None:
        self._chunks = request.stream()
        self._loop = asyncio.get_running_loop()
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer with what comes next; return how many bytes that are, 0 at the end."""
        if not self._left:
            self._left = memoryview(self._next_chunk())
        view = memoryview(buffer)
        count = min(len(view), len(self._left))
        view[:count], self._left = self._left[:count], self._left[count:]
        return count

    def _next_chunk(self) -> bytes:
        coming = asyncio.run_coroutine_threadsafe(_next(self._chunks), self._loop)
        try:
            return coming.result(SILENT_SECONDS)
        except TimeoutError:
            coming.cancel()
            raise Problem(408, f"Nothing came for {SILENT_SECONDS:g} s. Nothing was enqueued.") from None
        except CancelledError:
            raise ClientDisconnect from None


async def _next(chunks: AsyncIterator[bytes]) -> bytes:
    """Return the next chunk that is not empty; empty at the end."""
    async for chunk in chunks:
        if chunk:
            return chunk
    return b""


def content_type_of(request: Request) -> str:
    """Return the content type without its parameters. Raises `Problem` for one that cannot be read."""
    content_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if content_type not in FORMS and content_type != JSON:
        raise Problem(415, f"Content-Type: send {', '.join([JSON, *FORMS])}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "Content-Encoding: send the body as it is, without compression.")
    return content_type


async def read_json(request: Request) -> NewRequest:
    """Return a request sent as JSON. Raises `Problem` if it is invalid or too large."""
    body = bytearray()
    async with asyncio.timeout(SILENT_SECONDS):
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_JSON_BYTES:
                raise Problem(413, f"At most {MAX_JSON_BYTES} bytes of JSON; send a stream (text/plain) instead.")
    try:
        return NewRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        errors = [
            {"at": ".".join(map(str, each["loc"][:2])) or "body", "detail": each["msg"]} for each in error.errors()
        ]
        raise Problem(422, f"{errors[0]['at']}: {errors[0]['detail']}", errors=errors[:20]) from None
