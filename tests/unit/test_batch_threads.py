"""The threads that run batches: how many, for how long, and what becomes of errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.waiting import wait_until
from worker.batch.pipeline import Batches, Ran
from worker.runtime import stopping, threads
from worker.runtime.batches import BatchThreads
from worker.runtime.step import MOST_THREADS, WorkStep


@pytest.fixture(autouse=True)
def _no_signal_stays() -> Iterator[None]:
    yield
    stopping._signals.clear()


class Scripted:
    """Batches that end as a test says."""

    batch_size = 100

    def __init__(self, run: Callable[[int], Ran]) -> None:
        self._run = run
        self.asked: list[int] = []
        """The `fewest` of each batch."""

    def run(self, fewest: int = 1) -> Ran:
        self.asked.append(fewest)
        return self._run(len(self.asked))


def threads_for(run: Callable[[int], Ran], size: int = 2) -> tuple[BatchThreads, Scripted]:
    batches = Scripted(run)
    return BatchThreads(cast("Batches", batches), size), batches


def test_a_thread_goes_on_while_batches_are_full() -> None:
    """After the first, only a full batch is worth a call: the dispatcher decides about the rest."""
    pool, batches = threads_for(lambda number: Ran.FULL if number < 4 else Ran.PARTIAL)
    pool.start(1)
    pool.join()
    assert batches.asked == [1, 100, 100, 100]


@pytest.mark.parametrize("ran", [Ran.PARTIAL, Ran.NO_WORK, Ran.NO_SLOT])
def test_a_thread_is_free_again_when_there_is_no_slot_or_no_full_batch(ran: Ran) -> None:
    """No thread waits for a slot or for work."""
    pool, batches = threads_for(lambda _: ran)
    pool.start(1)
    wait_until(lambda: pool.free() == 2)
    assert batches.asked == [1]
    pool.join()


def test_running_batches_are_not_free() -> None:
    """Each start takes one thread until its batches end."""
    end = threading.Event()

    def wait(_: int) -> Ran:
        end.wait()
        return Ran.PARTIAL

    pool, _ = threads_for(wait, size=3)
    pool.start(2)
    assert pool.free() == 1
    end.set()
    wait_until(lambda: pool.free() == 3)
    pool.join()


def test_no_batch_follows_once_the_worker_stops() -> None:
    """The batch in flight ends, although more work waits."""

    def stop_meanwhile(_: int) -> Ran:
        stopping._note()
        return Ran.FULL

    pool, batches = threads_for(stop_meanwhile)
    pool.start(1)
    pool.join()
    assert batches.asked == [1]


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), RuntimeError("a bug")])
def test_an_error_is_logged_and_the_thread_lives_on(
    error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its items are claimed again when the lease expires; the next batch may succeed."""
    monkeypatch.setattr(threads, "RETRY_SECONDS", 0.0)

    def fail_once(number: int) -> Ran:
        if number == 1:
            raise error
        return Ran.PARTIAL

    pool, batches = threads_for(fail_once, size=1)
    pool.start(1)
    wait_until(lambda: pool.free() == 1)
    pool.start(1)
    pool.join()
    assert len(batches.asked) == 2
    assert "batch: " in caplog.text
    assert str(error) in caplog.text


@pytest.mark.parametrize(("concurrency", "size"), [(8, 8), (1, 1), (0, 1), (500, MOST_THREADS)])
def test_as_many_threads_as_the_worker_has_places(concurrency: int, size: int) -> None:
    """`-c` says how many batches run at once, up to a bound: each has two connections."""
    app = SimpleNamespace(account=SimpleNamespace(batches=Scripted(lambda _: Ran.PARTIAL)))
    worker: Any = SimpleNamespace(app=app, concurrency=concurrency, steps=[])
    assert WorkStep(worker)._batches.free() == size
