"""The systems that are measured side by side: Kitsweep, celery-batches and plain Celery, each called by task name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from celery import Celery


class System(NamedTuple):
    """One way to delete files that other services name one at a time."""

    name: str
    app: str
    """For `celery -A`."""
    task: str
    queue: str


KITSWEEP = System("Kitsweep", "worker.app", "kitsweep.delete_files", "celery")
BATCHES = System("celery-batches 0.11", "benchmarks.batching", "benchmarks.batching.delete_one", "batching")
PLAIN = System("plain Celery, a task per id", "benchmarks.baselines", "benchmarks.baselines.delete_one", "plain")


@contextmanager
def producer(url: str) -> Iterator[Celery]:
    """Open an application that sends tasks by name, as another service does."""
    app = Celery(broker=url, backend=url, set_as_current=False)
    try:
        yield app
    finally:
        app.close()
