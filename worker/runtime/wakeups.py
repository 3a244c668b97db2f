"""Sends workers to runs. A message is only a wake-up: it may be lost or doubled without harm."""

from __future__ import annotations

from celery import Celery

from config.celery_settings import queue_names
from worker import account as engine
from worker.cleanup.runs.store import Runs

RUN_TASK = "kitsweep.cleanup_run"


def wake(app: Celery, run_id: str) -> None:
    """Send a worker to one run."""
    queue = queue_names(engine.settings().account).cleanup
    app.send_task(RUN_TASK, [run_id], queue=queue, ignore_result=True, retry=False)


def wake_runs(app: Celery, runs: Runs) -> int:
    """Send workers to all runs that are due; returns how many."""
    due = runs.due()
    for run_id in due:
        wake(app, run_id)
    return len(due)
