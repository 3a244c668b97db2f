"""The dispatcher: one thread per worker that starts batches, sends heartbeats, and publishes unpublished results.

It polls the queue 25 times a second, so a lost or duplicated wake-up does no harm, and nothing depends on beat. It
starts a batch when there is due work, a free pool thread, no pause, and a slot in sight; the batch takes the slot.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.worker import state as worker_state
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError, RedisError

from config.queue_names import queue_names
from worker.account import Account
from worker.calls import HORIZON_MS
from worker.limiter.slots import Limits
from worker.queue.operations import Queue, Work
from worker.runtime import stopping
from worker.runtime.process import App
from worker.runtime.wakeups import wake_runs
from worker.store.durability import eviction_policy, eviction_problem

logger = logging.getLogger(__name__)

BATCH_TASK = "kitsweep.delete_batch"
TICK_SECONDS = 0.04
SIGHT_MS = HORIZON_MS + 20
"""How far ahead a slot may be for a batch to start: the message takes some of that time, the batch waits the rest."""
CHORES_SECONDS = 1.0


class FillWait:
    """Decides when a partial batch may start: after it has waited `seconds` to fill."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._since: float | None = None

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


def batches_to_start(worth: int, free_threads: int, limits: Limits, messages_queued: int) -> int:
    """Return how many batches to start now."""
    if limits.pause_ms > SIGHT_MS:
        return 0
    return max(0, min(worth, free_threads, limits.slots) - messages_queued)


def send_heartbeat(queue: Queue, name: str) -> None:
    """Record that this worker is alive, and drop workers that have been silent for an hour."""
    now = queue.now_ms()
    with queue.redis.pipeline(transaction=False) as pipe:
        pipe.zadd(queue.keys("workers"), {name: now})
        pipe.zremrangebyscore(queue.keys("workers"), "-inf", now - 3600_000)
        pipe.execute()


class Dispatcher(bootsteps.StartStopStep):
    """Runs the dispatcher thread while the worker's pool is up."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, parent: Any) -> None:
        """Start the thread, unless the server may evict our keys."""
        stopping.enforce()
        _refuse_unsafe_server(parent.app.account)
        self._thread = threading.Thread(target=self._run, args=(parent,), name="kitsweep-dispatcher", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Start no more batches."""
        self._stop.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    terminate = stop

    def _run(self, worker: Any) -> None:
        app: App = worker.app
        fill_wait = FillWait(app.account.settings.batch_window_seconds)
        last_chores = -math.inf
        app.account.limiter.probe_soon()
        while not self._stop.wait(TICK_SECONDS):
            try:
                if time.monotonic() - last_chores >= CHORES_SECONDS:
                    last_chores = time.monotonic()
                    _do_chores(app, worker.hostname)
                if not stopping.has_begun():
                    _start_batches(app, worker, fill_wait)
            except (RedisError, OperationalError, OSError) as error:
                logger.warning("dispatcher: Redis is unavailable, retrying in 1 s: %s", error)
                self._stop.wait(1.0)
            except Exception:
                logger.exception("dispatcher: unexpected error, continuing")
                self._stop.wait(1.0)


def _refuse_unsafe_server(account: Account) -> None:
    """Exit with a message if the server may evict our keys. A server that is down is handled by Celery's retries."""
    try:
        problem = eviction_problem(eviction_policy(account.redis))
    except RedisError:
        return
    if problem:
        logger.critical("refusing to start on Redis at %s: %s", account.settings.redis_address, problem)
        raise SystemExit(1)


def _do_chores(app: App, name: str) -> None:
    app.publisher.publish_progress()
    app.publisher.publish_left_over()
    app.account.audit.trim_now_and_then()
    app.account.library.count_if_due()
    try:
        send_heartbeat(app.account.queue, name)
        wake_runs(app)
    except (OutOfMemoryError, OperationalError) as error:
        if not _is_out_of_memory(error):
            raise
        logger.warning("Redis is out of memory: new requests are refused, accepted ones continue")


def _start_batches(app: App, worker: Any, fill_wait: FillWait) -> None:
    account, batches = app.account, app.account.batches
    free = _free_threads(worker)
    if free <= 0:
        return
    work = account.queue.peek(free * batches.batch_size)
    worth = fill_wait.worth(work, batches.batch_size)
    if worth == 0:
        return
    messages = queue_names(account.settings.account).batches
    queued = account.redis.llen(messages)
    to_start = batches_to_start(worth, free, account.limiter.read_limits(SIGHT_MS), queued)
    try:
        for _ in range(to_start):
            app.send_task(BATCH_TASK, queue=messages, ignore_result=True, retry=False)
    except (OutOfMemoryError, OperationalError) as error:
        if not _is_out_of_memory(error):
            raise
        # Redis refuses messages but still settles; running batches here frees memory.
        batches.run()


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether an error is, or wraps, an out-of-memory reply of Redis."""
    return isinstance(error, OutOfMemoryError) or isinstance(error.__cause__, OutOfMemoryError)


def _free_threads(worker: Any) -> int:
    """Return how many pool threads batches may use: one stays free to accept requests, unless it is the only one."""
    size = int(worker.concurrency or 1)
    busy = sum(1 for request in tuple(worker_state.reserved_requests) if request.name == BATCH_TASK)
    return max(1, size - 1) - busy
