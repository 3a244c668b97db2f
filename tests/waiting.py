"""Waiting on conditions, so that no test sleeps and hopes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(
    condition: Callable[[], object], timeout: float = 10.0, *, every: float = 0.01, must: bool = True
) -> bool:
    """Ask ``condition`` until it holds, for at most ``timeout`` seconds, with ``every`` seconds between.

    ``AssertionError`` where it never holds; with ``must=False``, false instead.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            if must:
                name = getattr(condition, "__name__", repr(condition))
                raise AssertionError(f"{name} did not hold within {timeout:g} s")
            return False
        time.sleep(every)
    return True
