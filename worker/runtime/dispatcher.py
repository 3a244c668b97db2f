"""The dispatcher: one thread per worker that starts batches, sends heartbeats, and publishes unpublished results.

It looks at the queue of an account 25 times a second, 100 times while it starts batches, so nothing depends on messages
or on beat. One round trip serves all accounts; the more there are, the less often it looks at one that is idle. It also
wakes when the web server enqueues. It starts a batch when there is due work, a free thread, no pause, and a slot within
reach; the batch takes the slot.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from redis.exceptions import OutOfMemoryError

from worker.calls import HORIZON_MS
from worker.queue.operations import Queue, Work
from worker.runtime.batches import BatchThreads
from worker.runtime.process import App, Member
from worker.runtime.wakeups import Wakeups

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.04
BUSY_TICK_SECONDS = 0.01
BUSY_SECONDS = 0.2
"""For how long after the start of a batch ticks are short: callers who waited for it often enqueue again at once."""
QUICK_SECONDS = 5.0
"""For how long after there was work an account is not idle."""
IDLE_SECONDS = 0.005
"""How long the dispatcher does not look at an idle account, times the number of accounts; at least a tick."""
MAX_IDLE_SECONDS = 0.5
CHORES_SECONDS = 1.0
NO_WORK = Work(0, 0)


class FillWait:
    """Decides when a partial batch may start: after it has waited `seconds` to fill."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._since: float | None = None

    def left(self) -> float | None:
        """Return for how many seconds a partial batch still waits; None if there is none."""
        return None if self._since is None else max(0.0, self._since + self._seconds - self._clock())

    def end(self) -> None:
        """Let a partial batch start at once: nobody is left who would fill it."""
        self._since = -math.inf

    def worth(self, work: Work, batch_size: int) -> int:
        """Return how many batches the work justifies now."""
        full = work.claimable // batch_size
        if full or not work.claimable:
            self._since = None
            return full + work.groups
        if self._since is None:
            self._since = self._clock()
        due = self._clock() - self._since >= self._seconds
        if due:
            self._since = None
        return work.groups + int(due)


def batches_to_start(worth: int, free_threads: int, limits: Room) -> int:
    """Return how many batches to start now."""
    if limits.pause_ms > HORIZON_MS:
        return 0
    return min(worth, free_threads, limits.slots)


def send_heartbeat(queue: Queue, name: str, served: Collection[str] = ()) -> None:
    """Record that this worker is alive and what accounts it serves; remove workers without a heartbeat for an hour."""
    now, workers = queue.now_ms(), queue.home_keys("workers")
    with queue.redis.pipeline(transaction=False) as pipe:
        pipe.zadd(workers, {name: now})
        pipe.zremrangebyscore(workers, "-inf", now - 3600_000)
        if served:
            pipe.sadd(queue.home_keys("accounts"), *served)
        pipe.execute()


class Room(NamedTuple):
    """The calls that an account could make now."""

    pause_ms: int
    slots: int


class Look(NamedTuple):
    """What a look at an account shows."""

    work: Work
    room: Room
    has_unpublished: bool


class AccountWatch:
    """What the dispatcher knows of one account."""

    def __init__(self, account: Member, threads: int) -> None:
        self.account = account
        self.batches = account.batches
        self.batch_size = account.settings.batch_size
        self.fill_wait = FillWait(account.settings.batch_window_seconds)
        self.questions = (
            account.queue.peeking(threads * self.batch_size).packed(),
            account.limiter.reading_limits(HORIZON_MS).packed(),
        )
        self.look_at = -math.inf
        """When to look next, in monotonic seconds."""
        self._busy_at = self._worked_at = -math.inf

    def is_due(self) -> bool:
        """Return whether it is time to look at the account."""
        return self.look_at <= time.monotonic() or self.fill_wait.left() == 0

    def wanted(self, look: Look, free_threads: int) -> int:
        """Return how many batches to start now."""
        if not free_threads:
            return 0
        return batches_to_start(self.fill_wait.worth(look.work, self.batch_size), free_threads, look.room)

    def note(self, look: Look, idle_seconds: float, *, is_busy: bool) -> None:
        """Decide when to look next: soon while there is work that may be done, above all if batches could start."""
        now = time.monotonic()
        if look.work != NO_WORK and look.room.pause_ms <= HORIZON_MS:
            self._worked_at = now
        if is_busy:
            self._busy_at = now
        if now - self._busy_at < BUSY_SECONDS:
            self.look_at = now + BUSY_TICK_SECONDS
        else:
            self.look_at = now + (TICK_SECONDS if now - self._worked_at < QUICK_SECONDS else idle_seconds)


