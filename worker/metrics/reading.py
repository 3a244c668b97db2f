"""Reads what the metrics show: of any number of accounts on one Redis, in two round trips.

The hash `metrics` has the counters of an account. The operations that accept and end requests, record calls and end
webhooks write them. Its fields are::

    accepted                             file ids of accepted requests
    requests:<final state>               requests
    request_ms:<bucket>, request_ms:sum  their durations: how many are in each bucket, counted from 1, and the sum
    calls:<endpoint>:<status>:<bucket>   calls, by HTTP status or `NO_RESPONSE`, and by duration
    call_ms:<endpoint>                   sum of the durations of calls
    call_files:<n>                       bulk calls with n file ids
    webhooks:<delivered, failed>         webhooks
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import ResponseError

from config.queue_names import broker_lists, queue_names
from config.settings import Settings
from worker.limiter.slots import Endpoint, Limiter, Pause, WindowUse, pause_of
from worker.reports.stats import ALIVE_MS
from worker.states import FINAL_STATES, Outcome
from worker.store.buckets import BUCKETS
from worker.store.keys import Keys
from worker.store.scripts import Scripts
from worker.times import month_of

MOST = 200
"""How many sources, retries and groups are searched for the oldest request."""
NO_RESPONSE = "none"
"""Status of a call without a response."""


class Histogram(NamedTuple):
    """How many values were at most as large as each bound, in the unit that its name in `BUCKETS` ends with."""

    bounds: tuple[int, ...]
    counts: tuple[int, ...]
    """For each bound, and the number of all values."""
    sum: float


class Memory(NamedTuple):
    """The memory of the Redis server, in bytes."""

    used: int
    most: int
    """0 if it has no limit of its own."""


@dataclass(frozen=True)
class Figures:
    """One account at one moment. Times are ms since 1970, on the clock of Redis."""

    account: str
    now_ms: int
    accepted: int
    """File ids accepted so far."""
    ended: dict[str, int]
    """Outcome → number of file ids that have ended with it."""
    waiting: dict[str, int]
    """Source → file ids that wait to be claimed, retries included; without those on hold or waiting for approval."""
    held: dict[str, int]
    """Source → file ids on hold or waiting for approval."""
    in_flight: dict[str, int]
    oldest_ms: dict[str, int]
    """Source → when the oldest request with ids that wait, and are not held, was enqueued."""
    requests: dict[str, int]
    """unapproved, on_hold, or active → number of requests that are not final."""
    finished: dict[str, int]
    """Final state → number of requests."""
    request_ms: Histogram
    """From enqueueing a request to its end."""
    calls: dict[tuple[str, str], int]
    """Endpoint and HTTP status, or `NO_RESPONSE` → number of calls."""
    call_ms: dict[str, Histogram]
    """Endpoint → duration of calls."""
    call_files: Histogram
    """File ids in bulk calls."""
    windows: dict[str, list[WindowUse]]
    """Endpoint → its limits, of which only our share counts, and their use."""
    pause: Pause | None
    """Why no deletions are sent; None if they are."""
    last_success_ms: int | None
    """When a deletion last succeeded; None: never."""
    workers: int
    """Workers that are alive."""
    unaccepted: int
    """Messages, sent by task name, that are not accepted yet."""
    unpublished: int
    """Finished requests whose result any worker may publish, because the one that ended them did not."""
    webhooks: dict[str, int]
    """waiting or failed → number of webhooks."""
    webhooks_ended: dict[str, int]
    """delivered or failed → number of webhooks."""
    receivers_failing: int
    """Receivers of webhooks that failed at the last attempt."""
    purge_calls: int
    """Calls of this calendar month (UTC) that purge cached copies."""
    purge_quota: int
    """How many of them there may be."""
    purge_files: int
    """Deleted files whose cached copies are in no purge yet."""
    refusals: int
    """HTTP calls that were refused because of a wrong credential."""


class Reading(NamedTuple):
    """All accounts, and the server that they are on."""

    accounts: list[Figures]
    memory: Memory | None
    """None if the server does not say."""


class Reader:
    """Reads the figures of accounts on one Redis. Changes nothing."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[str, _Account] = {}

    def read(self, accounts: Iterable[Settings]) -> Reading:
        """Read all figures. Raises `redis.exceptions.RedisError`."""
        self._known = {settings.account: self._of(settings) for settings in accounts}
        with self._redis.pipeline(transaction=False) as pipe:
            for account in self._known.values():
                account.ask(pipe)
            pipe.info("memory")
            *replies, memory = pipe.execute(raise_on_error=False)
        _raise_errors(replies)
        figures = [account.figures(reply) for account, reply in zip(self._known.values(), replies, strict=True)]
        return Reading(figures, _memory(memory))

    def _of(self, settings: Settings) -> _Account:
        known = self._known.get(settings.account)
        return known if known and known.settings is settings else _Account(self._redis, settings)


