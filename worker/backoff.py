"""How long to wait before trying again."""

from __future__ import annotations

import random

FIRST_MS = 1_000
MOST_MS = 60_000


def backoff_ms(failures: int, jitter: float | None = None) -> int:
    """Return the milliseconds to wait after the n-th failure: doubling from one second, at most a minute.

    `jitter` is a number from 0 to 1 (random unless given) that takes off up to a quarter, so that what failed together
    does not come back together.
    """
    delay = MOST_MS if failures > 7 else min(MOST_MS, FIRST_MS * 2 ** max(0, failures - 1))
    return int(delay * (1 - 0.25 * (random.random() if jitter is None else jitter)))  # noqa: S311 - not for secrets
