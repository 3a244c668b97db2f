"""The audit trail: who requested each deletion, what was decided, and how it ended.

A Redis stream. Scripts append to it in the same atomic step as the change they record. No command changes or
removes an entry; entries expire after the result TTL plus `KITSWEEP_AUDIT_DAYS`.

=========  ==========================================================================================================
event      accepted (enqueued, perhaps on hold), held (waits for approval), approved, rejected, cancelled, ended;
           of cleanup: run (ended without a request), skipped, cleanup_off, cleanup_on
request    request id; for `run` and `skipped` the run id; ids separated by spaces if requests differ only in their id
source     service, or `cleanup:<rule>`
by         user or program @ host that enqueued or decided; for a Celery message its sender
state      state of the request; for `run` and `skipped` the outcome of the run
total      number of file ids
detail     JSON: reason, why, hold_ms, and for `ended` the number of files by outcome
=========  ==========================================================================================================
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, TypedDict, cast

from redis import Redis

from config.settings import Settings
from worker.store.keys import Keys
from worker.times import iso

DAY_MS = 86_400_000
TRIM_EVERY_SECONDS = 600
_PAGE = 500


class Entry(TypedDict):
    """One audit entry."""

    id: str
    """Of the stream; those of requests that share a stored entry end in a place: `.0`, `.1`…"""
    at: str
    """ISO 8601 in UTC."""
    event: str
    request: str
    source: str
    by: str
    state: str
    total: int
    detail: dict[str, Any]


class Audit:
    """The audit trail of one account."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._key = Keys(settings.account)("audit")
        self._kept_ms = int(settings.result_ttl_seconds * 1000) + settings.audit_days * DAY_MS
        self._trimmed_at = float("-inf")

    def entries(self, since_ms: int = 0, until_ms: int | None = None) -> Iterator[Entry]:
        """Yield the entries between two times, oldest first, in constant memory."""
        start, end = f"{max(0, since_ms)}-0", "+" if until_ms is None else str(until_ms)
        while page := cast("list[tuple[str, dict[str, str]]]", self._redis.xrange(self._key, start, end, count=_PAGE)):
            for entry_id, fields in page:
                yield from _entries(entry_id, fields)
            start = f"({page[-1][0]}"

    def trim_now_and_then(self) -> None:
        """Trim expired entries, at most once every ten minutes."""
        if time.monotonic() - self._trimmed_at >= TRIM_EVERY_SECONDS:
            self._trimmed_at = time.monotonic()
            self.trim()

    def trim(self) -> None:
        """Trim expired entries, by the clock of Redis."""
        seconds, _ = self._redis.time()
        oldest = str(max(0, int(seconds) * 1000 - self._kept_ms))
        # One command trims ten thousand entries at most.
        while self._redis.xtrim(self._key, minid=oldest, approximate=True):
            pass


def _entries(entry_id: str, fields: dict[str, str]) -> Iterator[Entry]:
    """Yield an entry for each request that shares a stored one."""
    requests = fields["request"].split(" ")
    for place, request in enumerate(requests):
        yield _entry(f"{entry_id}.{place}" if len(requests) > 1 else entry_id, request, fields)


def _entry(entry_id: str, request: str, fields: dict[str, str]) -> Entry:
    return Entry(
        id=entry_id,
        at=iso(entry_id.split("-", 1)[0]) or "",
        event=fields["event"],
        request=request,
        source=fields["source"],
        by=fields["by"],
        state=fields["state"],
        total=int(fields["total"]),
        detail=json.loads(fields["detail"]),
    )
