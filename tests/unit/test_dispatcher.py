"""The dispatcher's decisions: when a batch is worth a start, how many, and who is alive."""

from __future__ import annotations

import time

import pytest
from redis import Redis

import worker.runtime.dispatcher
from tests.unit.support_queue import must_claim, queue_on, raw, settings_for_tests
from tests.unit.support_web import beat
from tests.waiting import wait_until
from worker.calls import HORIZON_MS
from worker.queue.operations import NewRequest, Work
from worker.queue.submitting import Submission, submit
from worker.runtime.batches import BatchThreads
from worker.runtime.dispatcher import (
    BUSY_TICK_SECONDS,
    Dispatcher,
    FillWait,
    Room,
    batches_to_start,
    send_heartbeat,
)
from worker.runtime.process import App, create_app
from worker.runtime.wakeups import Wakeups


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def limits(*, pause_ms: int = 0, slots: int = 64) -> Room:
    return Room(pause_ms, slots)


@pytest.mark.parametrize(
    ("work", "worth"),
    [
        (Work(0, 0), 0),
        (Work(100, 0), 1),
        (Work(350, 0), 3),
        (Work(0, 2), 2),
        (Work(250, 2), 4),
    ],
)
def test_full_batches_and_due_groups_go_at_once(work: Work, worth: int) -> None:
    """A full batch does not wait."""
    assert FillWait(0.2, Clock()).worth(work, 100) == worth


def test_a_partial_batch_waits_to_fill() -> None:
    """It goes when its time is over, and the next one waits anew."""
    clock = Clock()
    window = FillWait(0.2, clock)
    some = Work(3, 0)
    assert window.worth(some, 100) == 0
    clock.now += 0.19
    assert window.worth(some, 100) == 0
    clock.now += 0.02
    assert window.worth(some, 100) == 1
    assert window.worth(some, 100) == 0


def test_waiting_starts_anew_when_there_was_nothing_in_between() -> None:
    """An old wait is no reason to send a single new id at once."""
    clock = Clock()
    window = FillWait(0.2, clock)
    window.worth(Work(3, 0), 100)
    clock.now += 0.1
    window.worth(Work(0, 0), 100)
    clock.now += 0.15
    assert window.worth(Work(1, 0), 100) == 0


def test_without_a_window_nothing_waits() -> None:
    """`KITSWEEP_BATCH_WINDOW_SECONDS=0` sends single ids at once."""
    assert FillWait(0, Clock()).worth(Work(1, 0), 100) == 1


@pytest.mark.parametrize(
    ("worth", "free", "slots", "started"),
    [(5, 3, 64, 3), (5, 8, 2, 2), (1, 8, 64, 1), (0, 5, 5, 0), (3, 3, 0, 0)],
)
def test_no_more_batches_start_than_work_threads_and_slots(worth: int, free: int, slots: int, started: int) -> None:
    """The least of work, free threads and slots in sight: no thread waits for a slot that it cannot have soon."""
    assert batches_to_start(worth, free, limits(slots=slots)) == started


def test_a_pause_starts_nothing_but_its_very_end_does() -> None:
    """No thread waits while a pause lasts."""
    assert batches_to_start(5, 5, limits(pause_ms=HORIZON_MS + 1)) == 0
    assert batches_to_start(5, 5, limits(pause_ms=HORIZON_MS, slots=1)) == 1


def test_heartbeats_are_recorded_and_dead_workers_are_removed(redis_client: Redis) -> None:
    """Each worker notes that it lives; names of long ago go away."""
    queue = queue_on(redis_client)
    raw(queue).zadd(queue.keys("workers"), {"old": queue.now_ms() - 2 * 3_600_000})
    send_heartbeat(queue, "new")
    send_heartbeat(queue, "new")
    assert raw(queue).zrange(queue.keys("workers"), 0, -1) == ["new"]
    assert abs(raw(queue).zscore(queue.keys("workers"), "new") - queue.now_ms()) < 5000


def dispatcher_of(app: App, started: list[int], monkeypatch: pytest.MonkeyPatch) -> Dispatcher:
    """Return a dispatcher that adds the number of batches that it starts to a list."""
    threads = BatchThreads(1)
    monkeypatch.setattr(threads, "start", lambda _, count: started.append(count))
    return Dispatcher(app, "w", threads)


def test_ticks_are_short_after_a_batch_was_started(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that waited for it enqueue again at once, and their next batch does not wait for a long tick."""
    queue = queue_on(redis_client, batch_window_seconds=0)
    app = create_app(settings_for_tests(batch_window_seconds=0), redis_client)
    started: list[int] = []
    dispatcher = dispatcher_of(app, started, monkeypatch)
    assert (dispatcher.tick(), started) == (0, [])
    queue.enqueue(NewRequest("r", "shop"), ["a"])
    assert (dispatcher.tick(), started) == (BUSY_TICK_SECONDS, [1])
    monkeypatch.setattr(worker.runtime.dispatcher, "BUSY_SECONDS", 0)
    queue.cancel("r")
    wait_until(lambda: dispatcher.tick() == 0)
    assert started == [1]


def test_a_partial_batch_starts_when_its_window_ends(redis_client: Redis) -> None:
    """The pause before the next tick is not longer than what is left of the window."""
    clock = Clock()
    window = FillWait(0.2, clock)
    assert window.left() is None
    window.worth(Work(3, 0), 100)
    clock.now += 0.15
    assert window.left() == pytest.approx(0.05)
    clock.now += 1
    assert window.left() == 0


def test_a_submission_wakes_the_dispatcher(redis_client: Redis) -> None:
    """A caller that waits does not wait for the end of a pause."""
    queue = queue_on(redis_client)
    beat(queue)
    wakeups = Wakeups(queue.redis)
    wakeups.listen({queue.keys("enqueued")})
    assert wakeups.wait(0.01) == {}
    submit(queue, [Submission(NewRequest("r", "shop"), ["a"])], join_ms=1000, alive_ms=10_000)
    started = time.monotonic()
    assert wakeups.wait(30) == {queue.keys("enqueued"): False}
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("in_flight", [False, True])
def test_a_partial_batch_starts_once_all_callers_wait(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, *, in_flight: bool
) -> None:
    """Its window does not matter then, unless the callers of a batch in flight will be back soon."""
    app = create_app(settings_for_tests(batch_window_seconds=60), redis_client)
    queue, started = app.account.queue, list[int]()
    dispatcher = dispatcher_of(app, started, monkeypatch)
    dispatcher.tick()
    if in_flight:
        queue.enqueue(NewRequest("other", "shop"), ["b"])
        must_claim(queue, "t")
    last = Submission(NewRequest("r", "shop"), ["a"], is_last=True)
    submit(queue, [Submission(NewRequest("q", "shop"), ["c"])], join_ms=1000, alive_ms=10_000)
    dispatcher.tick()
    assert started == []
    submit(queue, [last], join_ms=1000, alive_ms=10_000)
    dispatcher.tick()
    dispatcher.tick()
    assert started == ([] if in_flight else [1])
