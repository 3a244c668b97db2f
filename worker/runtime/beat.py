"""Beat: `celery -A worker.app beat` with the rules as its schedule, and Redis as its only memory.

Several may run: starting a run is one atomic step per rule and due time, so it does not matter who takes it. There is
no leader, no lock and no schedule file; a beat that dies is missed by nobody.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from celery.beat import Scheduler
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.cleanup.rules.file import RulesError
from worker.cleanup.rules.rule import Rule
from worker.cleanup.runs.store import Runs, run_id_of
from worker.identity import whoami
from worker.runtime.process import App
from worker.runtime.wakeups import wake_runs

logger = logging.getLogger("kitsweep.cleanup")

TICK_SECONDS = 1.0
LATE_SECONDS = 300
"""A run that starts later than this counts as missed; the rule says whether it is made up for."""


def start_due(runs: Runs, rules: list[Rule], by: str) -> list[str]:
    """Start what is due now, on the clock of Redis; returns the ids of the runs that this call started."""
    now = datetime.fromtimestamp(runs.queue.now_ms() / 1000, UTC)
    started = []
    for rule in rules:
        due = rule.schedule.last_until(now)
        run_id = run_id_of(rule.name, due)
        verdict = runs.start(rule, run_id, by, due, None if rule.catch_up else LATE_SECONDS * 1000)
        if verdict == "started":
            logger.info("cleanup run %s starts", run_id)
            started.append(run_id)
        elif verdict not in {"nothing", "first"}:
            logger.warning("cleanup run %s is skipped: %s", run_id, verdict)
    return started


class CleanupScheduler(Scheduler):
    """The scheduler class of beat; Celery makes one and calls `tick` again and again."""

    app: App

    def __init__(self, app: App, *args: Any, **kwargs: Any) -> None:
        self._file = app.account.rules
        self._told = ""
        super().__init__(app, *args, **kwargs)
        self.schedule: dict[str, Any] = {}

    def setup_schedule(self) -> None:
        """Check the rules: beat does not start with a file that cannot be used."""
        try:
            rules = self._file.rules()
        except RulesError as error:
            sys.exit(f"kitsweep: the cleanup rules cannot be used:\n{error}")
        logger.info("%d cleanup rules in %s", len(rules.by_name), self._file.path)

    def tick(self, *_: Any, **__: Any) -> float:
        """Start what is due and look after what is under way; returns the seconds until the next tick."""
        try:
            self._tick()
        except (RedisError, OperationalError, OSError) as error:
            self._tell(f"beat waits for Redis: {error}")
        except Exception:
            logger.exception("beat stumbled; it goes on")
        else:
            self._told = ""
        return TICK_SECONDS

    def _tick(self) -> None:
        try:
            rules = list(self._file.rules().by_name.values())
        except RulesError as error:
            self._tell(f"no cleanup starts until the rules are mended:\n{error}")
        else:
            start_due(self.app.account.runs, rules, f"beat {whoami()}")
        wake_runs(self.app)
        self.app.account.audit.trim_now_and_then()

    def _tell(self, text: str) -> None:
        if text != self._told:
            logger.error("%s", text)
        self._told = text

    @property
    def info(self) -> str:
        """Say what beat shows at its start."""
        return f"    . rules -> {self._file.path}"
