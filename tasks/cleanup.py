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
"""A run that goes on sooner is woken by whoever gave it back; later, by the chores of any worker or beat."""


@app.task(name=RUN_TASK, ignore_result=True, acks_late=True)
def cleanup_run(run_id: str) -> None:
    """Carry a run of a cleanup rule on for a second; what is left goes on in another message."""
    try:
        wait_ms = run_slice(app.account.cleaner, run_id)
        if wait_ms == 0:
            wake(app, run_id)
    except RedisError as error:
        # The lease runs out, and then a beat or a worker sends somebody again.
        raise Ignore(f"Redis is away: {type(error).__name__}") from None
    if wait_ms and wait_ms <= SOON_MS:
        # Not in the pool's place: others get it meanwhile.
        timer = threading.Timer(wait_ms / 1000, _wake_quietly, (run_id,))
        timer.daemon = True
        timer.start()


@worker_ready.connect
def check_rules(**_: object) -> None:
    """Say at a worker's start that the rules cannot be used; deletions go on all the same."""
    for line in _problems():
        logger.error("no cleanup rule runs here: %s", line)


def _problems() -> list[str]:
    try:
        app.account.rules.rules()
    except RulesError as error:
        return str(error).splitlines()
    return []


def _wake_quietly(run_id: str) -> None:
    with suppress(RedisError, OperationalError, OSError):
        wake(app, run_id)
