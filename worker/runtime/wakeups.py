"""Sends workers to runs. A message is only a wake-up: it may be lost or doubled without harm."""

from __future__ import annotations

from worker.runtime.celery_settings import queue_names
from worker.runtime.process import App

RUN_TASK = "kitsweep.cleanup_run"


def wake(app: App, run_id: str) -> None:
    """Send a worker to one run."""
    queue = queue_names(app.account.settings.account).cleanup
    app.send_task(RUN_TASK, [run_id], queue=queue, ignore_result=True, retry=False)


def wake_runs(app: App) -> int:
    """Send workers to all runs that are due; returns how many."""
    due = app.account.runs.due()
    for run_id in due:
        wake(app, run_id)
    return len(due)
