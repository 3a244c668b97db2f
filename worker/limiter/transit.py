"""When a call reached the API, as far as this side can tell: the limit counts arrivals, not slots."""

from __future__ import annotations

import math
import time

MOST_TRANSIT_SECONDS = 0.025
"""How much of an answer's extra time may have passed before the API counted the call. An API's own time varies far more
than the way to it; all of it would be too careful by far."""
FORGET = 1.02
"""By how much the fastest answer is forgotten with each call."""


class Arrivals:
    """Estimates arrivals from the times of answers: one that took longer than the fastest may have arrived late."""

    def __init__(self) -> None:
        self._fastest = math.inf

    def late_ms(self, slot_at: float, sent_at: float | None) -> int:
        """Return the ms from the slot to the latest likely arrival of a call that was answered just now.

        Both times are monotonic seconds; `sent_at` is None when the call was not sent whole.
        """
        now = time.monotonic()
        if sent_at is None:
            return max(0, math.ceil((now - slot_at) * 1000))
        took = now - sent_at
        self._fastest = min(took, self._fastest * FORGET)
        transit = min(MOST_TRANSIT_SECONDS, took - self._fastest)
        return max(0, math.ceil((sent_at + transit - slot_at) * 1000))
