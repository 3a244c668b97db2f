"""Waiting on conditions: the one place where the tests of this folder pass time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Wait until the condition is true. Raises `AssertionError` with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    pulse = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        pulse.wait(POLL_SECONDS)
