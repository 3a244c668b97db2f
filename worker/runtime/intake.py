"""Runs the intake in a worker: one thread for each queue of the broker that producers send to.

Celery's own consumer takes the queue of unusual messages instead. With `-Q`, a worker takes only from the queues named.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps, signals
from celery.worker import state as worker_state
from redis.exceptions import RedisError

from config.queue_names import queue_names
from worker.intake.intake import Intake, Turn
from worker.reports.reader import queued_report
from worker.runtime import stopping
from worker.runtime.dispatcher import BATCH_TASK
from worker.runtime.process import App
from worker.runtime.revoking import cancel
from worker.store.connection import connect

logger = logging.getLogger(__name__)

REST = 0.5
"""How long the intake rests while batches run, as a share of its working time."""
BATCHES_RAN_SECONDS = 1.0
"""How long after a batch has started in this worker batches count as running."""
RETRY_SECONDS = 1.0


class Pace:
    """Shares a process's time between its intake and its batches, so that a flood of messages delays no batch."""

    def __init__(self, batches_started: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._batches_started = batches_started
        self._clock = clock
        self._seen = 0
        self._busy_until = -math.inf

    def rest_after(self, worked: float) -> float:
        """Return how many seconds to rest after `worked` seconds of work; 0 while no batches run."""
        if (started := self._batches_started()) != self._seen:
            self._seen, self._busy_until = started, self._clock() + BATCHES_RAN_SECONDS
        return REST * worked if self._clock() < self._busy_until else 0.0


class IntakeStep(bootsteps.StartStopStep):
    """Takes messages while the worker is ready.

    Not earlier, because only then does it receive revocations and know those of other workers.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._app: App = parent.app
        self._queues = take_from_celery(self._app)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Start the threads when the worker is ready."""
        signals.worker_ready.connect(self._start_threads)

    def _start_threads(self, **_: Any) -> None:
        for name in self._queues:
            thread = threading.Thread(target=self._run, args=(name,), name=f"kitsweep-intake-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Take no more messages."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=2)

    terminate = stop

    def _run(self, broker_queue: str) -> None:
        intake, pace = intake_of(self._app, broker_queue), Pace(lambda: worker_state.total_count[BATCH_TASK])
        while not self._stop.is_set() and not stopping.has_begun():
            try:
                self._take_one_turn(intake, pace)
            except (RedisError, OSError) as error:
                logger.warning("intake: could not take or accept messages, retrying in %g s: %s", RETRY_SECONDS, error)
                self._stop.wait(RETRY_SECONDS)
            except Exception:
                logger.exception("intake: unexpected error, continuing")
                self._stop.wait(RETRY_SECONDS)

    def _take_one_turn(self, intake: Intake, pace: Pace) -> None:
        began = time.monotonic()
        turn = intake.turn(_is_revoked)
        if not turn.taken:
            intake.wait()
            return
        _cancel_what_was_revoked_meanwhile(self._app, turn)
        self._stop.wait(pace.rest_after(time.monotonic() - began))


def take_from_celery(app: App) -> list[str]:
    """Let Celery consume the queue of unusual messages instead of the intake's queues; return the latter."""
    queues, names = app.amqp.queues, queue_names(app.account.settings.account)
    taken = [name for name in names.intake if name in queues.consume_from]
    if taken:
        queues.deselect(taken)
        queues.select_add(queues[names.unusual])
    return taken


def intake_of(app: App, broker_queue: str) -> Intake:
    """Build the intake of one queue, with a separate connection."""
    settings = app.account.settings
    return Intake(
        app.account.queue,
        connect(settings, retries=0, decode=False),
        broker_queue,
        queue_names(settings.account).unusual,
        lambda asked, total, at_ms: app.publisher.first_result(queued_report(asked, total, at_ms)),
        settings.max_request_ids,
    )


def _is_revoked(request_id: str) -> bool:
    return request_id in worker_state.revoked


def _cancel_what_was_revoked_meanwhile(app: App, turn: Turn) -> None:
    if revoked := [request_id for request_id in turn.accepted if _is_revoked(request_id)]:
        cancel(app, revoked)
