"""Requests of one id each, sent by task name before any worker runs: how fast they are accepted, and done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from celery import Celery

from benchmarks.measures import Row
from benchmarks.stand import Stand, file_ids, wait_until
from tasks.admin import Admin

RESULTS = "celery-task-meta-*"
PLAIN_SHARE = 8
"""Plain Celery gets this part of the messages: it takes a minute for ten thousand."""


def measure_messages(stand: Stand, count: int) -> list[Row]:
    """Count messages a second, from the first worker's start to the last result, and to the last acceptance."""
    accepted = _rate(stand, count, "worker.app", "kitsweep.delete_files", "celery", _all_accepted, paused=True)
    done = _rate(stand, count, "worker.app", "kitsweep.delete_files", "celery", _all_done)
    batches = _rate(stand, count, "benchmarks.batching", "benchmarks.batching.delete_one", "batching", _all_results)
    few = count // PLAIN_SHARE
    plain = _rate(stand, few, "benchmarks.baselines", "benchmarks.baselines.delete_one", "plain", _all_results)
    what = f"requests of one id by name ({count:,} sent before two workers start), to the last"
    return [
        Row(f"{what} published result", f"{done:,.0f} a second = {done / batches:.1f} of celery-batches", "3"),
        Row(f"{what} accepted", f"{accepted:,.0f} a second = {accepted / batches:.1f} of celery-batches", "10"),
        Row(f"{what} result: celery-batches 0.11, calls of 100 ids", f"{batches:,.0f} a second"),
        Row(f"{what} result: plain Celery, a task per id ({few:,} of them)", f"{plain:,.0f} a second"),
    ]


def _rate(
    stand: Stand,
    count: int,
    app: str,
    task: str,
    queue: str,
    is_done: Callable[[Stand, int], bool],
    *,
    paused: bool = False,
) -> float:
    with stand.running(count, workers=0) as simulator:
        if paused:
            Admin().pause("only accept")
        _send(stand.url, task, queue, file_ids(count))
        started = time.monotonic()
        with stand.workers(simulator, app=app):
            wait_until(lambda: is_done(stand, count), 600)
            seconds = time.monotonic() - started
        if not paused and (left := simulator.remaining()):
            raise RuntimeError(f"{len(left)} files are left")
    return count / seconds


def _send(url: str, task: str, queue: str, ids: list[str]) -> None:
    app = Celery(broker=url, backend=url, set_as_current=False)
    with app.producer_pool.acquire(block=True) as acquired:
        producer: Any = acquired
        with producer.batch(max_size=500):
            for file_id in ids:
                app.send_task(task, [[file_id]], queue=queue, producer=producer)
    app.close()


def _all_accepted(stand: Stand, count: int) -> bool:  # noqa: ARG001 - one form for all
    return stand.client.stats()["unaccepted"] == 0


def _all_done(stand: Stand, count: int) -> bool:
    return stand.drained() and stand.client.stats()["ended"]["deleted"] == count


def _all_results(stand: Stand, count: int) -> bool:
    return int(stand.redis.dbsize()) > count and sum(1 for _ in stand.redis.scan_iter(RESULTS, 10_000)) == count
