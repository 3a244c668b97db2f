"""Finds out what became of one file id, in all requests that are still known.

No index of file ids is kept: the requests are looked through, the newest first, page by page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple, cast

from pydantic import ConfigDict
from redis import Redis
from redis.client import Pipeline

from worker.reports.mentions import mentions
from worker.reports.published import Group, may_name, told_outcomes
from worker.reports.purges import read_purges
from worker.reports.reader import Reports, pages_of, read_group
from worker.states import Outcome
from worker.store.keys import Keys
from worker.times import iso

LOOK_SECONDS = 0.2
"""How long one page looks. A request that has been begun is looked through to its end."""
_FIRST_GROUPS = 10
_GROUPS_AT_ONCE = 500
_WAITING = ("waiting", "retries")
_OUTCOMES = frozenset(Outcome)
_FIELDS = ("source", "total", "in_flight", "enqueued_at", "withdrawn_at", "ids", *Outcome)


@dataclass(frozen=True)
class Trace:
    """A file id in one request. Times are ISO 8601 in UTC."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    request_id: str
    source: str
    state: str
    """waiting, in_flight, deleted, not_found, presumed_deleted, failed or cancelled."""
    error: str
    """Why it failed, or a remark; may be empty."""
    attempts: int
    enqueued_at: str | None
    at: str | None
    """When it ended; null until then."""
    purge: str | None = None
    """purge_pending, purged, purge_failed or purge_skipped; null if the request did not ask for purge."""


class Found(NamedTuple):
    """What one page found, the newest request first. It may be empty, and yet not be the last."""

    traces: list[Trace]
    after: str | None
    """From where the next page goes on; None after the last one."""


class _Look(NamedTuple):
    """A part of a request in which the file id may be."""

    request_id: str
    about: dict[str, str | None]
    part: str

    def trace(self, state: str, error: str = "", attempts: int = 0, at_ms: str | int | None = None) -> Trace:
        """Return that the file id is there."""
        source, enqueued_at = self.about["source"] or "", iso(self.about["enqueued_at"])
        return Trace(self.request_id, source, state, error, attempts, enqueued_at, iso(at_ms))


