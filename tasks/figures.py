"""All figures of the accounts, for metrics and dashboards: read at once, in two round trips to Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from config.settings import Settings
from worker.limiter.slots import Pause, WindowUse
from worker.metrics.reading import Figures, Histogram, Memory, Reader, Reading
from worker.store.connection import connect, explained

__all__ = ["FigureReader", "Figures", "Histogram", "Memory", "Pause", "Reading", "WindowUse"]


class FigureReader:
    """Reads the figures of accounts that are on one Redis server."""

    def __init__(self, settings: Settings, accounts: Callable[[], Iterable[Settings]]) -> None:
        """Read from the server that `settings` names; `accounts` returns the settings of the accounts to read."""
        self._settings = settings
        self._accounts = accounts
        # A reading that fails is not repeated: the next one comes soon.
        self._reader = Reader(connect(settings, retries=0))

    def read(self) -> Reading:
        """Read all figures, which changes nothing. Raises `worker.errors.RedisUnreachable`."""
        with explained(self._settings):
            return self._reader.read(self._accounts())
