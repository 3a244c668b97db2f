"""What happened to one request, when, and who did it: what its report does not say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from redis import Redis

from worker.reports.reader import read_group
from worker.states import Outcome
from worker.store.keys import Keys
from worker.times import iso

_SLACK_MS = 1000
_MOST_ENTRIES = 1000
"""How many entries of the audit trail around a moment are looked at."""
_FIELDS = ("origin", "hold_until", "approval", "approved_by", "approved_at", "rejected_by", "rejected_at", "revoked")


@dataclass(frozen=True)
class History:
    """One request. Times are ISO 8601 in UTC; what is None has not happened, or is not known any more."""

    by: str | None
    """Who enqueued it."""
    hold_until: str | None
    guard: str | None
    """Why it needed approval."""
    decided_by: str | None
    decided_at: str | None
    is_approved: bool
    cancelled_by: str | None
    cancelled_at: str | None
    first_ended_at: str | None
    """When its first file had an outcome."""
    retrying: int
    """Files that failed, and will be tried again."""
    next_retry_at: str | None


class Histories:
    """The histories of the requests of one account."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def read(self, request_id: str, enqueued_at_ms: int) -> History:
        """Return the history of a request, in two round trips."""
        about, ended, retrying, next_retry = self._stored(request_id)
        revoked = about["revoked"]
        return History(
            by=about["origin"] or self._who(request_id, enqueued_at_ms, "accepted", "held"),
            hold_until=iso(about["hold_until"]),
            guard=about["approval"] or None,
            decided_by=about["approved_by"] or about["rejected_by"],
            decided_at=iso(about["approved_at"] or about["rejected_at"]),
            is_approved=about["approved_by"] is not None,
            cancelled_by=self._who(request_id, int(revoked), "cancelled") if revoked else None,
            cancelled_at=iso(revoked),
            first_ended_at=iso(min(ended, default=None)),
            retrying=retrying,
            next_retry_at=iso(next_retry),
        )

    def _stored(self, request_id: str) -> tuple[dict[str, str | None], list[int], int, int | None]:
        retries = self._keys.request(request_id, "retries")
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self._keys.request(request_id), _FIELDS)
            pipe.zcard(retries)
            pipe.zrange(retries, 0, 0, withscores=True)
            for outcome in Outcome:
                pipe.lindex(self._keys.request(request_id, outcome), 0)
            values, retrying, due, *groups = pipe.execute()
        about = dict(zip(_FIELDS, values, strict=True))
        return about, [read_group(text).at_ms for text in groups if text], int(retrying), _score(due)

    def _who(self, request_id: str, at_ms: int, *events: str) -> str | None:
        """Return who did something to a request at a moment, by the audit trail."""
        return next((fields["by"] for fields in self._entries(at_ms) if _is_of(fields, request_id, events)), None)

    def _entries(self, at_ms: int) -> Iterator[dict[str, str]]:
        start, end = max(0, at_ms - _SLACK_MS), at_ms + _SLACK_MS
        found = self._redis.xrange(self._keys("audit"), str(start), str(end), count=_MOST_ENTRIES)
        yield from (fields for _, fields in cast("list[tuple[str, dict[str, str]]]", found))


def _is_of(fields: dict[str, str], request_id: str, events: tuple[str, ...]) -> bool:
    return fields["event"] in events and request_id in fields["request"].split(" ")


def _score(due: list[tuple[str, float]]) -> int | None:
    return int(due[0][1]) if due else None
