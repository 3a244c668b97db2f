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
        run_id = run_id_of(rule.name, due)
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
        self._file = app.account.rules
        self._told = ""
        super().__init__(app, *args, **kwargs)
        self.schedule: dict[str, Any] = {}

    def setup_schedule(self) -> None:
        """Check the rules: beat refuses to start with an invalid file."""
        try:
            rules = self._file.rules()
        except RulesError as error:
            sys.exit(f"kitsweep: invalid cleanup rules:\n{error}")
        fields = {"rules": len(rules.by_name)}
        logger.info("loaded %d cleanup rules from %s", len(rules.by_name), self._file.path, extra=fields)

    def tick(self, *_: Any, **__: Any) -> float:
        """Start due runs, which the workers carry out; return the seconds until the next tick."""
        try:
            self._tick()
        except (RedisError, OperationalError, OSError) as error:
            self._tell(f"beat: Redis is unavailable, retrying in {TICK_SECONDS:g} s: {error}")
        except Exception:
            logger.exception("beat: unexpected error, continuing")
        else:
            self._told = ""
        return TICK_SECONDS

    def _tick(self) -> None:
        try:
            rules = list(self._file.rules().by_name.values())
        except RulesError as error:
            self._tell(f"no cleanup run starts until the rules are fixed:\n{error}")
        else:
            start_due(self.app.account.runs, rules, f"beat {whoami()}")
        self.app.account.audit.trim_now_and_then()

    def _tell(self, text: str) -> None:
        if text != self._told:
            logger.error("%s", text)
        self._told = text

    @property
    def info(self) -> str:
        """Return the line that beat prints when it starts."""
        return f"    . rules -> {self._file.path}"
