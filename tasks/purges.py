"""Operator functions for purges: what waits, what is under way, and the quota."""

from __future__ import annotations

from config.settings import Settings
from tasks.accounts import settings_of
from worker.account import Account
from worker.purge.overview import PurgeEntry, PurgeOverview, read_overview
from worker.store.connection import explained

__all__ = ["PurgeAdmin", "PurgeEntry", "PurgeOverview"]


class PurgeAdmin:
    """The purges of one account. Raises `worker.errors.RedisUnreachable` when Redis does not answer."""

    def __init__(self, settings: Settings | None = None, account: str | None = None) -> None:
        """Use an account of the accounts file, by default that of the environment. Raises `InvalidRequest`."""
        self._settings = settings_of(settings, account)
        self._purges = Account(self._settings).purges

    def overview(self) -> PurgeOverview:
        """Return the quota of the month, and the purges that are under way or have ended."""
        with explained(self._settings):
            return read_overview(self._purges)
