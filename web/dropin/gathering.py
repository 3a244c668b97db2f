"""Gathers the requests of many callers: those that arrive during a round trip to Redis share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from web.context import ANSWER_SECONDS, ServerBusy
from worker.errors import RedisUnreachable

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

MAX_WAITING = 5000
"""How many may wait for a round trip; more are refused at once."""


class Gatherer(Generic[Asked, Answer]):
    """Passes the arguments of many callers to one blocking function, together and in order, on a separate thread."""

    def __init__(self, act: Callable[[Sequence[Asked]], Sequence[Answer]], most: int, name: str, address: str) -> None:
        self._act = act
        self._most = most
        self._address = address
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._trips: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def ask(self, asked: Asked) -> Answer:
        """Return the answer to one caller. Raises what the function raises, `ServerBusy`, and `RedisUnreachable`."""
        if len(self._waiting) >= MAX_WAITING:
            raise ServerBusy
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._trips is None or self._trips.done():
            self._trips = asyncio.create_task(self._make_trips())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await future
        except TimeoutError:
            raise RedisUnreachable(self._address, f"no answer in {ANSWER_SECONDS:g} s") from None

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _make_trips(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            await self._make_trip([(asked, future) for asked, future in some if not future.done()])

    async def _make_trip(self, some: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._thread, self._act, [asked for asked, _ in some])
        except Exception as error:  # noqa: BLE001 - each caller gets it
            for _, future in some:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(some, answers, strict=True):
            if not future.done():
                future.set_result(answer)
