"""Carries out a run of a cleanup rule, a slice at a time: list a page, check, collect; at the end guard and release.

Nothing of a run is deleted before all of its ids are collected, since deleting while paging would skip files. A slice
that dies is taken up by another at the page where it stood.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from worker.calls import Gate
from worker.cleanup.listing.matching import Excluded, Match, Matcher
from worker.cleanup.listing.paging import PAGE, START, ListingError, step
from worker.cleanup.listing.query import search_base, search_for
from worker.cleanup.rules.file import RulesError, RulesFile
from worker.cleanup.rules.rule import Rule, describe
from worker.cleanup.runs.store import DAY_MS, Ended, Run, Runs, request_of
from worker.imagekit.answers import KeyRefused, ListAnswer, Page, Refused, Throttled, Unanswered
from worker.queue.validation import MAX_REASON
from worker.times import backoff_ms

logger = logging.getLogger("kitsweep.cleanup")

SLICE_SECONDS = 1.0
"""How long a slice goes on: then others get its place in the pool."""
NAP_MS = 300
"""The longest wait for a slot that a slice sits out in its place; a longer one ends the slice."""
MOST_DEATHS = 10
"""A run that so many workers in a row did not survive is given up: it may be why."""


class ListApi(Protocol):
    """What a run needs of the ImageKit client."""

    def list_files(self, search: Mapping[str, str], skip: int, limit: int = PAGE) -> ListAnswer:
        """Make one list call."""
        ...


@dataclass
class Cleaner:
    """The parts that a run works with."""

    runs: Runs
    rules: RulesFile
    gate: Gate
    """To the list endpoint."""
    api: ListApi
    publish: Callable[[list[str]], None]
    page: int = PAGE


class _RestError(Exception):
    """The run cannot go on now; it is due again after so many ms."""

    def __init__(self, wait_ms: int, why: str = "", failures: int = 0) -> None:
        super().__init__(wait_ms, why, failures)
        self.wait_ms, self.why, self.failures = wait_ms, why, failures


class _OverError(Exception):
    """The run ends here, without anything deleted."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(outcome, why)
        self.outcome, self.why = outcome, why


class _LostError(Exception):
    """Another worker has the run."""


def run_slice(cleaner: Cleaner, run_id: str, seconds: float = SLICE_SECONDS) -> int | None:
    """Carry a run on for a while. Returns the ms after which it should be carried on; None: not by us.

    Raises:
        redis.exceptions.RedisError: Redis went away; the run is taken up again when its lease has run out.
    """
    run = cleaner.runs.take(run_id)
    if run is None:
        return None
    try:
        rule = _present_rule(cleaner, run)
        until = time.monotonic() + seconds
        while run.place is not None:
            run = _turn_page(cleaner, run, rule)
            _rest_after(until)
        ended = _finish(cleaner, run, rule)
    except _RestError as rest:
        cleaner.runs.give_back(run, rest.wait_ms, rest.why, rest.failures)
        return rest.wait_ms
    except _OverError as over:
        ended = cleaner.runs.end(run, over.outcome, over.why)
    except _LostError:
        return None
    _tell(run, ended)
    if ended.outcome in {"released", "held"}:
        cleaner.publish([request_of(run_id)])
    return None


def _rest_after(moment: float) -> None:
    if time.monotonic() > moment:
        raise _RestError(0)


def _present_rule(cleaner: Cleaner, run: Run) -> Rule:
    """Return the rule as the file says now: a run goes on only while its words mean what they meant."""
    if run.is_off:
        raise _OverError("stopped", "cleanup was switched off")
    if run.deaths >= MOST_DEATHS:
        raise _OverError("failed", f"{run.deaths} workers in a row died of it, or broke off; see their logs")
    try:
        rule = cleaner.rules.rules().by_name.get(run.rule)
    except RulesError as error:
        raise _OverError("failed", f"the rules file cannot be used: {error}") from None
    if rule is None:
        raise _OverError("abandoned", f"there is no rule {run.rule} in {cleaner.rules.path} of this worker")
    if rule.fingerprint != run.words:
        raise _OverError("abandoned", "the rule was changed")
    if not rule.enabled and not run.by_hand:
        raise _OverError("abandoned", "the rule was disabled")
    return rule


