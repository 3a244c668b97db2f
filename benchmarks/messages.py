"""Requests of one id each, sent by task name before any worker runs: how fast they are accepted, and done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.measures import Row
from benchmarks.stand import Stand, file_ids, report_progress, wait_until
from benchmarks.systems import BATCHES, KITSWEEP, PLAIN, System, producer
from tasks.admin import Admin

RESULTS = "celery-task-meta-*"
PLAIN_SHARE = 8
"""Plain Celery gets this part of the messages: it takes a minute for ten thousand."""


def measure_messages(stand: Stand, count: int) -> list[Row]:
    """Count messages a second, from the first worker's start to the last result, and to the last acceptance."""
    accepted = _rate(stand, count, KITSWEEP, _all_accepted, paused=True)
    done = _rate(stand, count, KITSWEEP, all_done)
    batches = _rate(stand, count, BATCHES, _all_results)
    few = count // PLAIN_SHARE
    plain = _rate(stand, few, PLAIN, _all_results)
    what = f"requests of one id by name ({count:,} sent before two workers start), to the last"
    return [
        Row(f"{what} published result", f"{done:,.0f} a second = {done / batches:.1f} of celery-batches", "3"),
        Row(f"{what} accepted", f"{accepted:,.0f} a second = {accepted / batches:.1f} of celery-batches", "10"),
        Row(f"{what} result: {BATCHES.name}, calls of 100 ids", f"{batches:,.0f} a second"),
        Row(f"{what} result: {PLAIN.name} ({few:,} of them)", f"{plain:,.0f} a second"),
    ]


def _rate(
    stand: Stand, count: int, system: System, is_done: Callable[[Stand, int], bool], *, paused: bool = False
) -> float:
    with stand.running(count, workers=0) as simulator:
        if paused:
            Admin().pause("only accept")
        send_by_name(stand.url, system, file_ids(count))
        started = time.monotonic()
        with stand.workers(simulator, app=system.app):
            wait_until(lambda: is_done(stand, count), 600)
            seconds = time.monotonic() - started
        if not paused and (left := simulator.remaining()):
            raise RuntimeError(f"{len(left)} files are left")
    report_progress(f"{count:,} messages, {system.name}: {count / seconds:,.0f} a second")
    return count / seconds


def send_by_name(url: str, system: System, ids: Sequence[str]) -> None:
    """Send a message of one id for each id."""
    with producer(url) as app, app.producer_pool.acquire(block=True) as acquired:
        sender: Any = acquired
        with sender.batch(max_size=500):
            for file_id in ids:
                app.send_task(system.task, [[file_id]], queue=system.queue, producer=sender)


def _all_accepted(stand: Stand, count: int) -> bool:  # noqa: ARG001 - one form for all
    return stand.client.stats()["unaccepted"] == 0


def all_done(stand: Stand, count: int) -> bool:
    """Return whether so many files are deleted and all results are published."""
    return stand.drained() and stand.client.stats()["ended"]["deleted"] == count


def _all_results(stand: Stand, count: int) -> bool:
    return int(stand.redis.dbsize()) > count and sum(1 for _ in stand.redis.scan_iter(RESULTS, 10_000)) == count
