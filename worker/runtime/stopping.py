"""Stops a worker: at the first signal the batch in the air is finished and no other begun, at the second it just ends.

Celery knows of the first only in the main process, and there only between tasks; the children of a prefork pool never
hear of it. At the second (SIGTERM or SIGQUIT) a pool of threads would wait for its calls all the same.

A call that hangs must not outlast the patience of whoever stops the worker (`docker stop` kills after 10 s): it is
given up in time, and its items go back to the queue as unanswered at once, not only when their lease runs out.
"""

from __future__ import annotations

import logging
import math
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.worker import state

logger = logging.getLogger(__name__)

HURRY_SECONDS = 2.0
"""How long Celery may take to end by its own means after the second signal."""
WRAP_UP_SECONDS = 4.0
"""What is left of the time to stop after the last call was given up: to settle, publish, and end the pool."""
_TICK_SECONDS = 0.1

# Memory that forked children share with the main process: how many signals came, and when the first did, in seconds of
# the system's monotonic clock, which is one for all its processes.
_signals = mmap.mmap(-1, 1)
_first_signal = mmap.mmap(-1, 8)


def watch() -> None:
    """Notice when the worker of this process is asked to stop."""
    signals.worker_shutting_down.connect(_note, weak=False)


def has_begun() -> bool:
    """Return whether the worker is to stop."""
    return _signals[0] > 0 or _is_set(state.should_stop) or _is_set(state.should_terminate)


def calls_end_at(stop_seconds: float) -> Callable[[], float]:
    """Return what tells until when (monotonic seconds) calls may be waited for, if a stop may take `stop_seconds`.

    It tells infinity as long as nobody has asked the worker to stop.
    """
    patience = max(stop_seconds - WRAP_UP_SECONDS, stop_seconds / 4)

    def end() -> float:
        if _signals[0] == 0:
            return math.inf
        (begun,) = struct.unpack("d", _first_signal[:])
        return float(begun) + patience

    return end


def enforce() -> None:
    """Start the thread that ends this process when it is asked twice, or to stop at once."""
    threading.Thread(target=_end_when_asked_twice, name="kitsweep-stopping", daemon=True).start()


def _note(**_: Any) -> None:
    if _signals[0] == 0:
        _first_signal[:] = struct.pack("d", time.monotonic())
    _signals[0] = min(2, _signals[0] + 1)


def _is_set(flag: object) -> bool:
    """Return whether one of Celery's flags is set: it holds an exit status then, and else None or False."""
    return flag is not None and flag is not False


def _end_when_asked_twice() -> None:
    pulse = threading.Event()
    while _signals[0] < 2 and not _is_set(state.should_terminate):
        pulse.wait(_TICK_SECONDS)
    pulse.wait(HURRY_SECONDS)
    logger.warning("the worker ends before its calls are answered: their claims come back when their leases run out")
    os._exit(1)
