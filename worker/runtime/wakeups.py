"""Wakes workers for cleanup runs. A message is only a wake-up: it may be lost or duplicated without harm."""

from __future__ import annotations

from config.queue_names import queue_names
from worker.runtime.process import App

RUN_TASK = "kitsweep.cleanup_run"


def wake(app: App, run_id: str) -> None:
    """Wake a worker for one run."""
    queue = queue_names(app.account.settings.account).cleanup
    app.send_task(RUN_TASK, [run_id], queue=queue, ignore_result=True, retry=False)


def wake_runs(app: App) -> int:
    """Wake workers for all due runs; return how many."""
    due = app.account.runs.due()
    for run_id in due:
        wake(app, run_id)
    return len(due)
