"""The threads that run batches: how many, for how long, and what becomes of errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.waiting import wait_until
from worker.batch.pipeline import Ran
from worker.runtime import stopping, threads
from worker.runtime.batches import BatchThreads
from worker.runtime.step import MOST_THREADS, WorkStep


@pytest.fixture(autouse=True)
def _no_signal_stays() -> Iterator[None]:
    yield
    stopping._signals.clear()


class Scripted:
    """Batches that do what a test says, given whether to go on."""

    def __init__(self, run: Callable[[Callable[[], bool]], None]) -> None:
        self._run = run
        self.runs = 0

    def run(self, goes_on: Callable[[], bool]) -> Ran:
        self.runs += 1
        self._run(goes_on)
        return Ran.PARTIAL


def threads_for(run: Callable[[Callable[[], bool]], None], size: int = 2) -> tuple[BatchThreads, Any]:
    batches = Scripted(run)
    return BatchThreads(size), cast("Any", batches)


def test_a_thread_is_free_again_when_its_batches_have_ended() -> None:
    """No thread waits for a slot or for work: the dispatcher does."""
    pool, batches = threads_for(lambda _: None)
    pool.start(batches, 1)
    wait_until(lambda: pool.free(batches) == 2)
    assert batches.runs == 1
    pool.join()


def test_running_batches_are_not_free() -> None:
    """Each start takes one thread until its batches end."""
    end = threading.Event()

    def wait(_: Callable[[], bool]) -> None:
        end.wait()

    pool, batches = threads_for(wait, size=3)
    pool.start(batches, 2)
    assert pool.free(batches) == 1
    end.set()
    wait_until(lambda: pool.free(batches) == 3)
    pool.join()


def test_batches_go_on_until_the_worker_is_asked_to_stop() -> None:
    """The one in flight ends, and none follows."""
    told: list[bool] = []

    def run(goes_on: Callable[[], bool]) -> None:
        told.append(goes_on())
        stopping._note()
        told.append(goes_on())

    pool, batches = threads_for(run)
    pool.start(batches, 1)
    pool.join()
    assert told == [True, False]


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), RuntimeError("a bug")])
def test_an_error_is_logged_and_the_thread_lives_on(
    error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its items are claimed again when the lease expires; the next batch may succeed."""
    monkeypatch.setattr(threads, "RETRY_SECONDS", 0.0)

    errors = [error]

    def fail_once(_: Callable[[], bool]) -> None:
        if errors:
            raise errors.pop()

    pool, batches = threads_for(fail_once, size=1)
    pool.start(batches, 1)
    wait_until(lambda: pool.free(batches) == 1)
    pool.start(batches, 1)
    pool.join()
    assert batches.runs == 2
    assert "batch: " in caplog.text
    assert str(error) in caplog.text


@pytest.mark.parametrize(("concurrency", "size"), [(8, 8), (1, 1), (0, 1), (500, MOST_THREADS)])
def test_as_many_threads_as_the_worker_has_places(concurrency: int, size: int) -> None:
    """`-c` says how many batches run at once, up to a bound: each has two connections."""
    worker: Any = SimpleNamespace(app=None, concurrency=concurrency, steps=[])
    batches: Any = Scripted(lambda _: None)
    assert WorkStep(worker)._batches.free(batches) == size
