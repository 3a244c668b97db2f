"""The worker's own threads: each repeats a step of work until the worker stops, and outlasts outages of Redis."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.runtime import stopping

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


def start_thread(name: str, step: Callable[[], None], every: float, stop: threading.Event) -> threading.Thread:
    """Start a thread that calls `step` every so many seconds, until `stop` is set or the worker is asked to stop."""
    thread = threading.Thread(target=_repeat, args=(name, step, every, stop), name=f"kitsweep-{name}", daemon=True)
    thread.start()
    return thread


def _repeat(name: str, step: Callable[[], None], every: float, stop: threading.Event) -> None:
    while not stop.is_set() and not stopping.has_begun():
        stop.wait(every if succeeds(name, step) else RETRY_SECONDS)


def succeeds(name: str, step: Callable[[], None]) -> bool:
    """Call `step`; log what it raises, and return whether it raised nothing."""
    try:
        step()
    except (RedisError, OperationalError, OSError) as error:
        logger.warning("%s: Redis is unavailable, retrying: %s", name, error)
    except Exception:
        logger.exception("%s: unexpected error, continuing", name)
    else:
        return True
    return False
