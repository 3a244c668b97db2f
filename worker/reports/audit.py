"""The audit trail: who requested each deletion, what was decided, and how it ended.

Two Redis streams: `ended` has the entries of that event, `audit` has all others, and so every request in its order.
Scripts append to them in the same atomic step as the change they record. No command changes or removes an entry;
entries expire after the result TTL plus `KITSWEEP_AUDIT_DAYS`.

=========  ==========================================================================================================
event      accepted (enqueued, perhaps on hold), held (waits for approval), approved, rejected, cancelled, ended;
           resent (its webhook is sent again); of the account: paused, resumed;
           of cleanup: run (ended without a request), skipped, cleanup_off, cleanup_on
request    request id; for `run` and `skipped` the run id; ids separated by spaces if requests differ only in their id
source     service, or `cleanup:<rule>`
by         user or program @ host that enqueued or decided; for a Celery message its sender
state      state of the request; for `run` and `skipped` the outcome of the run
total      number of file ids
detail     JSON: reason, why, hold_ms, webhook (its id), traceparent, and for `ended` the number of files by outcome
=========  ==========================================================================================================
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from heapq import merge
from itertools import dropwhile, islice
from typing import Any, NamedTuple, cast

from redis import Redis
from typing_extensions import TypedDict

from config.settings import Settings
from worker.errors import InvalidRequest
from worker.store.keys import Keys
from worker.times import iso

DAY_MS = 86_400_000
TRIM_EVERY_SECONDS = 600
STREAMS = ("audit", "ended")
_PAGE = 500
_ID = re.compile(r"(\d{1,15})-(\d{1,15})\.(\d{1,9})\.(audit|ended)")


class Entry(TypedDict):
    """One audit entry."""

    id: str
    """Of the stored entry, the number among the requests that share it, and the stream."""
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
        self._keys = Keys(settings.account)
        self._kept_ms = int(settings.result_ttl_seconds * 1000) + settings.audit_days * DAY_MS
        self._trimmed_at = float("-inf")

    def entries(self, since_ms: int = 0, until_ms: int | None = None, after: str | None = None) -> Iterator[Entry]:
        """Yield the entries from one time to another, oldest first, in constant memory.

        They begin after the entry with the id `after`, if given. Raises `InvalidRequest` if it is no such id.
        """
        last = None if after is None else _Position.read(after)
        starts = [f"{max(0, since_ms)}-0" if last is None else last.start_of(stream) for stream in STREAMS]
        end = "+" if until_ms is None else str(until_ms)
        both = [self._entries(stream, start, end) for stream, start in zip(STREAMS, starts, strict=True)]
        # What happened in the same millisecond: a request ends last.
        entries = merge(*both, key=lambda entry: entry["at"])
        return entries if last is None else dropwhile(lambda entry: last.is_not_before(entry["id"]), entries)

    def page(self, since_ms: int, until_ms: int, most: int, after: str | None = None) -> list[Entry]:
        """Return up to `most` entries that are older than now: after the last of them, none will be added before it."""
        seconds, micros = self._redis.time()
        complete = int(seconds) * 1000 + int(micros) // 1000 - 1
        return list(islice(self.entries(since_ms, min(until_ms, complete), after), most))

    def newest(self, since_ms: int, until_ms: int, after: str | None = None) -> Iterator[Entry]:
        """Yield the entries of a time, newest first, in constant memory; after the one with the id `after`, if given.

        Raises `InvalidRequest` if it is no such id.
        """
        last = None if after is None else _Position.read(after).order
        until = until_ms if last is None else min(until_ms, last[0])
        both = [self._backward(stream, str(max(0, since_ms)), str(until)) for stream in STREAMS]
        entries = merge(*both, key=lambda entry: _Position.read(entry["id"]).order, reverse=True)
        return entries if last is None else dropwhile(lambda each: _Position.read(each["id"]).order >= last, entries)

    def _backward(self, stream: str, start: str, end: str) -> Iterator[Entry]:
        key = self._keys(stream)
        while page := cast("list[tuple[str, dict[str, str]]]", self._redis.xrevrange(key, end, start, count=_PAGE)):
            for entry_id, fields in page:
                yield from reversed(list(_entries(entry_id, fields, stream)))
            end = f"({page[-1][0]}"

    def _entries(self, stream: str, start: str, end: str) -> Iterator[Entry]:
        key = self._keys(stream)
        while page := cast("list[tuple[str, dict[str, str]]]", self._redis.xrange(key, start, end, count=_PAGE)):
            for entry_id, fields in page:
                yield from _entries(entry_id, fields, stream)
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
        for name in (*STREAMS, "unsuccessful"):
            # One command trims ten thousand entries at most.
            while self._redis.xtrim(self._keys(name), minid=oldest, approximate=True):
                pass


class _Position(NamedTuple):
    """Where an entry is: in the stored one, of a stream, that requests share."""

    ms: int
    sequence: int
    number: int
    stream: str

    @classmethod
    def read(cls, entry_id: str) -> _Position:
        """Return where the entry with an id is. Raises `InvalidRequest`."""
        found = _ID.fullmatch(entry_id)
        if found is None:
            raise InvalidRequest("after", None, "is not the cursor of a page; start without it")
        return cls(int(found[1]), int(found[2]), int(found[3]), found[4])

    @property
    def order(self) -> tuple[int, int, int, int]:
        """Return what positions of both streams are sorted by."""
        return self.ms, STREAMS.index(self.stream), self.sequence, self.number

    def start_of(self, stream: str) -> str:
        """Return the first id of a stream that can come after this entry, or be in the same stored one."""
        if stream == self.stream:
            return f"{self.ms}-{self.sequence}"
        return f"{self.ms if STREAMS.index(stream) > STREAMS.index(self.stream) else self.ms + 1}-0"

    def is_not_before(self, entry_id: str) -> bool:
        """Whether an entry is in the same stored one, and not after this one."""
        other = _Position.read(entry_id)
        return other._replace(number=0) == self._replace(number=0) and other.number <= self.number


def _entries(entry_id: str, fields: dict[str, str], stream: str) -> Iterator[Entry]:
    """Yield an entry for each request that shares a stored one."""
    for number, request in enumerate(fields["request"].split(" ")):
        yield _entry(f"{entry_id}.{number}.{stream}", request, fields)


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
