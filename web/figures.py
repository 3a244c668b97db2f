"""The latest figures of the accounts, shared by all who ask: Redis is read at most once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tasks.figures import Reading

MAX_AGE_SECONDS = 1.0


class LatestFigures:
    """Reads figures on demand, on a separate thread, so that a busy server does not delay them."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="figures")
        self._reading: asyncio.Future[Reading] | None = None
        self._last: tuple[Reading, float] | None = None

    async def get(self) -> Reading:
        """Return figures that are at most a second old. Raises `worker.errors.RedisUnreachable`.

        All who ask while figures are read get the same ones.
        """
        if self._last and time.monotonic() - self._last[1] < MAX_AGE_SECONDS:
            return self._last[0]
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read_once())
            self._reading.add_done_callback(self._forget)
        return await asyncio.shield(self._reading)

    async def _read_once(self) -> Reading:
        reading = await asyncio.get_running_loop().run_in_executor(self._thread, self._read)
        self._last = reading, time.monotonic()
        return reading

    def _forget(self, reading: asyncio.Future[Reading]) -> None:
        self._reading = None
        if not reading.cancelled():
            reading.exception()  # Seen, even if those who asked have left.

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
