"""Operator functions for purges: what waits, what is under way, and the quota."""

from __future__ import annotations

from config.settings import Settings, load_settings
from worker.account import Account
from worker.purge.overview import PurgeEntry, PurgeOverview, read_overview
from worker.store.connection import explained

__all__ = ["PurgeAdmin", "PurgeEntry", "PurgeOverview"]


class PurgeAdmin:
    """The purges of one account. Raises `worker.errors.RedisUnreachable` when Redis does not answer."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or load_settings()
        self._purges = Account(self._settings).purges

    def overview(self) -> PurgeOverview:
        """Return the quota of the month, and the purges that are under way or have ended."""
        with explained(self._settings):
            return read_overview(self._purges)
