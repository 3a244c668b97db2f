"""The threads of a worker that run batches."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from worker.batch.pipeline import Batches
from worker.runtime import stopping
from worker.runtime.threads import pause_after


class BatchThreads:
    """The threads of a worker that run batches."""

    def __init__(self, batches: Batches, size: int) -> None:
        self._batches = batches
        self._size = size
        self._executor = ThreadPoolExecutor(size, "kitsweep-batch")
        self._running: list[Future[None]] = []

    def free(self) -> int:
        """Return how many threads are free."""
        self._running = [each for each in self._running if not each.done()]
        return self._size - len(self._running)

    def start(self, count: int) -> None:
        """Let `count` free threads run batches."""
        self._running += [self._executor.submit(self._run) for _ in range(count)]

    def join(self) -> None:
        """Wait for the running batches, and start no more."""
        self._executor.shutdown()

    def _run(self) -> None:
        # The items of a failed batch are reclaimed when their lease expires.
        time.sleep(pause_after("batch", self._run_while_full))

    def _run_while_full(self) -> float:
        self._batches.run(goes_on=lambda: not stopping.has_begun())
        return 0.0