class _Account:
    """Asks for the figures of one account, and understands the reply."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.settings = settings
        self._scripts = Scripts(redis, Keys(settings.account))
        self._limits = {each: Limiter(redis, settings, each).reading_limits() for each in Endpoint}
        self._home = Keys(settings.home_account).prefix
        names = queue_names(settings.home_account)
        self._lists = [each for name in (*names.intake, names.unusual) for each in broker_lists(name)]

    def ask(self, pipe: Any) -> None:
        limits = [step.packed() for step in self._limits.values()]
        args = {"alive_ms": ALIVE_MS, "most": MOST, "home": self._home}
        self._scripts.run("metrics/read", args, *limits, pipe=pipe, keys=self._lists)

    def figures(self, reply: list[Any]) -> Figures:
        packed, *limits = reply
        read = {name: value or {} if isinstance(value, list) else value for name, value in json.loads(packed).items()}
        counted = _Counted(read["counted"])
        return Figures(
            account=self.settings.account,
            now_ms=int(read["now"]),
            accepted=counted["accepted"],
            ended={each.value: int(read["totals"].get(each, 0)) for each in Outcome},
            waiting=_without(read["waiting"], read["held"]),
            held=_whole(read["held"]),
            in_flight=_whole(read["in_flight"]),
            oldest_ms=_whole(read["oldest"]),
            requests=_requests(read),
            finished={each.value: counted[f"requests:{each}"] for each in sorted(FINAL_STATES)},
            request_ms=counted.request_ms(),
            calls=counted.calls(),
            call_ms={each.value: counted.call_ms(each) for each in Endpoint},
            call_files=counted.call_files(),
            windows={each.value: self._windows(each, reply) for each, reply in zip(Endpoint, limits, strict=True)},
            pause=pause_of(int(read["now"]), read["account"], read["throttle"]),
            last_success_ms=int(read["account"]["last_success"]) if "last_success" in read["account"] else None,
            workers=int(read["workers"]),
            unaccepted=int(read["unaccepted"]),
            unpublished=int(read["unpublished"]),
            webhooks={"waiting": int(read["webhooks_waiting"]), "failed": int(read["webhooks_failed"])},
            webhooks_ended={name: counted[f"webhooks:{name}"] for name in ("delivered", "failed")},
            receivers_failing=int(read["receivers_failing"]),
            purge_calls=int(read["purge_calls"].get(month_of(int(read["now"])), 0)),
            purge_quota=self.settings.purge_quota,
            purge_files=int(read["purge_files"]),
            refusals=int(read["refusals"]),
        )

    def _windows(self, endpoint: Endpoint, reply: list[Any]) -> list[WindowUse]:
        windows = self._limits[endpoint].read(reply).windows
        return [use._replace(limit=max(1, int(use.limit * self.settings.rate_share))) for use in windows]


def _raise_errors(replies: Iterable[object]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply


def _memory(reply: Any) -> Memory | None:
    # An access list may forbid INFO, and the fake server lacks these fields.
    if isinstance(reply, ResponseError) or "used_memory" not in reply:
        return None
    return Memory(int(reply["used_memory"]), int(reply.get("maxmemory", 0)))


def _whole(numbers: Mapping[str, float]) -> dict[str, int]:
    return {name: int(value) for name, value in numbers.items()}


def _without(waiting: Mapping[str, float], held: Mapping[str, float]) -> dict[str, int]:
    return {source: int(ids - held.get(source, 0)) for source, ids in waiting.items()}


def _requests(read: Mapping[str, Any]) -> dict[str, int]:
    unapproved, on_hold = int(read["unapproved"]), int(read["on_hold"])
    return {"unapproved": unapproved, "on_hold": on_hold, "active": int(read["unfinished"]) - unapproved - on_hold}


def _histogram(name: str, buckets: Mapping[int, int], total: float) -> Histogram:
    """Return a histogram of the values in each bucket, counted from 1, and their sum."""
    bounds = BUCKETS[name]
    return Histogram(bounds, tuple(accumulate(buckets.get(bucket, 0) for bucket in range(1, len(bounds) + 2))), total)


class _Counted:
    """The hash `metrics`."""

    def __init__(self, fields: Mapping[str, float]) -> None:
        self._fields = {name: int(value) for name, value in sorted(fields.items())}

    def __getitem__(self, name: str) -> int:
        return self._fields.get(name, 0)

    def _below(self, start: str) -> list[tuple[list[str], int]]:
        """Return the rest of each field that starts so, split at colons, and its value."""
        names = (name for name in self._fields if name.startswith(start))
        return [(name.removeprefix(start).split(":"), self._fields[name]) for name in names]

    def calls(self) -> dict[tuple[str, str], int]:
        found: Counter[tuple[str, str]] = Counter()
        for (endpoint, status, _), calls in self._below("calls:"):
            found[endpoint, status] += calls
        return dict(found)

    def call_ms(self, endpoint: str) -> Histogram:
        buckets: Counter[int] = Counter()
        for (_, bucket), calls in self._below(f"calls:{endpoint}:"):
            buckets[int(bucket)] += calls
        return _histogram("call_ms", buckets, self[f"call_ms:{endpoint}"])

    def call_files(self) -> Histogram:
        by_size = {int(size): calls for (size,), calls in self._below("call_files:")}
        buckets: Counter[int] = Counter()
        for size, calls in by_size.items():
            buckets[bisect_left(BUCKETS["call_files"], size) + 1] += calls
        return _histogram("call_files", buckets, sum(size * calls for size, calls in by_size.items()))

    def request_ms(self) -> Histogram:
        buckets = {int(part): requests for (part,), requests in self._below("request_ms:") if part != "sum"}
        return _histogram("request_ms", buckets, self["request_ms:sum"])
