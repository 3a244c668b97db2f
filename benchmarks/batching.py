"""The alternative for requests of one id: celery-batches 0.11, which gathers messages into full calls.

Run as `celery -A benchmarks.batching worker`. celery-batches asks for a Celery below 5.7 and works with 5.7, so that
`make bench` installs it without its dependencies.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, states
from celery_batches import Batches  # type: ignore[import-untyped,import-not-found,unused-ignore]

from benchmarks.baselines import delete

app = Celery("batching", broker=os.environ.get("KITSWEEP_REDIS_URL"), backend=os.environ.get("KITSWEEP_REDIS_URL"))
app.conf.update(
    worker_pool="threads",
    worker_concurrency=8,
    # As its documentation recommends, so that every thread gathers full batches.
    worker_prefetch_multiplier=100,
    task_default_queue="batching",
    worker_log_color=False,
)


@app.task(base=Batches, flush_every=100, flush_interval=0.2)
def delete_one(requests: list[Any]) -> None:
    """Delete the files of up to 100 messages with one call, and store the result of each."""
    delete(os.environ["IMAGE_KIT_BASE_URL"], [request.args[0][0] for request in requests])
    for request in requests:
        app.backend.store_result(request.id, {"deleted": 1}, states.SUCCESS)
