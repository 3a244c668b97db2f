"""Lists requests, the newest first, in pages that stay right while requests come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from redis import Redis

from worker.reports.mentions import Mention, mentions, stream_of
from worker.reports.reader import Reports
from worker.reports.report import Report, without_ids
from worker.states import State
from worker.store.keys import Keys
from worker.times import iso

LOOK_SECONDS = 0.1
"""How long one page looks for requests that match. Then it ends early, and says where to go on."""
_SLACK_MS = 1000
"""By how much two times of one script may differ."""


class Wanted(NamedTuple):
    """Which requests to list; what is None or empty excludes none."""

    states: frozenset[State] = frozenset()
    source: str | None = None
    text: str | None = None
    """Part of the reason; case does not matter."""
    since_ms: int | None = None
    until_ms: int | None = None
    """When it was enqueued, ms since 1970: at `since_ms` or later, and before `until_ms`."""

    def may_match(self, mention: Mention) -> bool:
        """Whether what the stream says of a request leaves it possible that it is wanted."""
        return not mention.known or self._fits(mention.known.get("source"), mention.known.get("reason"))

    def matches(self, report: Report) -> bool:
        """Whether a request is wanted."""
        at = report["enqueued_at"] or ""
        return (
            (not self.states or report["state"] in self.states)
            and (iso(self.since_ms) or "") <= at
            and (self.until_ms is None or at < (iso(self.until_ms) or ""))
            and self._fits(report["source"], report["reason"])
        )

    def _fits(self, source: str | None, reason: str | None) -> bool:
        right_source = self.source is None or source == self.source
        return right_source and (not self.text or self.text.casefold() in (reason or "").casefold())


class Page(NamedTuple):
    """A page of requests. It may be short, or empty, and yet not be the last."""

    reports: list[Report]
    """Without lists of ids."""
    after: str | None
    """From where the next page goes on; None after the last one."""


class Listing:
    """The requests of one account."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._reports = Reports(redis, keys)

    def page(self, wanted: Wanted, most: int, after: str | None = None) -> Page:
        """Return up to `most` requests, the newest first; failed and cancelled ones by when they ended.

        Raises `InvalidRequest` if `after` is not what an earlier page returned.
        """
        give_up = time.monotonic() + LOOK_SECONDS
        found: list[tuple[Mention, Report]] = []
        stream = stream_of(wanted.states)
        for page, end in mentions(self._redis, self._keys, stream, after, wanted.since_ms or 0):
            found += self._wanted_of(page, wanted)
            if len(found) > most:
                return Page([report for _, report in found[:most]], found[most - 1][0].cursor)
            if time.monotonic() > give_up:
                return Page([report for _, report in found], end)
        return Page([report for _, report in found], None)

    def _wanted_of(self, page: list[Mention], wanted: Wanted) -> Iterator[tuple[Mention, Report]]:
        candidates = [mention for mention in page if wanted.may_match(mention)]
        reports = (
            self._reports.read([mention.request_id for mention in candidates], with_ids=False) if candidates else []
        )
        for mention, report in zip(candidates, reports, strict=True):
            if report and wanted.matches(report) and not _is_earlier(mention, report):
                yield mention, without_ids(report)


def _is_earlier(mention: Mention, report: Report) -> bool:
    """Whether the mention is of an earlier request with the same id, which has expired."""
    if mention.stream != "audit":
        return False
    at = iso(int(mention.entry_id.partition("-")[0]) + _SLACK_MS) or ""
    return at < (report["enqueued_at"] or "")
