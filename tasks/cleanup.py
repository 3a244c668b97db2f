"""The Celery task of the periodic cleanup."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from celery.exceptions import Ignore
from celery.signals import worker_ready
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.app import app
from worker.cleanup.rules.file import RulesError
from worker.cleanup.runs.slice import run_slice
from worker.runtime.wakeups import RUN_TASK, wake

logger = logging.getLogger("kitsweep.cleanup")

SOON_MS = 5000
"""A run that is due sooner is woken by the worker that yielded it; later ones by any worker or beat."""


@app.task(name=RUN_TASK, ignore_result=True, acks_late=True)
def cleanup_run(run_id: str) -> None:
    """Work on a cleanup run for a second; another message continues it."""
    try:
        wait_ms = run_slice(app.account.cleaner, run_id)
        if wait_ms == 0:
            wake(app, run_id)
    except RedisError as error:
        # When the lease expires, beat or a worker wakes another.
        raise Ignore(f"Redis is unavailable: {type(error).__name__}") from None
    if wait_ms and wait_ms <= SOON_MS:
        # A timer, so that the pool thread is free meanwhile.
        timer = threading.Timer(wait_ms / 1000, _wake_quietly, (run_id,))
        timer.daemon = True
        timer.start()


@worker_ready.connect
def check_rules(**_: object) -> None:
    """Log at the worker's start that the rules are invalid; deletions still run."""
    for line in _problems():
        logger.error("cleanup does not run in this worker until the rules are fixed: %s", line)


def _problems() -> list[str]:
    try:
        app.account.rules.rules()
    except RulesError as error:
        return str(error).splitlines()
    return []


def _wake_quietly(run_id: str) -> None:
    with suppress(RedisError, OperationalError, OSError):
        wake(app, run_id)
