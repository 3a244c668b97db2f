"""Threads of a worker. Each repeats a step until the worker stops, and survives outages of Redis."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.runtime import stopping

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


def start_thread(name: str, step: Callable[[], float], stop: threading.Event) -> threading.Thread:
    """Start a thread that repeats `step` until `stop` is set or the worker is asked to stop.

    A step returns how many seconds to pause after it.
    """
    thread = threading.Thread(target=_repeat, args=(name, step, stop), name=f"kitsweep-{name}", daemon=True)
    thread.start()
    return thread


def _repeat(name: str, step: Callable[[], float], stop: threading.Event) -> None:
    while not stop.is_set() and not stopping.has_begun():
        stop.wait(pause_after(name, step))


def pause_after(name: str, step: Callable[[], float]) -> float:
    """Run a step, and return how many seconds to pause after it. Exceptions are logged."""
    try:
        return step()
    except (RedisError, OperationalError, OSError) as error:
        logger.warning("%s: Redis error, retrying in %g s: %s", name, RETRY_SECONDS, error)
    except Exception:
        logger.exception("%s: unexpected error, continuing", name)
    return RETRY_SECONDS
