"""Does what is due: looks URLs up, makes and follows purge calls, plans new ones. Any number of workers share it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from worker.calls import Gate
from worker.imagekit.answers import PurgeAnswer
from worker.purge.coverage import Coverage
from worker.purge.lookup import ListApi, look_up_some
from worker.purge.planner import Purge, plan
from worker.purge.sending import Taken, Then, judge
from worker.purge.store import Purges, Quota
from worker.states import PurgeState

logger = logging.getLogger("kitsweep.purge")

NAP_MS = 300
"""The longest wait for a slot."""
AT_ONCE = 20
"""Purges that are made of one plan; the others are planned again, perhaps with more files."""
OVER_QUOTA_MS = 3_600_000
"""How often a call that the quota does not cover is tried again."""
WARN_AT = 0.8
"""Share of the quota from which on a warning is logged."""


class PurgeApi(ListApi, Protocol):
    """The part of the ImageKit client that purging uses."""

    def purge(self, url: str) -> PurgeAnswer:
        """Make one purge call."""
        ...

    def purge_status(self, purge_id: str) -> PurgeAnswer:
        """Ask whether a purge is completed."""
        ...


@dataclass
class Purger:
    """Purges for one account."""

    purges: Purges
    gate: Gate
    """Of the purge endpoint."""
    lists: Gate
    """Of the list endpoint."""
    api: PurgeApi
    publish: Callable[[list[str]], None]
    """Hands finished requests to the result backend."""

    def step(self) -> bool:
        """Do one thing that is due; return whether there was one.

        Raises:
            redis.exceptions.RedisError: Redis is unavailable; what was taken is due again when its lease expires.
        """
        due = self.purges.look()
        return (
            (due.lookup and look_up_some(self.purges, self.lists, self.api))
            or (due.call and self._call())
            or (due.plan and self._plan())
        )

    def _call(self) -> bool:
        """Make the call that is due first: send a purge, or ask about it."""
        permit = self.gate.wait(NAP_MS)
        if not permit.granted:
            return False
        purge = self.purges.take()
        if purge is None or purge.state not in {PurgeState.READY, PurgeState.SENT} or not purge.may_call:
            self.gate.give_back(permit)
            if purge is not None:
                self._go_on(purge, self._without_call(purge))
            return purge is not None
        answer, _ = self.gate.make(permit, lambda: self._ask(purge))
        self._go_on(purge, judge(purge, answer))
        return True

    def _ask(self, purge: Taken) -> PurgeAnswer:
        if purge.state is PurgeState.SENT:
            return self.api.purge_status(purge.sent_as)
        return self.api.purge(purge.url)

    def _without_call(self, purge: Taken) -> Then:
        """Return how a purge goes on that has ended already, or whose call the quota does not cover."""
        if purge.state is not PurgeState.READY:
            return Then(purge.state, error=purge.error)
        why = _over_quota(self.purges.quota())
        if self.purges.skips:
            return Then(PurgeState.SKIPPED, error=why)
        return Then(PurgeState.READY, OVER_QUOTA_MS, why, attempts=purge.attempts)

    def _go_on(self, purge: Taken, then: Then) -> None:
        if not then.is_end:
            self.purges.record(purge, then)
            if then.error:
                _log(logging.WARNING, purge, f"{then.error}, retrying in {then.delay_ms / 1000:g} s")
            return
        for final in self.purges.end(purge, then.state, then.error):
            if final:
                self.publish(final)
        level = logging.INFO if then.state is PurgeState.PURGED else logging.WARNING
        _log(level, purge, f"{then.state}: {then.error}" if then.error else str(then.state))

    def _plan(self) -> bool:
        """Turn waiting files into purges, as far as the quota goes; return whether there were any."""
        lock = self.purges.lock()
        if lock is None:
            return False
        planned: list[Purge] = []
        try:
            waiting, refused = self.purges.waiting(), self.purges.refused()
            coverage = Coverage(self.purges, self.lists, self.api, self.purges.endpoints())
            coverable = coverage.coverable_folders(waiting.files, waiting.allowed)
            planned = plan(waiting.files, {folder for folder in coverable if f"{folder}*" not in refused})
            self._make(lock, planned, lambda url: _with_variants(url, coverage, refused))
        finally:
            self.purges.unlock(lock, rest=not planned)
        return bool(planned)

    def _make(self, lock: str, planned: list[Purge], url_for: Callable[[str], str]) -> None:
        for number, purge in enumerate(planned[:AT_ONCE]):
            reply = self.purges.plan(lock, purge._replace(url=url_for(purge.url)))
            if reply == "no_quota":
                self._beyond_quota(lock, planned[number:])
            if reply != "ok":
                break
        self._warn_of_quota(min(AT_ONCE, len(planned)))

    def _beyond_quota(self, lock: str, rest: list[Purge]) -> None:
        quota = self.purges.quota()
        then = "are skipped" if self.purges.skips else "wait for the next month"
        logger.warning("%s; %d purges %s", _over_quota(quota), len(rest), then, extra={"purges": len(rest)})
        for purge in rest if self.purges.skips else ():
            self.purges.plan(lock, purge, PurgeState.SKIPPED, _over_quota(quota))

    def _warn_of_quota(self, planned: int) -> None:
        quota = self.purges.quota()
        threshold = math.ceil(quota.limit * WARN_AT)
        if quota.used - planned < threshold <= quota.used:
            logger.warning(
                "%d of %d purge calls of %s are used", quota.used, quota.limit, quota.month, extra={"used": quota.used}
            )


def _with_variants(url: str, coverage: Coverage, refused: Collection[str]) -> str:
    """Return the URL for a purge, with a `*` if that also removes copies with a query and covers no other file."""
    plain = url.rstrip("*")
    if url.endswith("/*") or f"{plain}*" in refused:
        return url if url.endswith("/*") else plain
    return f"{plain}*" if url != plain or coverage.variants_of(plain) else plain


def _over_quota(quota: Quota) -> str:
    return f"the quota of {quota.limit} purge calls is used up in {quota.month}"


def _log(level: int, purge: Taken, what: str) -> None:
    logger.log(level, "purge of %s: %s", purge.url, what, extra={"purge": purge.purge_id, "sent_as": purge.sent_as})
