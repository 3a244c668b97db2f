"""The Celery task of the periodic cleanup."""

from __future__ import annotations

from celery.exceptions import Ignore
from redis.exceptions import RedisError

from worker import engine
from worker.app import app
from worker.cleanup.running import run_slice
from worker.cleanup.waking import RUN_TASK, wake


@app.task(name=RUN_TASK, ignore_result=True, acks_late=True)
def cleanup_run(run_id: str) -> None:
    """Carry a run of a cleanup rule on for a second; what is left goes on in another message."""
    try:
        if run_slice(engine.cleaner(), run_id):
            wake(app, run_id)
    except RedisError as error:
        # The lease runs out, and then a beat or a worker sends somebody again.
        raise Ignore(f"Redis is away: {type(error).__name__}") from None
