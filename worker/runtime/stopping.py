"""Stops a worker: the first signal lets batches in flight finish and starts no others, the second exits at once.

At the second signal (SIGTERM or SIGQUIT), Celery itself would still wait for calls in flight.

A call that hangs must not outlast the grace period (`docker stop` kills after 10 s): it is aborted in time, and its
items return to the queue as unanswered at once, not only when their lease expires.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.worker import state

logger = logging.getLogger(__name__)

HURRY_SECONDS = 2.0
"""How long Celery may take to exit by itself after the second signal."""
WRAP_UP_SECONDS = 4.0
"""Part of the grace period reserved for settling, publishing and stopping the pool."""
_TICK_SECONDS = 0.1

_signals: list[float] = []
"""When each signal came, in monotonic seconds."""


def watch() -> None:
    """Record the signals that ask this worker to stop."""
    signals.worker_shutting_down.connect(_note, weak=False)


def has_begun() -> bool:
    """Return whether the worker is stopping."""
    return bool(_signals) or _is_set(state.should_stop) or _is_set(state.should_terminate)


def calls_end_at(stop_seconds: float) -> Callable[[], float]:
    """Return a function that gives the deadline of calls, in monotonic seconds, for a grace period of `stop_seconds`.

    The deadline is infinite until the worker is asked to stop.
    """
    patience = max(stop_seconds - WRAP_UP_SECONDS, stop_seconds / 4)

    return lambda: _signals[0] + patience if _signals else math.inf


def enforce() -> None:
    """Start the thread that exits this process on the second signal."""
    threading.Thread(target=_end_when_asked_twice, name="kitsweep-stopping", daemon=True).start()


def _note(**_: Any) -> None:
    _signals.append(time.monotonic())


def _is_set(flag: object) -> bool:
    """Return whether one of Celery's flags is set: it holds an exit status then, and else None or False."""
    return flag is not None and flag is not False


def _end_when_asked_twice() -> None:
    pulse = threading.Event()
    while len(_signals) < 2 and not _is_set(state.should_terminate):
        pulse.wait(_TICK_SECONDS)
    pulse.wait(HURRY_SECONDS)
    logger.warning("exiting with calls in flight; their items are reclaimed when their leases expire")
    os._exit(1)
