"""Blocking code that may take minutes, such as reading a long stream: a few at a time, each on its own thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

from worker.errors import QueueUnavailable

T = TypeVar("T")

MOST = 8


class ServerBusy(QueueUnavailable):
    """The server works on too many calls already."""

    def __str__(self) -> str:
        return "The server is busy. Nothing was changed; try again."


class LongCalls:
    """Up to `MOST` long calls at a time."""

    def __init__(self) -> None:
        self._free = MOST
        self._pool = ThreadPoolExecutor(MOST, thread_name_prefix="long")

    async def run(self, act: Callable[[], T]) -> T:
        """Run blocking code to its end. Raises what it raises, and `ServerBusy`."""
        with self._slot():
            return await self._on_thread(act)

    async def each(self, values: Iterator[T]) -> AsyncIterator[T]:
        """Yield the values of a blocking iterator. Raises what it raises, and `ServerBusy`."""
        end = object()
        with self._slot():
            while (value := await self._on_thread(lambda: next(values, end))) is not end:
                yield value  # type: ignore[misc] # it is not the end

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if self._free == 0:
            raise ServerBusy
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def _on_thread(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, act)