def _turn_page(cleaner: Cleaner, run: Run, rule: Rule) -> Run:
    cursor = run.place or START
    page = _list(cleaner, run, search_for(rule), cursor.ask, cleaner.page)
    try:
        objects, following = step(cursor, page.objects, cleaner.page)
    except ListingError as error:
        raise _OverError("failed", str(error)) from None
    matcher = Matcher(rule, run.started_ms)
    found = [matcher.match(item) for item in objects]
    matches = [each for each in found if isinstance(each, Match)]
    excluded = Counter(each.why for each in found if isinstance(each, Excluded))
    state, new = cleaner.runs.add_page(run, reason_of(rule), following, excluded, matches)
    if state == "off":
        raise _OverError("stopped", "cleanup was switched off")
    if state == "gone":
        raise _OverError("stopped", "its request was cancelled")
    if state == "lost":
        raise _LostError
    return Run(**{**vars(run), "place": following, "files": run.files + new, "failures": 0})


def reason_of(rule: Rule) -> str:
    """Return the reason that a rule's requests carry."""
    return f"cleanup: {describe(rule)}"[:MAX_REASON]


def _finish(cleaner: Cleaner, run: Run, rule: Rule) -> Ended:
    if rule.dry_run:
        return cleaner.runs.end(run, "dry_run", "the rule says dry_run", rule)
    return cleaner.runs.end(run, "release", "", rule, _beyond_share(cleaner, run, rule))


def _beyond_share(cleaner: Cleaner, run: Run, rule: Rule) -> str:
    """Return why the run is beyond `max_share`, or nothing.

    The API tells no totals. But a library has so many files if there is one at that place of its listing: one call.
    """
    share = rule.guards.max_share
    if not run.files or not 0 < share < 1:
        return ""
    needed = math.ceil(run.files / share - 1e-9)
    if _list(cleaner, run, search_base(rule), needed - 1, 1).objects:
        return ""
    where = rule.path or "the library"
    return f"{run.files} files are more than {share:g} (max_share) of the fewer than {needed} in {where}"


def _list(cleaner: Cleaner, run: Run, search: Mapping[str, str], skip: int, limit: int) -> Page:
    """Make one list call under the limit, or raise how the run goes on without it."""
    permit = cleaner.gate.wait(NAP_MS)
    if not permit.granted:
        raise _RestError(permit.wait_ms, "waits for a slot", run.failures)
    answer, _ = cleaner.gate.make(permit, lambda: cleaner.api.list_files(search, skip, limit))
    match answer:
        case Page():
            return answer
        case Throttled(meta=meta):
            raise _RestError(max(1, meta.reset_ms or 1000), "ImageKit answered 429", run.failures)
        case Refused(message=message):
            raise _OverError("failed", f"ImageKit refuses the search: {message}")
        case KeyRefused(message=message):
            raise _rest_after_failure(cleaner, run, f"ImageKit refuses the private key: {message}")
        case Unanswered(reason=reason):
            raise _rest_after_failure(cleaner, run, f"ImageKit does not answer: {reason}")


def _rest_after_failure(cleaner: Cleaner, run: Run, why: str) -> Exception:
    if cleaner.runs.queue.now_ms() - run.started_ms > DAY_MS:
        return _OverError("failed", f"for a day: {why}")
    return _RestError(backoff_ms(run.failures + 1), why, run.failures + 1)


def _tell(run: Run, ended: Ended) -> None:
    level = logging.WARNING if ended.outcome in {"held", "failed", "stopped", "abandoned"} else logging.INFO
    text = "cleanup run %s: %s, %d files%s"
    logger.log(level, text, run.run_id, ended.outcome, ended.files, f": {ended.why}" if ended.why else "")
    if ended.outcome == "held":
        logger.warning("decide with: kitsweep cleanup approve|reject %s", request_of(run.run_id))
