"""Whose fault a failure is: an id's, which is isolated with few calls, or the API's, which fails no id."""

from __future__ import annotations

import math
import random
import time

import pytest
from redis import Redis

from tests.unit.support_api import enqueued, outage
from tests.unit.support_limiter import let_pass
from tests.unit.support_queue import ids
from worker.batch.pipeline import Ran
from worker.imagekit.answers import Answer, Unanswered
from worker.queue.operations import NewRequest


@pytest.mark.parametrize("culprits", [1, 2])
def test_a_refused_id_is_isolated_and_its_companions_are_deleted(redis_client: Redis, culprits: int) -> None:
    """400: by halves, in at most 2·⌈log2 n⌉+1 calls for one culprit among n; it fails with the API's message."""
    works, files = enqueued(redis_client, 100)
    bad = files[37 : 37 + culprits]
    works.api.refused = set(bad)
    works.run()
    report = works.report("r")
    assert (report["state"], report["deleted"], report["failed"]) == ("FAILURE", 100 - culprits, culprits)
    assert {error["error"] for error in report["errors"]} == {"your request contains an invalid fileId"}
    bound = culprits * (2 * math.ceil(math.log2(100)) + 1)
    assert len(works.api.calls) <= bound
    assert set(works.api.deleted) == set(files) - set(bad)


@pytest.mark.parametrize("others", [False, True])
def test_a_poison_id_is_isolated_and_its_companions_are_deleted(redis_client: Redis, others: bool) -> None:
    """An id whose every call ends in a 500, among 100: failed after its attempts, in at most 50 calls with it.

    If no other work shows that the API is up, calls with an id that is already gone do.
    """
    works, files = enqueued(redis_client, 100)
    works.api.poison = {files[37]}
    if others:
        works.queue.enqueue(NewRequest("other", "other"), ids("o", 3000))
        works.api.files |= set(ids("o", 3000))
    works.run()
    report = works.report("r")
    assert (report["state"], report["deleted"], report["failed"]) == ("FAILURE", 99, 1)
    assert "500" in report["errors"][0]["error"]
    poisoned = [call for call in works.api.calls if files[37] in call]
    assert len(poisoned) <= 30
    assert len([call for call in works.api.calls if not set(call) & set(ids("o", 3000))]) <= 50
    assert works.report("r")["in_flight"] == 0


def test_a_lone_poison_id_fails_where_something_was_deleted_before(redis_client: Redis) -> None:
    """A request of one such id, with nothing else to do, ends: in at most 30 calls."""
    works, _ = enqueued(redis_client, 1)
    works.run()
    works.queue.enqueue(NewRequest("bad", "s"), ["poison"])
    works.api.poison = {"poison"}
    works.run()
    assert works.report("bad")["failed"] == 1
    assert len(works.api.calls) <= 30


def test_a_poison_id_whose_calls_time_out_fails_too(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of half a minute must not outweigh the witness that answered before it."""
    works, _ = enqueued(redis_client, 1)
    works.run()
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    carry_out = works.api.carry_out

    def slow(file_ids: list[str]) -> Answer:
        if "poison" in file_ids:
            # Half a minute passes for the worker and for what Redis remembers.
            now[0] += 30
            let_pass(works.queue.redis, 30_000)
        return carry_out(file_ids)

    monkeypatch.setattr(works.api, "carry_out", slow)
    works.queue.enqueue(NewRequest("bad", "s"), ["poison"])
    works.api.poison = {"poison"}
    works.run(most=100)
    assert works.report("bad")["failed"] == 1


@pytest.mark.parametrize("alone", [False, True])
def test_an_outage_of_any_length_fails_no_id(redis_client: Redis, alone: bool) -> None:
    """After 200 failed calls everything is deleted; the first failures pause the account."""
    works, files = enqueued(redis_client, 1 if alone else 250)
    works.api.faults = [outage] * 200
    for _ in range(3):
        works.batches.run()
        if alone:
            works.let_time_pass()
    works.run(2000)
    report = works.report("r")
    assert (report["state"], report["failed"], report["deleted"]) == ("SUCCESS", 0, len(files))


def test_a_long_outage_does_not_split_the_only_batch(redis_client: Redis) -> None:
    """A witness distinguishes the outage from an id whose every call fails, before anything is split."""
    works, _ = enqueued(redis_client, 1)
    works.run()
    works.queue.enqueue(NewRequest("alone", "s"), ids("a", 100))
    works.api.files |= set(ids("a", 100))
    before = len(works.api.calls)
    works.api.faults = [outage] * 50
    works.run()
    assert works.report("alone")["deleted"] == 100
    assert [len(call) for call in works.api.calls[before + 50 :]] == [1, 100], "a witness, and a full batch"


@pytest.mark.parametrize("bad_share", [0.5, 0.85, 0.95])
def test_an_api_that_mostly_fails_fails_no_id(redis_client: Redis, bad_share: float) -> None:
    """A success now and then does not make the many failures the fault of the ids: no attempt of theirs is final."""
    works, files = enqueued(redis_client, 100, batch_size=20)
    dice = random.Random(7)
    carry_out = works.api.carry_out
    works.api.faults = [
        (lambda _: Unanswered("HTTP 503")) if dice.random() < bad_share else carry_out for _ in range(2000)
    ]
    works.run(2500)
    report = works.report("r")
    assert (report["state"], report["failed"], report["deleted"]) == ("SUCCESS", 0, len(files))


def test_after_an_outage_a_poison_id_is_found_all_the_same(redis_client: Redis) -> None:
    """The share of calls that go well recovers through witnesses, though nothing else is left to be done."""
    works, _ = enqueued(redis_client, 20)
    works.run()
    works.api.faults = [outage] * 60
    works.queue.enqueue(NewRequest("bad", "s"), ["poison", *ids("a", 9)])
    works.api.files |= set(ids("a", 9))
    works.api.poison = {"poison"}
    works.run()
    report = works.report("bad")
    assert (report["deleted"], report["failed"]) == (9, 1)


def test_an_outage_pauses_the_account(redis_client: Redis) -> None:
    """Three failed calls in a row, and no more go out until the pause is over."""
    works, _ = enqueued(redis_client, 1000)
    works.api.faults = [outage] * 10
    ran = [works.batches.run() for _ in range(6)]
    assert ran == [Ran.FULL] * 3 + [Ran.NO_SLOT] * 3
    assert len(works.api.calls) == 3
    assert works.report("r")["waiting"] == 1000
