"""Carries out a run of a cleanup rule in slices: list a page, check, collect; at the end apply guards and release.

Nothing is deleted before all ids of a run are collected, since deleting while paging would skip files. If a worker dies
in a slice, another continues at the same page.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from worker.calls import Gate
from worker.cleanup.listing.matching import Excluded, Match, Matcher
from worker.cleanup.listing.paging import PAGE, START, ListingError, step
from worker.cleanup.listing.query import search_base, search_for
from worker.cleanup.rules.file import RulesError, RulesFile
from worker.cleanup.rules.rule import Rule, describe
from worker.cleanup.runs.store import DAY_MS, Ended, Purging, Run, RunStore, request_of
from worker.imagekit.answers import KeyRefused, ListAnswer, Page, Refused, Throttled, Unanswered
from worker.imagekit.urls import endpoint_in
from worker.logs import log_fields
from worker.queue.validation import MAX_REASON, check_purge
from worker.states import RunOutcome
from worker.times import backoff_ms

logger = logging.getLogger("kitsweep.cleanup")

SLICE_SECONDS = 1.0
"""How long a slice lasts; then its thread is free for other work."""
NAP_MS = 300
"""The longest wait for a slot within a slice; a longer one ends the slice."""
PRIORITY = 10
"""Of the purges of a cleanup request: those of other requests, with priorities from 0 to 9, come first."""
MOST_DEATHS = 10
"""A run ends after this many workers in a row died during it: it may be the cause."""


class ListApi(Protocol):
    """The part of the ImageKit client that a run uses."""

    def list_files(self, search: Mapping[str, str], skip: int, limit: int = PAGE) -> ListAnswer:
        """Make one list call."""
        ...


@dataclass
class Cleaner:
    """The parts that a run works with."""

    runs: RunStore
    rules: RulesFile
    gate: Gate
    """Of the list endpoint."""
    api: ListApi
    publish: Callable[[list[str]], None]
    page: int = PAGE


class _NotNowError(Exception):
    """The run cannot continue now; it is due again in `wait_ms`."""

    def __init__(self, wait_ms: int, why: str = "", failures: int = 0) -> None:
        super().__init__(wait_ms, why, failures)
        self.wait_ms, self.why, self.failures = wait_ms, why, failures


class _EndError(Exception):
    """The run ends here, with nothing deleted."""

    def __init__(self, outcome: RunOutcome, why: str) -> None:
        super().__init__(outcome, why)
        self.outcome, self.why = outcome, why


class _LostError(Exception):
    """Another worker has the run."""


def run_slice(cleaner: Cleaner, run_id: str, seconds: float = SLICE_SECONDS) -> int | None:
    """Continue a run for one slice. Returns the ms until it is due again; None if it ended or another worker has it.

    Raises:
        redis.exceptions.RedisError: Redis is unreachable; the run continues when its lease has expired.
    """
    run = cleaner.runs.take(run_id)
    if run is None:
        return None
    try:
        with log_fields(rule=run.rule, run=run_id, request_id=request_of(run_id)):
            ended = _work(cleaner, run, time.monotonic() + seconds)
    except _NotNowError as error:
        cleaner.runs.give_back(run, error.wait_ms, error.why, error.failures)
        return error.wait_ms
    except _EndError as error:
        ended = cleaner.runs.end(run, error.outcome, error.why)
    except _LostError:
        return None
    if ended.outcome is RunOutcome.LOST:
        return None
    _log_end(run, ended)
    if ended.outcome in {RunOutcome.RELEASED, RunOutcome.HELD}:
        cleaner.publish([request_of(run_id)])
    return None


def _work(cleaner: Cleaner, run: Run, until: float) -> Ended:
    rule = _current_rule(cleaner, run)
    while run.cursor is not None:
        run = _read_page(cleaner, run, rule)
        if time.monotonic() > until:
            raise _NotNowError(0)
    return _finish(cleaner, run, rule)


def _current_rule(cleaner: Cleaner, run: Run) -> Rule:
    """Return the current rule of the file: a run continues only while it matches the same files."""
    if run.is_off:
        raise _EndError(RunOutcome.STOPPED, "cleanup was switched off")
    if run.deaths >= MOST_DEATHS:
        raise _EndError(RunOutcome.FAILED, f"{run.deaths} workers in a row died during it; see their logs")
    try:
        rule = cleaner.rules.rules().by_name.get(run.rule)
    except RulesError as error:
        raise _EndError(RunOutcome.FAILED, f"the rules file cannot be used: {error}") from None
    if rule is None:
        raise _EndError(RunOutcome.ABANDONED, f"there is no rule {run.rule} in {cleaner.rules.path} of this worker")
    if rule.fingerprint != run.fingerprint:
        raise _EndError(RunOutcome.ABANDONED, "the rule was changed")
    if not rule.enabled and not run.by_hand:
        raise _EndError(RunOutcome.ABANDONED, "the rule was disabled")
    return rule


def _read_page(cleaner: Cleaner, run: Run, rule: Rule) -> Run:
    cursor = run.cursor or START
    page = _list(cleaner, run, search_for(rule), cursor.skip, cleaner.page)
    try:
        objects, following = step(cursor, page.objects, cleaner.page)
    except ListingError as error:
        raise _EndError(RunOutcome.FAILED, str(error)) from None
    matcher = Matcher(rule, run.started_ms)
    found = [matcher.match(item) for item in objects]
    matches = [each for each in found if isinstance(each, Match)]
    excluded = Counter(each.why for each in found if isinstance(each, Excluded))
    purging = _purging(rule, objects, matches) if rule.purge else None
    state, new = cleaner.runs.add_page(run, reason_of(rule), following, excluded, matches, purging)
    if state == "off":
        raise _EndError(RunOutcome.STOPPED, "cleanup was switched off")
    if state == "gone":
        raise _EndError(RunOutcome.STOPPED, "its request was cancelled")
    if state == "lost":
        raise _LostError
    return replace(run, cursor=following, files=run.files + new, failures=0)


def _purging(rule: Rule, objects: Iterable[Any], matches: Iterable[Match]) -> Purging:
    endpoints = {endpoint for item in objects if (endpoint := endpoint_in(item))}
    return Purging(
        purge=check_purge(rule.purge) or "",
        priority=PRIORITY,
        endpoints=sorted(endpoints),
        urls={file.file_id: file.url for file in matches if file.url},
    )


def reason_of(rule: Rule) -> str:
    """Return the reason that a rule's requests carry."""
    return f"cleanup: {describe(rule)}"[:MAX_REASON]


