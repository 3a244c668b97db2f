"""Counts the files of the library, for guards that are a share of it. The API tells no totals.

But a library has more than n files if there is one at place n of its listing: doubling, then halving, finds the number
in some tens of calls that each bring one object. A count is good for a day.
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

LOOK_SECONDS = 30.0
GOOD_FOR_MS = 86_400_000
LOCK_MS = 300_000
FIRST_GUESS = 1000


class Library:
    """The number of files in the account's library."""

    def __init__(self, cleaner: Cleaner, *, needed: bool) -> None:
        self._cleaner = cleaner
        self._needed = needed
        self._looked_at = float("-inf")

    def count_now_and_then(self) -> None:
        """Have the library counted by a thread of its own, where a guard needs it and the last count is old."""
        if not self._needed or time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        if self.is_old() and self._is_ours():
            threading.Thread(target=self._count_quietly, name="kitsweep-count", daemon=True).start()

    def is_old(self) -> bool:
        """Whether there is no count, or only one that is no longer good."""
        queue = self._cleaner.runs.queue
        counted_at = queue.redis.hget(queue.keys("library"), "counted_at")
        return not counted_at or queue.now_ms() - int(str(counted_at)) > GOOD_FOR_MS

    def count(self) -> int:
        """Count, and keep the number. Raises `ListingRefused`."""
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
        """Whether the library has at least so many files."""
        return bool(patient_page(self._cleaner, search_base(Conditions()), files - 1, 1).objects)

    def _is_ours(self) -> bool:
        queue = self._cleaner.runs.queue
        return bool(queue.redis.set(queue.keys.cleanup("lock", "count"), "1", nx=True, px=LOCK_MS))

    def _count_quietly(self) -> None:
        try:
            logger.info("the library has %d files", self.count())
        except (ListingRefused, RedisError) as error:
            logger.warning("the library could not be counted: %s", error)
