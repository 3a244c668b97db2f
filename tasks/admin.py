"""What operators do with an account: pause it, approve requests, read the audit trail, manage cleanup rules.

Every method raises `worker.errors.RedisUnreachable` when Redis does not answer, and those that need the rules file
`worker.cleanup.rules.file.RulesError` when it cannot be used.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from config.settings import Settings
from tasks.accounts import settings_of
from tasks.cleanup_reports import RuleReport, RunReport, run_report
from tasks.client import app_for
from tasks.tokens import TokenAdmin
from worker.account import Account
from worker.cleanup.listing.matching import Match
from worker.cleanup.listing.paging import ListingError
from worker.cleanup.rules.file import RulesError, RulesFile
from worker.cleanup.rules.rule import Rule
from worker.cleanup.runs.dry_run import ListingRefused, Summary, dry_run
from worker.cleanup.runs.store import request_of, run_id_by_hand
from worker.errors import KitsweepError, NotPossible, OwnRequest, UnknownRequest
from worker.identity import whoami
from worker.queue.approvals import Held
from worker.reports.audit import Entry
from worker.states import RunStart
from worker.store.connection import explained
from worker.times import milliseconds

if TYPE_CHECKING:
    from worker.runtime.process import App

__all__ = [
    "Admin",
    "Entry",
    "Held",
    "ListingError",
    "ListingRefused",
    "Match",
    "RuleReport",
    "RulesError",
    "RunReport",
    "Summary",
    "describe_rules",
]

_WHY_NOT_STARTED = {
    RunStart.OFF: "cleanup is off; switch it on with `kitsweep cleanup on`",
    RunStart.BUSY: "it is already running",
    RunStart.UNDECIDED: "the request of an earlier run is still open; see `kitsweep cleanup held`",
}


class UnknownRule(KitsweepError):
    """The rules file has no rule of this name."""

    def __init__(self, name: str, path: str, known: tuple[str, ...]) -> None:
        super().__init__(name, path, known)
        self.name, self.path, self.known = name, path, known

    def __str__(self) -> str:
        return f"no rule {self.name} in {self.path}; there are: {', '.join(self.known) or 'none'}"


def describe_rules(path: Path) -> list[str]:
    """Check a rules file, and describe each rule. Raises `RulesError`, and `OSError` if there is no file."""
    path.stat()
    return [f"{rule}; {rule.schedule}" for rule in RulesFile(path).rules().by_name.values()]


class Admin:
    """The operator's view of one account. `by` is who decides, for the audit trail; default: user@host."""

    def __init__(self, settings: Settings | None = None, account: str | None = None) -> None:
        """Use an account of the accounts file, by default that of the environment. Raises `InvalidRequest`."""
        self._settings = settings_of(settings, account)
        self._account = Account(self._settings)
        self._queue, self._runs, self._rules = self._account.queue, self._account.runs, self._account.rules

    @cached_property
    def tokens(self) -> TokenAdmin:
        """The tokens of HTTP callers."""
        return TokenAdmin(self._account)

    # The account

    def pause(self, reason: str | None = None, by: str | None = None) -> None:
        """Pause all calls of the account, on all workers, until `resume`."""
        with explained(self._settings):
            self._account.limiter.pause(reason or "", by)

    def resume(self, by: str | None = None) -> None:
        """Allow calls again, also after an outage or a refused key."""
        with explained(self._settings):
            self._account.limiter.resume(by)

    # Approvals

    def held(self) -> list[Held]:
        """Return the requests that wait for approval, the oldest first."""
        with explained(self._settings):
            return self._account.approvals.waiting()

    def held_file_ids(self, request_id: str, most: int | None = None) -> list[str]:
        """Return the file ids of a request that waits for approval, all or the first. Raises `NotPossible`."""
        if request_id not in {each.request_id for each in self.held()}:
            raise NotPossible(f"request {request_id} does not wait for approval")
        with explained(self._settings):
            return self._account.approvals.file_ids(request_id, most)

    def approve(self, request_id: str, by: str | None = None, reason: str | None = None) -> None:
        """Approve a request. Raises `UnknownRequest`, `NotPossible`, and `OwnRequest` if `by` enqueued it."""
        with explained(self._settings):
            self._decided(request_id, self._account.approvals.approve(request_id, by, reason), "approved")

    def reject(self, request_id: str, by: str | None = None, reason: str | None = None) -> None:
        """Reject a request, which cancels it. Raises `UnknownRequest` and `NotPossible`."""
        with explained(self._settings):
            self._decided(request_id, self._account.approvals.reject(request_id, by, reason), "rejected")

    def _decided(self, request_id: str, answer: str, wanted: str) -> None:
        if answer == "unknown":
            raise UnknownRequest(request_id)
        if answer == "own":
            raise OwnRequest(request_id)
        if answer != wanted:
            how = "does not wait for approval" if answer == "not_held" else f"was {answer} before"
            raise NotPossible(f"request {request_id} {how}")
        self._app.publisher.publish([request_id])

    # The audit trail

    def audit_page(self, since: datetime, until: datetime, most: int, after: str | None = None) -> list[Entry]:
        """Return up to `most` audit entries from one moment to another, oldest first, after the entry with an id.

        Raises `InvalidRequest` if `after` is no such id.
        """
        with explained(self._settings):
            return self._account.audit.page(milliseconds(since), milliseconds(until), most, after)

    def audit(self, since: datetime | timedelta) -> Iterator[Entry]:
        """Yield the audit entries since a time, or of a duration up to now, oldest first, in constant memory."""
        with explained(self._settings):
            if isinstance(since, timedelta):
                since_ms = self._queue.now_ms() - since // timedelta(milliseconds=1)
            else:
                since_ms = int(since.timestamp() * 1000)
            yield from self._account.audit.entries(since_ms)

    def audit_newest(self, since: datetime, until: datetime, after: str | None = None) -> Iterator[Entry]:
        """Yield the audit entries from one moment to another, newest first, after the entry with an id.

        Raises `InvalidRequest` if `after` is no such id.
        """
        with explained(self._settings):
            yield from self._account.audit.newest(milliseconds(since), milliseconds(until), after)

    # Cleanup

    def off_by(self) -> str | None:
        """Return who switched cleanup off; None while it is on."""
        with explained(self._settings):
            off = self._runs.off_since()
        return off[0] if off else None

    def switch_cleanup(self, *, on: bool, by: str | None = None) -> None:
        """Switch all rules on or off. Off also stops runs, at their next page."""
        with explained(self._settings):
            self._runs.switch(on=on, by=by or whoami())

    def rules(self) -> list[RuleReport]:
        """Return all rules, in the order of their file."""
        rules = self._rules.rules().by_name.values()
        with explained(self._settings):
            now = datetime.fromtimestamp(self._queue.now_ms() / 1000, UTC)
            return [self._rule_report(rule, now) for rule in rules]

    def history(self, rule: str) -> list[RunReport]:
        """Return the last runs of a rule, the newest first; empty for a rule that has never run."""
        with explained(self._settings):
            return self._run_reports(self._runs.rule_state(rule).history)

    def dry_run(self, rule: str, summary: Summary) -> Iterator[Match]:
        """Yield every file that the rule would delete now, and count it in `summary`. Deletes nothing.

        Raises:
            UnknownRule: there is no such rule.
            worker.cleanup.runs.dry_run.ListingRefused: ImageKit refuses the search or the key, or does not answer.
        """
        with explained(self._settings):
            yield from dry_run(self._account.cleaner, self._rule(rule), summary)

    def in_words(self, rule: str) -> str:
        """Describe a rule. Raises `UnknownRule`."""
        return str(self._rule(rule))

    def start_run(self, rule: str, by: str | None = None) -> tuple[str, str]:
        """Start a run now, under all guards of the rule; return the ids of the run and of its request.

        Raises:
            UnknownRule: there is no such rule.
            NotPossible: cleanup is off, or an earlier run or its request is still open.
        """
        run_id = run_id_by_hand(rule, datetime.now(UTC))
        with explained(self._settings):
            answer = self._runs.start(self._rule(rule), run_id, by or whoami(), None)
            if answer is not RunStart.STARTED:
                raise NotPossible(f"rule {rule} cannot start: {_WHY_NOT_STARTED.get(answer, answer)}")
        return run_id, request_of(run_id)

    # Files

    def gone(self, file_ids: Iterable[str]) -> set[str]:
        """Return those of the file ids that a recent call of this account has deleted."""
        with explained(self._settings):
            return self._queue.gone(list(file_ids))

    def _rule(self, name: str) -> Rule:
        rules = self._rules.rules().by_name
        if name not in rules:
            raise UnknownRule(name, str(self._rules.path), tuple(rules))
        return rules[name]

    def _rule_report(self, rule: Rule, now: datetime) -> RuleReport:
        state = self._runs.rule_state(rule.name, most=1)
        return {
            "name": rule.name,
            "next": rule.schedule.next_after(now).isoformat() if rule.enabled else None,
            "last": next(iter(self._run_reports(state.history)), None),
            "usual": statistics.median(state.sizes) if state.sizes else None,
            "means": str(rule).removeprefix(f"{rule.name}: "),
        }

    def _run_reports(self, run_ids: Iterable[str]) -> list[RunReport]:
        return [run_report(run_id, self._runs.read(run_id)) for run_id in run_ids]

    @cached_property
    def _app(self) -> App:
        return app_for(self._settings, self._account.redis)