def _finish(cleaner: Cleaner, run: Run, rule: Rule) -> Ended:
    if rule.dry_run:
        return cleaner.runs.end(run, RunOutcome.DRY_RUN, "the rule says dry_run")
    return cleaner.runs.end(run, "release", "", rule, _beyond_share(cleaner, run, rule))


def _beyond_share(cleaner: Cleaner, run: Run, rule: Rule) -> str:
    """Return why the run exceeds `max_share`; empty if it does not.

    The API returns no totals. But a library has n files if its listing has an n-th object, which takes one call.
    """
    share = rule.guards.max_share
    if not run.files or not 0 < share < 1:
        return ""
    needed = math.ceil(run.files / share - 1e-9)
    if _list(cleaner, run, search_base(rule), needed - 1, 1).objects:
        return ""
    where = rule.path or "the library"
    return f"{run.files} files are more than max_share = {share:g} of {where}, which has fewer than {needed}"


def _list(cleaner: Cleaner, run: Run, search: Mapping[str, str], skip: int, limit: int) -> Page:
    """Make one list call under the limit, or raise how the run continues without it."""
    permit = cleaner.gate.wait(NAP_MS)
    if not permit.granted:
        raise _NotNowError(permit.wait_ms, "waits for a slot", run.failures)
    answer, _ = cleaner.gate.make(permit, lambda: cleaner.api.list_files(search, skip, limit))
    match answer:
        case Page():
            return answer
        case Throttled(meta=meta):
            raise _NotNowError(max(1, meta.reset_ms or 1000), "ImageKit answered 429", run.failures)
        case Refused(message=message):
            raise _EndError(RunOutcome.FAILED, f"ImageKit refuses the search: {message}")
        case KeyRefused(message=message):
            raise _after_failure(cleaner, run, f"ImageKit refuses the private key: {message}")
        case Unanswered(reason=reason):
            raise _after_failure(cleaner, run, f"ImageKit does not answer: {reason}")


def _after_failure(cleaner: Cleaner, run: Run, why: str) -> Exception:
    if cleaner.runs.queue.now_ms() - run.started_ms > DAY_MS:
        return _EndError(RunOutcome.FAILED, f"no page within a day of its start: {why}")
    return _NotNowError(backoff_ms(run.failures + 1), why, run.failures + 1)


def _log_end(run: Run, ended: Ended) -> None:
    request_id = request_of(run.run_id)
    then = {
        RunOutcome.RELEASED: f"request {request_id} is enqueued",
        RunOutcome.HELD: f"decide with `kitsweep cleanup approve|reject {request_id}`",
    }.get(ended.outcome, "nothing is deleted")
    usual = {RunOutcome.RELEASED, RunOutcome.NOTHING, RunOutcome.DRY_RUN}
    logger.log(
        logging.INFO if ended.outcome in usual else logging.WARNING,
        "cleanup run %s: %s%s; %s",
        run.run_id,
        ended.outcome,
        f" ({ended.why})" if ended.why else "",
        then,
        extra={
            "rule": run.rule,
            "run": run.run_id,
            "request_id": request_id,
            "outcome": str(ended.outcome),
            "files": ended.files,
        },
    )
