"""The threads of a worker that run batches, shared by its accounts.

Each account has as many as the worker's concurrency, so that one whose calls hang takes none from another. A worker has
`MOST_IN_ALL`; when they are short, the account that holds the fewest is served first.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from worker.batch.pipeline import Batches
from worker.runtime import stopping
from worker.runtime.threads import pause_after

MOST_IN_ALL = 64
"""Each thread has a connection to Redis and one to the API."""


class BatchThreads:
    """The threads of a worker that run batches: at most `size` for each account."""

    def __init__(self, size: int, most: int = MOST_IN_ALL) -> None:
        self.size = size
        self._most = max(size, most)
        self._executor = ThreadPoolExecutor(self._most, "kitsweep-batch")
        self._running: dict[Batches, list[Future[None]]] = {}
        self._equal_share = self._most
        self._last_started: dict[Batches, float] = {}
        self._served: Collection[Batches] | None = None
        self._short: set[Batches] = set()
        """The accounts that got fewer threads than they wanted the last time."""

    def free(self, batches: Batches) -> int:
        """Return how many more threads an account may have."""
        self._forget_ended()
        return self.size - self.held(batches)

    def held(self, batches: Batches) -> int:
        """Return how many threads run batches of an account."""
        return len(self._running.get(batches, ()))

    def share_out(self, wanted: Mapping[Batches, int]) -> dict[Batches, int]:
        """Return how many threads each account gets now, of those that it wants.

        Ties go to the account that got threads the longest ago. Until all get what they want, accounts with more than
        an equal share give threads back after the call in flight.
        """
        left = self._most - sum(map(len, self._running.values()))
        in_turn = sorted(wanted, key=lambda each: self._last_started.get(each, 0.0))
        shares = fair_shares({each: wanted[each] for each in in_turn}, {each: self.held(each) for each in wanted}, left)
        self._short -= wanted.keys()
        self._short |= {each for each, count in wanted.items() if shares[each] < count}
        self._equal_share = self._most // max(1, len({*self._running, *self._short}))
        return shares

    def start(self, batches: Batches, count: int) -> None:
        """Let `count` free threads run batches of an account."""
        self._last_started[batches] = time.monotonic()
        started = [self._executor.submit(self._run, batches) for _ in range(count)]
        self._running.setdefault(batches, []).extend(started)

    def serve_only(self, served: Collection[Batches]) -> None:
        """Let batches of all other accounts end after the call in flight."""
        self._served = served
        self._short &= {*served}
        self._last_started = {each: at for each, at in self._last_started.items() if each in served}

    def join(self) -> None:
        """Wait for the running batches, and start no more."""
        self._executor.shutdown()

    def _forget_ended(self) -> None:
        left = {each: [one for one in running if not one.done()] for each, running in self._running.items()}
        self._running = {each: running for each, running in left.items() if running}

    def _run(self, batches: Batches) -> None:
        # The items of a failed batch are reclaimed when their lease expires.
        time.sleep(pause_after("batch", lambda: self._run_while_full(batches)))

    def _run_while_full(self, batches: Batches) -> float:
        batches.run(goes_on=lambda: self._goes_on(batches))
        return 0.0

    def _goes_on(self, batches: Batches) -> bool:
        is_served = self._served is None or batches in self._served
        return is_served and not self._holds_too_many(batches) and not stopping.has_begun()

    def _holds_too_many(self, batches: Batches) -> bool:
        return bool(self._short) and self.held(batches) > self._equal_share


def fair_shares(wanted: Mapping[Batches, int], held: Mapping[Batches, int], left: int) -> dict[Batches, int]:
    """Give out threads one by one, each to the first account of those that have the fewest and want more.

    No account takes more than half of what is left, so that some remain if several accounts hang one after another.
    """
    shares = dict.fromkeys(wanted, 0)
    most = left - left // 2
    while left > 0:
        candidates = [each for each in wanted if shares[each] < min(wanted[each], most)]
        if not candidates:
            break
        shares[min(candidates, key=lambda each: held[each] + shares[each])] += 1
        left -= 1
    return shares
