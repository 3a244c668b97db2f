"""What the queue, the limiter and the workers are doing: the figures of `kitsweep stats`. Changes nothing."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from worker.limiter.slots import Limiter, Pause
from worker.queue.operations import Queue
from worker.reports.backlog import count_unaccepted
from worker.states import Outcome
from worker.times import iso, month_of

ALIVE_MS = 15_000
"""A worker whose last heartbeat is older counts as dead."""


Counts = dict[str, str]
"""Source → number of ids."""


class SourceStats(TypedDict):
    """Ids of one source that have not ended."""

    waiting: int
    """Including those on hold and retries."""
    in_flight: int
    due_retries: int
    held: int


class WindowStats(TypedDict):
    """One window of the limit, and the calls in it now."""

    limit: int
    interval_ms: int
    calls: int


class PauseStats(TypedDict):
    """Why calls are paused."""

    by: str
    """operator, throttled, trouble (the API does not answer), or key_refused."""
    reason: str
    until: str | None
    """When the next call is made; None: when an operator resumes."""
    since: str | None
    who: str | None
    """Who paused, if an operator did."""


class PurgeStats(TypedDict):
    """Purges of cached copies."""

    month: str
    """Calendar month in UTC, such as 2026-11."""
    calls: int
    """Purge calls in this month."""
    quota: int
    """Purge calls that a month may have."""
    waiting: int
    """Deleted files that are in no purge yet."""
    open: int
    """Purges that have not ended."""


class Stats(TypedDict):
    """All of `kitsweep stats --json`. Times are ISO 8601 in UTC."""

    unaccepted: int
    """Messages, sent by task name, that are not accepted yet, of all accounts."""
    waiting: int
    in_flight: int
    due_retries: int
    held: int
    """Ids of requests that are on hold or wait for approval."""
    unapproved: int
    """Requests that wait for approval."""
    unpublished: int
    """Finished requests whose result is not published yet."""
    parked: int
    """Parked groups."""
    webhooks_waiting: int
    """Webhooks that are due, are being sent, or wait for their next attempt."""
    webhooks_failed: int
    """Webhooks that were given up and are still kept."""
    sources: dict[str, SourceStats]
    ended: dict[str, int]
    """Outcome → number of items so far."""
    windows: list[WindowStats]
    margin_ms: float
    pause: PauseStats | None
    purges: PurgeStats
    workers: list[str]
    """Names of the workers that are alive."""
    now: str


def read_stats(queue: Queue, limiter: Limiter) -> Stats:
    """Read the figures, in a few round trips."""
    limits = limiter.read_limits()  # First, because an operation upgrades what an earlier version stored.
    now = queue.now_ms()
    *by_source, totals, unapproved, outbox, parked, unsent, failed, workers = _read_counters(queue, now)
    sources = _sources(*by_source)
    return Stats(
        unaccepted=count_unaccepted(queue.redis, queue.home_keys),
        waiting=sum(about["waiting"] for about in sources.values()),
        in_flight=sum(about["in_flight"] for about in sources.values()),
        due_retries=sum(about["due_retries"] for about in sources.values()),
        held=sum(about["held"] for about in sources.values()),
        unapproved=int(unapproved),
        unpublished=int(outbox),
        parked=int(parked),
        webhooks_waiting=int(unsent),
        webhooks_failed=int(failed),
        sources=sources,
        ended={outcome.value: int(totals.get(outcome, 0)) for outcome in Outcome},
        windows=[WindowStats(limit=use.limit, interval_ms=use.interval_ms, calls=use.calls) for use in limits.windows],
        margin_ms=round(limits.margin_ms, 1),
        pause=_pause(limiter.read_pause()),
        purges=_read_purges(queue, now),
        workers=sorted(workers),
        now=iso(now) or "",
    )


def _read_counters(queue: Queue, now: int) -> list[Any]:
    keys = queue.keys
    with queue.redis.pipeline(transaction=False) as pipe:
        for name in ("waiting", "in_flight", "retrying", "on_hold", "totals"):
            pipe.hgetall(keys(name))
        pipe.zcard(keys("approvals"))
        pipe.zcard(keys("outbox"))
        pipe.scard(keys("parked"))
        pipe.zcard(keys("webhooks:waiting"))
        pipe.zcard(keys("webhooks:failed"))
        pipe.zrangebyscore(queue.home_keys("workers"), now - ALIVE_MS, "+inf")
        return list(pipe.execute())


def _sources(waiting: Counts, in_flight: Counts, retrying: Counts, on_hold: Counts) -> dict[str, SourceStats]:
    return {
        source: SourceStats(
            waiting=int(waiting.get(source, 0)),
            in_flight=int(in_flight.get(source, 0)),
            due_retries=int(retrying.get(source, 0)),
            held=int(on_hold.get(source, 0)),
        )
        for source in sorted({*waiting, *in_flight})
    }


def _read_purges(queue: Queue, now: int) -> PurgeStats:
    month, keys = month_of(now), queue.keys
    with queue.redis.pipeline(transaction=False) as pipe:
        pipe.hget(keys("purges:quota"), month)
        pipe.zcard(keys("purges:waiting"))
        pipe.zcard(keys("purges:open"))
        calls, waiting, under_way = pipe.execute()
    return PurgeStats(month=month, calls=int(calls or 0), quota=queue.purge_quota, waiting=waiting, open=under_way)


def _pause(pause: Pause | None) -> PauseStats | None:
    if pause is None:
        return None
    return PauseStats(
        by=pause.by, reason=pause.reason, until=iso(pause.until_ms), since=iso(pause.since_ms), who=pause.who
    )
