"""A scripted API for the batch pipeline: a library of files, and faults that belong to ids or to moments.

It stands in for `worker.imagekit.client.ImageKit` at its only method, and gives answers of the closed set of
`worker.imagekit.answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from tests.unit.support_queue import LONG_AGO_MS, ids, make_groups_due, make_retries_due, raw, settings_for_tests
from worker.batch.pipeline import Batches, Ran
from worker.calls import Gate
from worker.imagekit.answers import Answer, Missing, PerFile, Refused, Unanswered
from worker.limiter.slots import Limiter
from worker.queue.leases import LeaseKeeper
from worker.queue.operations import NewRequest, Queue
from worker.reports.reader import Reports
from worker.reports.report import Report

Fault = Callable[[list[str]], Answer]
"""What answers a call instead of the library."""


@dataclass
class ScriptedApi:
    """An API with files; `faults` answer the next calls, one each, before the library is asked."""

    files: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)
    """Every call with one of these ends in a 500, before it has any effect."""
    refused: set[str] = field(default_factory=set)
    """Every call with one of these ends in a 400."""
    stubborn: set[str] = field(default_factory=set)
    """A 207 gives an error for each of these."""
    faults: list[Fault] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def delete(self, file_ids: list[str]) -> Answer:
        """Make the bulk call."""
        assert 1 <= len(file_ids) <= 100, "the API takes 1 to 100 ids"
        assert len(set(file_ids)) == len(file_ids), "no id twice in one call"
        self.calls.append(list(file_ids))
        return self.faults.pop(0)(file_ids) if self.faults else self.carry_out(file_ids)

    def carry_out(self, file_ids: list[str]) -> Answer:
        """Answer as ImageKit does: a bulk call with an unknown id deletes nothing."""
        if self.poison & set(file_ids):
            return Unanswered("the API answered 500")
        if self.refused & set(file_ids):
            return Refused("your request contains an invalid fileId")
        if missing := set(file_ids) - self.files:
            return Missing(frozenset(missing))
        gone = set(file_ids) - self.stubborn
        self.files -= gone
        self.deleted += sorted(gone)
        errors = {file_id: "the file is locked" for file_id in file_ids if file_id in self.stubborn}
        return PerFile(frozenset(gone), errors)

    def lose_answer(self, file_ids: list[str]) -> Answer:
        """Carry the call out, and lose the response."""
        self.carry_out(file_ids)
        return Unanswered("the answer did not come")


class NoKeeper(LeaseKeeper):
    """Renews nothing, so that tests leave no thread behind."""

    @contextmanager
    def renewed(self, token: str) -> Iterator[None]:
        """Do nothing."""
        yield


@dataclass
class Works:
    """A queue, a limiter and a scripted API, and the batches that run on them."""

    batches: Batches
    api: ScriptedApi
    published: list[str]

    @property
    def queue(self) -> Queue:
        """The queue."""
        return self.batches.queue

    def report(self, request_id: str) -> Report:
        """Return a request's report."""
        report = Reports(self.queue.redis, self.queue.keys).read([request_id])[0]
        assert report is not None
        return report

    def run(self, most: int = 1000) -> int:
        """Run batches, letting all delays and pauses pass in between, until nothing is left; return how many.

        Fails if something is left after `most` batches.
        """
        for batches in range(most):
            # As in production, a parked group and the retries that wait for its file ids are not always due together.
            self.let_time_pass(retries=batches % 2 == 0)
            if self.batches.run() is Ran.NO_WORK and not _unfinished(self.queue):
                return batches
        raise AssertionError(f"not done after {most} batches")

    def let_time_pass(self, *, retries: bool = True) -> None:
        """End all pauses that end by themselves, and make due all that waits for its time, perhaps without retries."""
        end_pauses(self.batches.gate.limiter, self.queue)
        make_groups_due(self.queue)
        if retries:
            make_retries_due(self.queue)
        move_into_the_past(self.queue, 1000)


def works_on(client: Redis, *, files: set[str] | None = None, **overrides: Any) -> Works:
    """Return batches on a client with a scripted API that has some files."""
    settings = settings_for_tests(**overrides)
    queue, api = Queue(client, settings), ScriptedApi(files or set())
    published: list[str] = []
    batches = Batches(
        queue=queue,
        gate=Gate(Limiter(client, settings)),
        api=api,
        leases=NoKeeper(queue, settings.lease_seconds),
        batch_size=settings.batch_size,
        max_attempts=settings.max_attempts,
        publish=published.extend,
    )
    return Works(batches, api, published)


def enqueued(client: Redis, count: int, **overrides: Any) -> tuple[Works, list[str]]:
    """Return works with one request `r` for all files that the API has."""
    files = ids("f", count)
    works = works_on(client, files=set(files), **overrides)
    works.queue.enqueue(NewRequest("r", "s"), files)
    return works, files


def outage(file_ids: list[str]) -> Answer:
    return Unanswered("the API answered 503")


def end_pauses(limiter: Limiter, queue: Queue) -> None:
    """Let the pauses of an outage, a refused key and a throttle pass; an operator's stays."""
    account, limits = queue.keys("account"), queue.keys.limits("delete")
    if raw(queue).hexists(account, "trouble_until"):
        raw(queue).hset(account, "trouble_until", LONG_AGO_MS)
    if raw(queue).hexists(limits, "throttled_until"):
        raw(queue).hset(limits, "throttled_until", LONG_AGO_MS)


def move_into_the_past(queue: Queue, ms: int) -> None:
    """Let failures and successes be longer ago, so that what comes next is clearly later."""
    client = raw(queue)
    for token in client.zrange(queue.keys("leases"), 0, -1):
        if int(client.hget(queue.keys.lease(token), "failed_at") or 0) > 0:
            client.hincrby(queue.keys.lease(token), "failed_at", -ms)
    if client.hexists(queue.keys("account"), "last_success"):
        client.hincrby(queue.keys("account"), "last_success", -ms)


def _unfinished(queue: Queue) -> int:
    counters = (raw(queue).hgetall(queue.keys(name)) for name in ("waiting", "in_flight"))
    return sum(int(value) for counter in counters for value in counter.values())
