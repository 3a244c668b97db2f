"""The dispatcher: one thread in each worker that starts batches, beats the heart, and publishes what was left over.

It looks at the queue some times a second, so nothing hangs on a message: a wake-up that is lost or doubled does no
harm, and without beat nothing stands still. It starts a batch when there is due work, a free place in the pool, no
pause, and a slot in sight; the batch itself takes the slot.
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

from worker.account import Account
from worker.calls import HORIZON_MS
from worker.limiter.slots import Limits
from worker.queue.operations import Queue, Work
from worker.runtime import stopping
from worker.runtime.celery_settings import queue_names
from worker.runtime.process import App
from worker.runtime.wakeups import wake_runs
from worker.store.durability import eviction_policy, eviction_problem

logger = logging.getLogger(__name__)

BATCH_TASK = "kitsweep.delete_batch"
TICK_SECONDS = 0.04
SIGHT_MS = HORIZON_MS + 20
"""How far ahead a slot may be for a batch to be started: the batch waits some of it, the message travels the rest."""
CHORES_SECONDS = 1.0


class Window:
    """When a batch that is not full may go: after it has waited for company."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._since: float | None = None

    def worth(self, work: Work, batch_size: int) -> int:
        """Return how many batches the work is worth now."""
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


def batches_to_start(worth: int, free_places: int, limits: Limits, messages_under_way: int) -> int:
    """Return how many batches to start now."""
    if limits.pause_ms > SIGHT_MS:
        return 0
    return max(0, min(worth, free_places, limits.places) - messages_under_way)


def beat_heart(queue: Queue, name: str) -> None:
    """Note that this worker is alive; names that were silent for long are forgotten."""
    now = queue.now_ms()
    with queue.redis.pipeline(transaction=False) as pipe:
        pipe.zadd(queue.keys("workers"), {name: now})
        pipe.zremrangebyscore(queue.keys("workers"), "-inf", now - 3600_000)
        pipe.execute()


class Dispatcher(bootsteps.StartStopStep):
    """Runs the dispatcher thread from the pool's start to the worker's stop."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, parent: Any) -> None:
        """Start the thread, unless the server would lose what is entrusted to it."""
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
        window = Window(app.account.settings.batch_window_seconds)
        last_chores = -math.inf
        app.account.limiter.probe_soon()
        while not self._stop.wait(TICK_SECONDS):
            try:
                if time.monotonic() - last_chores >= CHORES_SECONDS:
                    last_chores = time.monotonic()
                    _do_chores(app, worker.hostname)
                if not stopping.has_begun():
                    _start_batches(app, worker, window)
            except (RedisError, OperationalError, OSError) as error:
                logger.warning("the dispatcher waits for Redis: %s", error)
                self._stop.wait(1.0)
            except Exception:
                logger.exception("the dispatcher stumbled; it goes on")
                self._stop.wait(1.0)


def _refuse_unsafe_server(account: Account) -> None:
    """End the worker, in words, when its server could drop our keys; one that is away is waited for elsewhere."""
    try:
        problem = eviction_problem(eviction_policy(account.redis))
    except RedisError:
        return
    if problem:
        logger.critical("Redis at %s cannot be trusted: %s", account.settings.redis_address, problem)
        raise SystemExit(1)


def _do_chores(app: App, name: str) -> None:
    app.publisher.publish_progress()
    app.publisher.publish_left_over()
    app.account.audit.trim_now_and_then()
    app.account.library.count_now_and_then()
    try:
        beat_heart(app.account.queue, name)
        wake_runs(app)
    except (OutOfMemoryError, OperationalError) as error:
        if not _is_out_of_memory(error):
            raise
        logger.warning("Redis is out of memory: nothing new is taken; what was accepted goes on")


def _start_batches(app: App, worker: Any, window: Window) -> None:
    account, batches = app.account, app.account.batches
    places = _free_places(worker)
    if places <= 0:
        return
    work = account.queue.peek(places * batches.batch_size)
    worth = window.worth(work, batches.batch_size)
    if worth == 0:
        return
    messages = queue_names(account.settings.account).batches
    under_way = account.redis.llen(messages)
    to_start = batches_to_start(worth, places, account.limiter.look(SIGHT_MS), under_way)
    try:
        for _ in range(to_start):
            app.send_task(BATCH_TASK, queue=messages, ignore_result=True, retry=False)
    except (OutOfMemoryError, OperationalError) as error:
        if not _is_out_of_memory(error):
            raise
        # Redis takes no messages any more, but it still settles: one batch after another makes room.
        batches.run()


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether an error is, or was made from, Redis' refusal to take more."""
    return isinstance(error, OutOfMemoryError) or isinstance(error.__cause__, OutOfMemoryError)


def _free_places(worker: Any) -> int:
    """Places of the pool that batches may take: one is left for accepting requests, unless there is only one."""
    size = int(worker.concurrency or 1)
    busy = sum(1 for request in tuple(worker_state.reserved_requests) if request.name == BATCH_TASK)
    return max(1, size - 1) - busy