class Finder:
    """Searches the requests of one account."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._reports = Reports(redis, keys)

    def page(self, file_id: str, after: str | None = None) -> Found:
        """Return where the file id is or was. Raises `InvalidRequest` if `after` is not what an earlier page said."""
        give_up = time.monotonic() + LOOK_SECONDS
        claimed, traces = self._claimed(file_id), dict[str, Trace]()
        for page, end in mentions(self._redis, self._keys, "audit", after):
            found = self._traces(file_id, [mention.request_id for mention in page], claimed)
            traces.update({trace.request_id: trace for trace in found})
            if time.monotonic() > give_up:
                return Found(list(traces.values()), end)
        return Found(list(traces.values()), None)

    def _claimed(self, file_id: str) -> dict[str, str]:
        """Return the requests for which the file id is in a claim or a parked group, and the state it has there."""
        token = self._redis.hget(self._keys("leased"), file_id)
        if not isinstance(token, str):
            return {}
        state = "waiting" if self._redis.sismember(self._keys("parked"), token) else "in_flight"
        runs = json.loads(cast("str", self._redis.hget(self._keys.lease(token), "items")) or "[]")
        return {request_id: state for request_id, _, _, file_ids in runs if file_id in file_ids}

    def _traces(self, file_id: str, request_ids: list[str], claimed: dict[str, str]) -> list[Trace]:
        """Return where the file id is in some requests, in their order."""
        abouts = self._abouts(request_ids)
        looks = [_Look(name, about, part) for name, about in abouts.items() for part in _parts(about)]
        told = self._told(file_id, [name for name in request_ids if name not in abouts])
        stored = self._with_purges(file_id, list(self._stored(file_id, looks)))
        found = {trace.request_id: trace for trace in (*told, *stored)}
        # It may have been claimed since, and so be in no list any more.
        few = {name: "waiting" for name, about in abouts.items() if file_id in _ids(about)}
        for name, state in {**few, **claimed, **self._claimed(file_id)}.items():
            if name in abouts:
                found.setdefault(name, _Look(name, abouts[name], "").trace(state))
        return [found[name] for name in dict.fromkeys(request_ids) if name in found]

    def _abouts(self, request_ids: list[str]) -> dict[str, dict[str, str | None]]:
        """Return the hashes of the requests that have one."""
        with self._redis.pipeline(transaction=False) as pipe:
            for request_id in request_ids:
                pipe.hmget(self._keys.request(request_id), _FIELDS)
            replies = pipe.execute()
        read = [dict(zip(_FIELDS, values, strict=True)) for values in replies]
        return {name: about for name, about in zip(request_ids, read, strict=True) if about["source"] is not None}

    def _told(self, file_id: str, request_ids: list[str]) -> Iterator[Trace]:
        """Yield where the file id is in requests of which only the published result is left."""
        for request_id, known in self._reports.published(request_ids, file_id).items():
            report = known.report
            for entry in told_outcomes(report):
                if entry.file_id == file_id:
                    about = request_id, report["source"], entry.outcome, entry.error, entry.attempts
                    yield Trace(*about, report["enqueued_at"], entry.at)

    def _with_purges(self, file_id: str, traces: list[Trace]) -> list[Trace]:
        purges = read_purges(self._redis, self._keys, [(trace.request_id, file_id) for trace in traces])
        return [replace(trace, purge=purge and purge.state) for trace, purge in zip(traces, purges, strict=True)]

    def _stored(self, file_id: str, looks: list[_Look]) -> Iterator[Trace]:
        with self._redis.pipeline(transaction=False) as pipe:
            for look in looks:
                self._ask(pipe, look, file_id)
            replies = pipe.execute()
        for look, reply in zip(looks, replies, strict=True):
            if look.part == "withdrawn" and reply is not None:
                yield look.trace(Outcome.CANCELLED, at_ms=look.about["withdrawn_at"])
            elif look.part in _WAITING and reply is not None:
                yield look.trace("waiting")
            elif group := self._group_with(file_id, look, reply):
                yield look.trace(look.part, group.error, group.attempts, group.at_ms)

    def _ask(self, pipe: Pipeline, look: _Look, file_id: str) -> None:
        key = self._keys.request(look.request_id, look.part)
        if look.part == "retries":
            pipe.zscore(key, file_id)
        elif look.part in _OUTCOMES:
            pipe.lrange(key, 0, _FIRST_GROUPS - 1)
        else:
            pipe.lpos(key, file_id)

    def _group_with(self, file_id: str, look: _Look, first: object) -> Group | None:
        if look.part not in _OUTCOMES or not isinstance(first, list):
            return None
        key = self._keys.request(look.request_id, look.part)
        rest = pages_of(self._redis, key, _GROUPS_AT_ONCE, start=_FIRST_GROUPS) if len(first) == _FIRST_GROUPS else ()
        may_be = (text for text in chain(first, rest) if may_name(text, file_id))
        return next((group for group in map(read_group, may_be) if file_id in group.file_ids), None)


def _ids(about: dict[str, str | None]) -> list[str]:
    """Return the waiting ids of a request that has few."""
    return (about["ids"] or "").split()


def _parts(about: dict[str, str | None]) -> Iterator[str]:
    """Return the parts of a request that hold file ids; none of one that is not known any more."""
    count = {name: int(about[name] or 0) for name in ("total", "in_flight", *Outcome)}
    yield from (outcome for outcome in Outcome if count[outcome])
    if count["total"] > sum(count[name] for name in ("in_flight", *Outcome)):
        yield from _WAITING
    if about["withdrawn_at"]:
        yield "withdrawn"
