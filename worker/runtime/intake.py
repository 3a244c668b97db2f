"""Runs the intake in a worker: one thread for each queue of the broker that producers send to.

Celery's own consumer takes the queue of unusual messages instead. With `-Q`, a worker takes only from the queues named.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import bootsteps, signals
from celery.worker import state as worker_state

from config.queue_names import queue_names
from worker.intake.intake import Destination, Intake, Turn
from worker.queue.validation import Asked
from worker.reports.reader import queued_report
from worker.runtime.process import App, Member
from worker.runtime.revoking import cancel
from worker.runtime.threads import start_thread
from worker.store.connection import connect

REST = 0.5
"""How long the intake rests while batches run, as a share of its working time."""
BATCHES_RAN_SECONDS = 1.0
"""How long after a claim in this worker batches count as running."""


class Pace:
    """Shares a process's time between its intake and its batches, so that a flood of messages delays no batch."""

    def __init__(self, claimed_at: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._claimed_at = claimed_at
        self._clock = clock

    def rest_after(self, worked: float) -> float:
        """Return how many seconds to rest after `worked` seconds of work; 0 while no batches run."""
        return REST * worked if self._clock() - self._claimed_at() < BATCHES_RAN_SECONDS else 0.0


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
        pace = Pace(self._claimed_at)
        for name in self._queues:
            step = partial(self._take_one_turn, intake_of(self._app, name), pace)
            self._threads.append(start_thread(f"intake-{name}", step, self._stop))

    def _claimed_at(self) -> float:
        return max((each.batches.claimed_at for each in self._app.accounts.served().values()), default=-math.inf)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Take no more messages."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=2)

    terminate = stop

    def _take_one_turn(self, intake: Intake, pace: Pace) -> float:
        began = time.monotonic()
        turn = intake.turn(_is_revoked)
        if not turn.taken:
            intake.wait()
            return 0.0
        _cancel_what_was_revoked_meanwhile(self._app, turn)
        return pace.rest_after(time.monotonic() - began)


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
        lambda name: _destination_of(app.accounts.of(name)),
        settings.max_request_ids,
    )


def _destination_of(account: Member) -> Destination:
    def first_result(asked: Asked, total: int, at_ms: int) -> str:
        report = queued_report(asked["request_id"], asked["source"], asked["reason"], total, at_ms, asked["purge"])
        return account.publisher.first_result(report)

    return Destination(account.queue, first_result)


def _is_revoked(request_id: str) -> bool:
    return request_id in worker_state.revoked


def _cancel_what_was_revoked_meanwhile(app: App, turn: Turn) -> None:
    if revoked := [request_id for request_id in turn.accepted if _is_revoked(request_id)]:
        cancel(app, revoked)
