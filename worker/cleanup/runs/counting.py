"""Counts the files of the library, for guards that are a share of it.

The API returns no totals. But a library has n files if its listing has an n-th object: doubling, then halving, finds
the number in some twenty calls of one object each. A count is used for a day.
"""

from __future__ import annotations

import logging
import threading
import time

from redis.exceptions import RedisError

from worker.cleanup.listing.query import search_base
from worker.cleanup.rules.rule import Conditions
from worker.cleanup.runs.dry_run import ListingRefused, patient_page
from worker.cleanup.runs.slice import Cleaner

logger = logging.getLogger("kitsweep.cleanup")

CHECK_SECONDS = 30.0
MAX_AGE_MS = 86_400_000
LOCK_MS = 300_000
FIRST_GUESS = 1000


class LibraryCounter:
    """Stores the number of files in the account's library in Redis."""

    def __init__(self, cleaner: Cleaner, *, needed: bool) -> None:
        self._cleaner = cleaner
        self._needed = needed
        self._checked_at = float("-inf")

    def count_if_due(self) -> None:
        """Start a thread that counts, if a guard needs the number, it is too old, and no other worker counts."""
        if not self._needed or time.monotonic() - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = time.monotonic()
        if self.is_old() and self._lock():
            threading.Thread(target=self._count_quietly, name="kitsweep-count", daemon=True).start()

    def is_old(self) -> bool:
        """Whether there is no count, or only one that is too old."""
        queue = self._cleaner.runs.queue
        counted_at = queue.redis.hget(queue.keys("library"), "counted_at")
        return not counted_at or queue.now_ms() - int(str(counted_at)) > MAX_AGE_MS

    def count(self) -> int:
        """Count, and store the number. Raises `ListingRefused`."""
        low, high = 0, FIRST_GUESS
        while self._has(high):
            low, high = high, high * 2
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._has(middle) else (low, middle - 1)
        queue = self._cleaner.runs.queue
        queue.redis.hset(queue.keys("library"), mapping={"files": low, "counted_at": queue.now_ms()})
        return low

    def _has(self, files: int) -> bool:
        """Whether the library has at least `files` files."""
        return bool(patient_page(self._cleaner, search_base(Conditions()), files - 1, 1).objects)

    def _lock(self) -> bool:
        queue = self._cleaner.runs.queue
        return bool(queue.redis.set(queue.keys.cleanup("lock", "count"), "1", nx=True, px=LOCK_MS))

    def _count_quietly(self) -> None:
        try:
            files = self.count()
            logger.info("counted %d files in the library for max_share", files, extra={"files": files})
        except (ListingRefused, RedisError) as error:
            logger.warning("could not count the library for max_share, retrying later: %s", error)
