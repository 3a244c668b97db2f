"""The dispatcher: one thread per worker that starts batches, sends heartbeats, and publishes unpublished results.

It polls the queue 25 times a second, 100 times while it starts batches, so nothing depends on messages or on beat. It
also wakes when the web server enqueues. It starts a batch when there is due work, a free thread, no pause, and a slot
within reach; the batch takes the slot.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import OutOfMemoryError

from worker.calls import HORIZON_MS
from worker.limiter.slots import Limits
from worker.queue.operations import Queue, Work
from worker.runtime.batches import BatchThreads
from worker.runtime.process import App
from worker.store.keys import ALL_WAIT

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.04
BUSY_TICK_SECONDS = 0.01
BUSY_SECONDS = 0.2
"""For how long after the start of a batch ticks are short: callers who waited for it often enqueue again at once."""
CHORES_SECONDS = 1.0


class FillWait:
    """Decides when a partial batch may start: after it has waited `seconds` to fill."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._since: float | None = None

    def left(self) -> float | None:
        """Return for how many seconds a partial batch still waits; None if there is none."""
        return None if self._since is None else max(0.0, self._since + self._seconds - self._clock())

    def end(self) -> None:
        """Let a partial batch start at once: nobody is left who would fill it."""
        self._since = -math.inf

    def worth(self, work: Work, batch_size: int) -> int:
        """Return how many batches the work justifies now."""
        full = work.claimable // batch_size
        if full or not work.claimable:
            self._since = None
            return full + work.groups
        if self._since is None:
            self._since = self._clock()
        due = self._clock() - self._since >= self._seconds
        if due:
            self._since = None
        return work.groups + int(due)


def batches_to_start(worth: int, free_threads: int, limits: Limits) -> int:
    """Return how many batches to start now."""
    if limits.pause_ms > HORIZON_MS:
        return 0
    return min(worth, free_threads, limits.slots)


class Wakeups:
    """Messages of the web servers that they have enqueued requests for callers that wait."""

    def __init__(self, queue: Queue) -> None:
        self._channel: Any = queue.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._name = queue.keys("enqueued")

    def wait(self, seconds: float, *, for_all: bool = False) -> bool:
        """Wait for some seconds, or for a message, or with `for_all` for one that no more requests are expected.

        Return whether that message came.
        """
        if not self._channel.subscribed:
            self._channel.subscribe(self._name)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            message = self._channel.get_message(timeout=left)
            if message and (message["data"] == ALL_WAIT or not for_all):
                return bool(message["data"] == ALL_WAIT)
        return False

    def forget(self) -> None:
        """Drop the messages that have come: they are about requests that a batch takes now."""
        while self._channel.subscribed and self._channel.get_message():
            pass


def send_heartbeat(queue: Queue, name: str) -> None:
    """Record that this worker is alive, and remove workers without a heartbeat for an hour."""
    now = queue.now_ms()
    with queue.redis.pipeline(transaction=False) as pipe:
        pipe.zadd(queue.keys("workers"), {name: now})
        pipe.zremrangebyscore(queue.keys("workers"), "-inf", now - 3600_000)
        pipe.execute()


class Dispatcher:
    """Starts the batches of a worker, tick by tick."""

    def __init__(self, app: App, name: str, threads: BatchThreads) -> None:
        self._app = app
        self._name = name
        self._threads = threads
        self._fill_wait = FillWait(app.account.settings.batch_window_seconds)
        self._last_chores = -math.inf
        self._last_start = -math.inf
        self._wakeups = Wakeups(app.account.queue)

    def tick(self) -> float:
        """Start batches, after the chores if these are due; return the seconds until the next tick."""
        if time.monotonic() - self._last_chores >= CHORES_SECONDS:
            self._last_chores = time.monotonic()
            self._do_chores()
        self._start_batches()
        return self._pause()

    def _pause(self) -> float:
        left = self._fill_wait.left()
        if left is not None:
            if self._wakeups.wait(min(left, TICK_SECONDS), for_all=True):
                self._end_fill_wait()
            return 0.0
        if time.monotonic() - self._last_start < BUSY_SECONDS:
            return BUSY_TICK_SECONDS
        if self._wakeups.wait(TICK_SECONDS):
            self._end_fill_wait()
        return 0.0

    def _end_fill_wait(self) -> None:
        # The callers of a batch in flight will be back soon: their ids fill this one.
        queue = self._app.account.queue
        if not queue.redis.exists(queue.keys("in_flight")):
            self._fill_wait.end()

    def _start_batches(self) -> None:
        free = self._threads.free()
        if not free:
            return
        account, batch_size = self._app.account, self._app.account.settings.batch_size
        worth = self._fill_wait.worth(account.queue.peek(free * batch_size), batch_size)
        if worth:
            count = batches_to_start(worth, free, account.limiter.read_limits(HORIZON_MS))
            if count:
                self._last_start = time.monotonic()
                self._wakeups.forget()
            self._threads.start(count)

    def _do_chores(self) -> None:
        app = self._app
        app.publisher.publish_progress()
        app.publisher.publish_left_over()
        app.publisher.publish_purges()
        app.account.audit.trim_now_and_then()
        app.account.library.count_if_due()
        try:
            send_heartbeat(app.account.queue, self._name)
        except OutOfMemoryError:
            logger.warning("Redis is out of memory: new requests are refused, accepted ones continue")
