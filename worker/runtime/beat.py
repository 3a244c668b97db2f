"""Beat: `celery -A worker.app beat` starts cleanup runs by the schedules of the rules. Its only state is in Redis.

Several may run side by side: starting a run is one atomic step per rule and due time. There is no leader, no lock and
no schedule file.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from celery.beat import Scheduler
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.account import Account
from worker.cleanup.rules.file import RulesError
from worker.cleanup.rules.rule import Rule
from worker.cleanup.runs.store import RunStore, run_id_of
from worker.identity import whoami
from worker.runtime.process import App
from worker.states import RunStart

logger = logging.getLogger("kitsweep.cleanup")

TICK_SECONDS = 1.0
LATE_SECONDS = 300
"""A run that would start later than this is missed, if its rule says `missed = "skip"`."""


def start_due(runs: RunStore, rules: list[Rule], by: str) -> list[str]:
    """Start the runs that are due by Redis' clock; return the ids of those that this call started."""
    now = datetime.fromtimestamp(runs.queue.now_ms() / 1000, UTC)
    started = []
    for rule in rules:
        due = rule.schedule.last_until(now)
        run_id = run_id_of(rule.name, due, runs.suffix)
        start = runs.start(rule, run_id, by, due, None if rule.missed == "once" else LATE_SECONDS * 1000)
        fields = {"rule": rule.name, "run": run_id, "source": f"cleanup:{rule.name}"}
        if start is RunStart.STARTED:
            logger.info("cleanup run %s started, listing its files next", run_id, extra=fields)
            started.append(run_id)
        elif start not in {RunStart.NOTHING, RunStart.FIRST}:
            logger.warning(
                "cleanup run %s skipped (%s); the rule runs at its next due time", run_id, start, extra=fields
            )
    return started


class CleanupScheduler(Scheduler):
    """Celery creates one per beat process and calls `tick` repeatedly."""

    app: App

    def __init__(self, app: App, *args: Any, **kwargs: Any) -> None:
        self._told: dict[str, str] = {}
        super().__init__(app, *args, **kwargs)
        self.schedule: dict[str, Any] = {}

    def setup_schedule(self) -> None:
        """Check the rules: beat refuses to start with an invalid file."""
        for account in self.app.accounts.served().values():
            try:
                rules = account.rules.rules()
            except RulesError as error:
                sys.exit(f"kitsweep: invalid cleanup rules:\n{error}")
            fields = {"rules": len(rules.by_name), "account": account.settings.account}
            logger.info("loaded %d cleanup rules from %s", len(rules.by_name), account.rules.path, extra=fields)

    def tick(self, *_: Any, **__: Any) -> float:
        """Start due runs, which the workers carry out; return the seconds until the next tick."""
        self.app.accounts.refresh()
        for name, account in self.app.accounts.served().items():
            self._guarded_tick(name, account)
        return TICK_SECONDS

    def _guarded_tick(self, name: str, account: Account) -> None:
        try:
            self._tick(name, account)
        except (RedisError, OperationalError, OSError) as error:
            self._tell(name, f"beat: Redis is unavailable, retrying in {TICK_SECONDS:g} s: {error}")
        except Exception:
            logger.exception("beat: unexpected error, continuing")
        else:
            self._told.pop(name, None)

    def _tick(self, name: str, account: Account) -> None:
        try:
            rules = list(account.rules.rules().by_name.values())
        except RulesError as error:
            self._tell(name, f"no cleanup run starts until the rules are fixed:\n{error}")
        else:
            start_due(account.runs, rules, f"beat {whoami()}")
        account.audit.trim_now_and_then()

    def _tell(self, name: str, text: str) -> None:
        if text != self._told.get(name):
            logger.error("%s", text)
        self._told[name] = text

    @property
    def info(self) -> str:
        """Return the line that beat prints when it starts."""
        paths = [str(account.rules.path) for account in self.app.accounts.served().values()]
        return f"    . rules -> {', '.join(paths)}"
