"""The application without the intake, as it was before there was one: Celery takes the messages of all queues.

Run as `celery -A tests.chaos.previous_app worker`.
"""

from __future__ import annotations

from worker.app import app
from worker.runtime.intake import IntakeStep

__all__ = ["app"]

app.steps["worker"].discard(IntakeStep)
app.conf.task_queues = tuple(queue for queue in app.conf.task_queues if "unusual" not in queue.name)
