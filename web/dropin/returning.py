"""Which callers are expected back: those answered a moment ago, who may delete file after file on one connection."""

from __future__ import annotations

import time
from collections.abc import Callable

Connection = tuple[str, int] | None
"""Host and port of a caller."""


class Returning:
    """The connections that were answered less than `seconds` ago and have not made their next call."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._answered: dict[Connection, float] = {}

    def answered(self, connection: Connection) -> None:
        """Expect the next call of a connection."""
        self._answered.pop(connection, None)
        self._answered[connection] = self._clock()

    def is_last(self, connection: Connection) -> bool:
        """Note a call; return whether it was expected and no other is: nobody is left who would fill the batch."""
        self._forget_old()
        return self._answered.pop(connection, None) is not None and not self._answered

    def _forget_old(self) -> None:
        oldest = self._clock() - self._seconds
        while self._answered and self._answered[first := next(iter(self._answered))] < oldest:
            del self._answered[first]
