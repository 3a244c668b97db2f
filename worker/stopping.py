"""Stops a worker: at the first signal the batch in the air is finished and no other begun, at the second it just ends.

Celery knows of the first only in the main process, and there only between tasks; the children of a prefork pool never
hear of it. At the second (SIGTERM or SIGQUIT) a pool of threads would wait for its calls all the same.
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
from typing import Any

from celery import signals
from celery.worker import state

logger = logging.getLogger(__name__)

HURRY_SECONDS = 2.0
"""How long Celery may take to end by its own means after the second signal."""
_TICK_SECONDS = 0.1

# One byte of memory that forked children share with the main process: how many signals came.
_signals = mmap.mmap(-1, 1)


def watch() -> None:
    """Notice when the worker of this process is asked to stop."""
    signals.worker_shutting_down.connect(_note, weak=False)


def has_begun() -> bool:
    """Return whether the worker is to stop."""
    return _signals[0] > 0 or _is_set(state.should_stop) or _is_set(state.should_terminate)


def enforce() -> None:
    """Start the thread that ends this process when it is asked twice, or to stop at once."""
    threading.Thread(target=_end_when_asked_twice, name="kitsweep-stopping", daemon=True).start()


def _note(**_: Any) -> None:
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
