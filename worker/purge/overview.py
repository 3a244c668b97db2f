"""What operators see of purges: the quota, what waits, and each purge with its state. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from typing_extensions import TypedDict

from worker.purge.store import Purges
from worker.times import iso

MOST_LISTED = 1000


class PurgeEntry(TypedDict):
    """One purge: a call for one URL, or for a wildcard. Times are ISO 8601 in UTC."""

    id: str
    url: str
    state: str
    """ready (its call is to be made), sent (ImageKit carries it out), purged, purge_failed, purge_skipped, or refused
    (ImageKit does not allow this wildcard; its files are purged otherwise)."""
    files: int
    """Deleted files that it covers."""
    attempts: int
    """Calls for it whose answer was lost, or that came to nothing."""
    imagekit_request_id: str | None
    """Under which ImageKit answers for it."""
    planned_at: str | None
    sent_at: str | None
    next_at: str | None
    """When its next call is due; null once it has ended."""
    ended_at: str | None
    error: str


class PurgeOverview(TypedDict):
    """The purges of an account."""

    month: str
    """Calendar month in UTC, such as 2026-11."""
    used: int
    """Purge calls of the month."""
    quota: int
    """Purge calls that the month may have."""
    over_quota: str
    """What happens to files beyond the quota: wait (for the next month) or skip."""
    waiting: int
    """Deleted files that are in no purge yet."""
    lookups: int
    """Requests whose files are not deleted yet, because their URLs are looked up."""
    purges: list[PurgeEntry]
    """Those that are under way, and the last that have ended, newest first."""


def read_overview(purges: Purges, most: int = MOST_LISTED) -> PurgeOverview:
    """Read the quota, and up to `most` purges under way and as many that have ended."""
    keys, redis, quota = purges.queue.keys, purges.queue.redis, purges.quota()
    with redis.pipeline(transaction=False) as pipe:
        pipe.zcard(keys("purges:waiting"))
        pipe.zcard(keys("lookups"))
        pipe.zrange(keys("purges:open"), 0, most - 1, withscores=True)
        pipe.zrevrange(keys("purges:ended"), 0, most - 1)
        waiting, lookups, under_way, ended = pipe.execute()
    due = dict(cast("list[tuple[str, float]]", under_way))
    return PurgeOverview(
        month=quota.month,
        used=quota.used,
        quota=quota.limit,
        over_quota="skip" if purges.skips else "wait",
        waiting=waiting,
        lookups=lookups,
        purges=_read_entries(purges, [*due, *ended], due),
    )


def _read_entries(purges: Purges, ids: Sequence[str], due: Mapping[str, float]) -> list[PurgeEntry]:
    with purges.queue.redis.pipeline(transaction=False) as pipe:
        for purge_id in ids:
            pipe.hgetall(purges.queue.keys.purge(purge_id))
        stored: list[dict[str, str]] = pipe.execute()
    return [
        _entry(purge_id, about, due.get(purge_id))
        for purge_id, about in zip(ids, stored, strict=True)
        if "url" in about
    ]


def _entry(purge_id: str, about: dict[str, str], due_ms: float | None) -> PurgeEntry:
    return PurgeEntry(
        id=purge_id,
        url=about["url"],
        state=about["state"],
        files=int(about["files"]),
        attempts=int(about.get("attempts", 0)),
        imagekit_request_id=about.get("sent_as") or None,
        planned_at=iso(about["planned_at"]),
        sent_at=iso(about.get("sent_at")),
        next_at=None if due_ms is None else iso(int(due_ms)),
        ended_at=iso(about.get("ended_at")),
        error=about.get("error", ""),
    )