class Dispatcher:
    """Starts the batches of a worker, tick by tick."""

    def __init__(self, app: App, name: str, threads: BatchThreads) -> None:
        self._accounts = app.accounts
        self._queue = app.account.queue
        self._name = name
        self._threads = threads
        self._served: Mapping[str, Member] = {}
        self._watches: dict[str, AccountWatch] = {}
        self._last_chores = -math.inf
        self._wakeups = Wakeups(app.account.redis)

    def tick(self) -> float:
        """Start batches, and do the chores if these are due; return the seconds until the next tick."""
        does_chores = time.monotonic() - self._last_chores >= CHORES_SECONDS
        if does_chores:
            self._last_chores = time.monotonic()
            self._accounts.refresh()
            self._send_heartbeat()
        self._follow_accounts()
        watches = [each for each in self._watches.values() if does_chores or self._is_due(each)]
        looks = look_at(self._queue, watches, with_chores=does_chores)
        self._start_batches(watches, looks)
        if does_chores:
            for watch, look in zip(watches, looks, strict=True):
                _do_chores(watch.account, has_unpublished=look.has_unpublished)
        return self._pause()

    def _is_due(self, watch: AccountWatch) -> bool:
        return watch.is_due() and self._has_free_thread(watch)

    def _has_free_thread(self, watch: AccountWatch) -> bool:
        return self._threads.free(watch.batches) > 0

    def _follow_accounts(self) -> None:
        """Take note of accounts that were added, changed or removed."""
        served, before = self._accounts.served(), self._served
        if served is before:
            return
        kept = {name: watch for name, watch in self._watches.items() if served.get(name) is watch.account}
        self._watches = {
            name: kept.get(name) or AccountWatch(each, self._threads.size) for name, each in served.items()
        }
        self._threads.serve_only({watch.batches for watch in self._watches.values()})
        self._wakeups.listen({each.keys("enqueued") for each in served.values()})
        for name in before.keys() - served.keys():
            tell_what_waits(before[name])
        for name in before.keys() & served.keys():
            if served[name] is not before[name]:  # Perhaps it has a new key.
                served[name].limiter.probe_soon()
        self._served = served

    def _start_batches(self, watches: Sequence[AccountWatch], looks: Sequence[Look]) -> None:
        pairs = list(zip(watches, looks, strict=True))
        wanted = {watch.batches: watch.wanted(look, self._threads.free(watch.batches)) for watch, look in pairs}
        shares = self._threads.share_out(wanted)
        idle_seconds = min(MAX_IDLE_SECONDS, max(TICK_SECONDS, len(self._watches) * IDLE_SECONDS))
        for watch, look in pairs:
            watch.note(look, idle_seconds, is_busy=wanted[watch.batches] > 0)
        if any(shares.values()):
            # These batches take what the messages for their accounts are about.
            started = {watch.account.keys("enqueued") for watch in watches if shares[watch.batches]}
            for name in self._wakeups.drain() - started:
                self._wake(name)
        for batches, count in shares.items():
            if count:
                self._threads.start(batches, count)

    def _pause(self) -> float:
        watches = self._watches.values()
        lefts = [
            left for watch in watches if (left := watch.fill_wait.left()) is not None and self._has_free_thread(watch)
        ]
        seconds = min(lefts, default=min((watch.look_at for watch in watches), default=math.inf) - time.monotonic())
        if not lefts and seconds <= BUSY_TICK_SECONDS:
            return BUSY_TICK_SECONDS
        longest = TICK_SECONDS if lefts else CHORES_SECONDS
        for name, is_last in self._wakeups.wait(min(seconds, longest), for_all=bool(lefts)).items():
            self._wake(name, is_last=is_last)
        return 0.0

    def _wake(self, name: str, *, is_last: bool = False) -> None:
        """Look soon at the account that has a channel, and let its partial batch start if nobody else will call."""
        for watch in self._watches.values():
            queue = watch.account.queue
            if queue.keys("enqueued") == name:
                watch.look_at = -math.inf
                # The callers of a batch in flight will be back soon: their ids fill this one.
                if is_last and not queue.redis.exists(queue.keys("in_flight")):
                    watch.fill_wait.end()

    def _send_heartbeat(self) -> None:
        try:
            send_heartbeat(self._queue, self._name, self._accounts.served())
        except OutOfMemoryError:
            logger.warning("Redis is out of memory: new requests are refused, accepted ones continue")


def look_at(queue: Queue, watches: Sequence[AccountWatch], *, with_chores: bool) -> list[Look]:
    """Look at accounts, in one round trip."""
    if not watches:
        return []
    questions = [each for watch in watches for each in watch.questions]
    prefixes = [watch.account.keys.prefix for watch in watches]
    found = queue.scripts.run("runtime/look", {"chores": with_chores}, *questions, keys=prefixes)
    return [Look(Work(*each[:2]), Room(*each[2:4]), bool(each[4])) for each in found]


def _do_chores(account: Member, *, has_unpublished: bool) -> None:
    if has_unpublished:
        account.publisher.publish_progress()
        account.publisher.publish_left_over()
        account.publisher.publish_purges()
    account.api.close_old()
    account.audit.trim_now_and_then()
    account.library.count_if_due()


def tell_what_waits(account: Member) -> None:
    """Log that an account was removed, and how many of its ids stay in Redis."""
    waiting = account.queue.count_waiting()
    logger.warning(
        "account %s was removed from the accounts file; %d of its ids wait in Redis until it is listed again",
        account.settings.account,
        waiting,
        extra={"account": account.settings.account, "waiting": waiting},
    )
