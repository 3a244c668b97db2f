"""Estimates when a call reached the API: its limit counts arrivals, not slots."""

from __future__ import annotations

import math
import time

MOST_TRANSIT_SECONDS = 0.025
"""How much of a slow response's extra time counts as transit. The API's time varies far more than the network's, so
counting all of it would waste slots."""
FORGET = 1.02
"""Factor by which the fastest response time ages with each call."""


class Transit:
    """Estimates how late calls arrive, from how much longer than the fastest one they took."""

    def __init__(self) -> None:
        self._fastest = math.inf

    def late_ms(self, slot_at: float, sent_at: float | None) -> int:
        """Return the milliseconds from the slot to the latest likely arrival of a call that was just answered.

        Both times are monotonic seconds; `sent_at` is None if the call was not sent completely.
        """
        now = time.monotonic()
        if sent_at is None:
            return max(0, math.ceil((now - slot_at) * 1000))
        took = now - sent_at
        self._fastest = min(took, self._fastest * FORGET)
        transit = min(MOST_TRANSIT_SECONDS, took - self._fastest)
        return max(0, math.ceil((sent_at + transit - slot_at) * 1000))
