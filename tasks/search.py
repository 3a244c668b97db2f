"""Searches the requests of one account: lists them, and finds out what became of one file id.

Every method raises `worker.errors.RedisUnreachable` when Redis does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from config.settings import Settings
from tasks.accounts import settings_of
from worker.queue.validation import check_file_id
from worker.reports.finding import Finder, Found, Trace
from worker.reports.history import Histories, History
from worker.reports.listing import Listing, Page, Wanted
from worker.reports.report import Report
from worker.states import State
from worker.store.connection import connect, explained
from worker.store.keys import Keys
from worker.times import milliseconds

__all__ = ["Found", "History", "Page", "Search", "Trace"]


class Search:
    """Reads page by page. A page may be short, or empty, and yet not be the last: it is when its `after` is None."""

    def __init__(self, settings: Settings | None = None, account: str | None = None) -> None:
        """Use an account of the accounts file, by default that of the environment. Raises `InvalidRequest`."""
        self._settings = settings_of(settings, account)
        redis, keys = connect(self._settings), Keys(self._settings.account)
        self._listing, self._finder = Listing(redis, keys), Finder(redis, keys)
        self._histories = Histories(redis, keys)

    def requests(
        self,
        states: Iterable[State] = (),
        *,
        source: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        most: int = 50,
        after: str | None = None,
    ) -> Page:
        """Return requests, the newest first; with states FAILURE and REVOKED alone, by when they ended.

        `text` is a part of the reason in any case; `since` and `until` are when the request was enqueued; `after` is
        that of the page before. Raises `InvalidRequest` if `after` is not.
        """
        since_ms, until_ms = (milliseconds(moment) if moment else None for moment in (since, until))
        wanted = Wanted(frozenset(states), source, text, since_ms, until_ms)
        with explained(self._settings):
            return self._listing.page(wanted, most, after)

    def file(self, file_id: str, after: str | None = None) -> Found:
        """Return in which requests the file id is or was, the newest first, and what became of it there.

        Raises `ValueError` if it is no file id, and `InvalidRequest` if `after` is not that of the page before.
        """
        with explained(self._settings):
            return self._finder.page(check_file_id(file_id), after)

    def history(self, report: Report) -> History:
        """Return what happened to a request, when, and who did it."""
        enqueued_at = datetime.fromisoformat(report["enqueued_at"] or "1970-01-01T00:00:00+00:00")
        with explained(self._settings):
            return self._histories.read(report["request_id"], milliseconds(enqueued_at))
