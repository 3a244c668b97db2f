"""The pipeline of a batch with a scripted API: every row of the answers, and what isolation costs in calls."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from config.settings import Window
from tests.unit.support_api import Works, enqueued, outage, works_on
from tests.unit.support_limiter import pause_of
from tests.unit.support_queue import check_invariants, ids, must_claim, raw, run_out
from worker.batch.pipeline import Ran
from worker.imagekit.answers import Answer, KeyRefused, Meta, PerFile, Refused, Throttled, Unanswered
from worker.logs import LineFormatter
from worker.queue.operations import NewRequest
from worker.states import Outcome


def throttled(file_ids: list[str]) -> Answer:
    return Throttled(Meta(reset_ms=30_000))


def test_a_batch_deletes_what_waits(redis_client: Redis) -> None:
    """200: one call for up to a hundred ids; the request is final and published when the last is settled."""
    works, files = enqueued(redis_client, 150)
    assert works.batches.run() is Ran.FULL
    assert works.published == []
    assert works.batches.run() is Ran.PARTIAL
    assert works.published == ["r"]
    assert [len(call) for call in works.api.calls] == [100, 50]
    report = works.report("r")
    assert (report["state"], report["deleted"]) == ("SUCCESS", 150)
    assert report["successfully_deleted_file_ids"] == files


def test_without_work_no_call_and_no_slot_is_spent(redis_client: Redis) -> None:
    """A batch that finds nothing returns its slot."""
    works = works_on(redis_client, rate_limits=(Window(1, 60_000),))
    assert works.batches.run() is Ran.NO_WORK
    works.queue.enqueue(NewRequest("r", "s"), ["a"])
    assert works.batches.run() is Ran.PARTIAL


def test_without_a_slot_nothing_is_claimed(redis_client: Redis) -> None:
    """While the limit holds, ids stay where they are."""
    works, _ = enqueued(redis_client, 150, rate_limits=(Window(1, 60_000),))
    works.batches.run()
    assert works.batches.run() is Ran.NO_SLOT
    assert len(works.api.calls) == 1
    assert works.report("r")["in_flight"] == 0


def test_an_id_that_the_answer_leaves_out_is_sent_again(redis_client: Redis) -> None:
    """200 without one of the ids: retried, and presumed deleted if it is missing then."""
    works, _files = enqueued(redis_client, 2)

    def leaves_out(file_ids: list[str]) -> Answer:
        works.api.carry_out(file_ids)
        return PerFile(frozenset(file_ids[:1]), {})

    works.api.faults = [leaves_out]
    works.run()
    report = works.report("r")
    assert (report["state"], report["deleted"], report["presumed_deleted"]) == ("SUCCESS", 1, 1)
    assert len(works.api.calls) == 2


def test_an_id_with_an_error_fails_in_the_end(redis_client: Redis) -> None:
    """207: retried to the last attempt, then failed with the API's reason; the others are deleted at once."""
    works, files = enqueued(redis_client, 3, max_attempts=4)
    works.api.stubborn = {files[1]}
    works.run()
    report = works.report("r")
    assert (report["state"], report["deleted"], report["failed"]) == ("FAILURE", 2, 1)
    assert report["errors"] == [{"file_id": files[1], "error": "the file is locked"}]
    assert len(works.api.calls) == 4


def test_lines_logged_during_a_call_name_its_requests(redis_client: Redis) -> None:
    """Every log line of a batch has the ids of its requests, each once."""
    works, _files = enqueued(redis_client, 2)
    works.queue.enqueue(NewRequest("q", "s"), ["x"])
    lines: list[str] = []

    def logs(file_ids: list[str]) -> Answer:
        lines.append(LineFormatter("json").format(logging.makeLogRecord({"msg": "called"})))
        return works.api.carry_out(file_ids)

    works.api.faults = [logs]
    works.run()
    assert sorted(json.loads(lines[0])["request_ids"]) == ["q", "r"]


def test_missing_ids_cost_one_call_and_the_rest_is_topped_up(redis_client: Redis) -> None:
    """404: the missing ids are `not_found`; the others are sent again at once, topped up with fresh ids."""
    works, files = enqueued(redis_client, 200)
    works.api.files -= set(files[10:30])
    works.batches.run()
    assert works.report("r")["not_found"] == 20
    works.batches.run()
    assert len(works.api.calls[1]) == 100
    assert set(files[:10]) < set(works.api.calls[1])
    works.run()
    report = works.report("r")
    assert (report["state"], report["deleted"], report["not_found"]) == ("SUCCESS", 180, 20)
    assert report["missing_file_ids"] == files[10:30]
    assert len(works.api.calls) == 3


def test_an_answer_lost_after_the_effect_is_presumed_deleted(redis_client: Redis) -> None:
    """The files are gone, but the response was lost: the next call finds them missing, which is not `not_found`."""
    works, files = enqueued(redis_client, 10)
    works.api.faults = [works.api.lose_answer]
    works.run()
    report = works.report("r")
    assert (report["state"], report["presumed_deleted"], report["not_found"]) == ("SUCCESS", 10, 0)
    assert set(report["presumed_deleted_file_ids"]) == set(files)


def test_a_worker_that_dies_after_the_call_leaves_presumed_deletions(redis_client: Redis) -> None:
    """A lease that ran out counts as a call whose answer was lost."""
    works, _files = enqueued(redis_client, 10)
    claim = must_claim(works.queue, "dead")
    works.api.delete([item.file_id for item in claim.items])
    run_out(works.queue, "dead")
    works.run()
    assert works.report("r")["presumed_deleted"] == 10


def test_a_throttled_call_spends_nothing(redis_client: Redis) -> None:
    """429: all pause for as long as the API says; then the same ids go out."""
    works, _files = enqueued(redis_client, 5, max_attempts=1)
    works.api.faults = [throttled]
    works.batches.run()
    assert 29_000 < works.batches.gate.limiter.read_limits().pause_ms <= 30_000
    assert works.batches.run() is Ran.NO_SLOT
    works.run()
    assert works.report("r")["deleted"] == 5
    assert works.api.calls[0] == works.api.calls[1]


@pytest.mark.parametrize("times", [1, 50])
def test_a_refused_key_fails_nothing(redis_client: Redis, times: int) -> None:
    """401 or 403: the account pauses at once, and resumes by itself when the key is accepted again."""
    works, _ = enqueued(redis_client, 5, max_attempts=1)
    works.api.faults = [lambda _: KeyRefused("your account cannot be authenticated")] * times
    works.batches.run()
    assert pause_of(works.batches.gate.limiter) == "key_refused"
    works.run()
    report = works.report("r")
    assert (report["deleted"], report["failed"]) == (5, 0)


def test_a_call_that_never_left_puts_nothing_in_doubt(redis_client: Redis) -> None:
    """No connection: the ids cannot have been deleted, so a 404 later is a not_found."""
    works, files = enqueued(redis_client, 2)
    works.api.files.discard(files[0])
    works.api.faults = [lambda _: Unanswered("connection refused", sent=False)]
    works.run()
    report = works.report("r")
    assert (report["not_found"], report["deleted"]) == (1, 1)


def test_a_file_that_another_request_deleted_costs_no_call(redis_client: Redis) -> None:
    """Known deletions are settled without a call, and the slot is returned."""
    works, files = enqueued(redis_client, 3)
    works.run()
    works.queue.enqueue(NewRequest("again", "s"), files)
    assert works.batches.run() is not Ran.NO_WORK
    assert works.report("again")["deleted"] == 3
    assert len(works.api.calls) == 1
    assert raw(works.queue).zcard(works.queue.keys.calls("delete")) == 1


def test_windows_that_the_api_announces_are_kept(redis_client: Redis) -> None:
    """The limiter learns from every answer."""
    works, _ = enqueued(redis_client, 3)
    works.api.faults = [lambda sent: PerFile(frozenset(sent), {}, meta=Meta(limits=(Window(7, 60_000),)))]
    works.batches.run()
    assert [use.limit for use in works.batches.gate.limiter.read_limits().windows] == [7]


def test_an_answer_waits_for_redis(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the API said is settled when Redis is back, and no second call is made."""
    works, _ = enqueued(redis_client, 3)
    settle, failures = works.queue.settle, [RedisConnectionError("away"), RedisConnectionError("away")]

    def flaky(token: str, settlements: Any) -> Any:
        if failures:
            raise failures.pop()
        return settle(token, settlements)

    monkeypatch.setattr(works.queue, "settle", flaky)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    works.batches.run()
    assert works.report("r")["deleted"] == 3
    assert len(works.api.calls) == 1


Fault = Callable[[Works], Callable[[list[str]], Answer]]
FAULTS: dict[str, Fault] = {
    "fine": lambda works: works.api.carry_out,
    "before": lambda works: outage,
    "after": lambda works: works.api.lose_answer,
    "429": lambda works: throttled,
    "401": lambda works: lambda _: KeyRefused("no"),
    "no route": lambda works: lambda _: Unanswered("refused", sent=False),
    "left out": lambda works: lambda sent: _left_out(works, sent),
    "refused": lambda works: lambda _: Refused("no"),
}


def _left_out(works: Works, sent: list[str]) -> Answer:
    answer = works.api.carry_out(sent)
    return PerFile(frozenset(sorted(answer.deleted)[:-1]), {}) if isinstance(answer, PerFile) else answer


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(st.sampled_from(sorted(FAULTS)), max_size=12),
    deaths=st.sets(st.integers(0, 10), max_size=3),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    absent=st.sets(st.integers(0, 11), max_size=4),
)
def test_any_sequence_of_answers_and_crashes_ends_with_true_outcomes(
    redis_client: Redis, faults: list[str], deaths: set[int], sizes: list[int], absent: set[int]
) -> None:
    """No file that existed is called not found, none that never did is called deleted, and the counts add up."""
    raw_client: Any = redis_client
    raw_client.flushall()
    never = {f"f{number:05d}" for number in absent}
    works = works_on(redis_client, files=set(ids("f", 12)) - never, batch_size=5)
    existed = set(works.api.files)
    expected = {f"r{number}": set(ids("f", size)) for number, size in enumerate(sizes)}
    for request, files in expected.items():
        works.queue.enqueue(NewRequest(request, request), sorted(files))
    works.api.faults = [FAULTS[name](works) for name in faults]
    for turn in range(11):
        works.let_time_pass()
        if turn in deaths and (claim := works.queue.claim(f"dead{turn}")):
            works.api.delete([item.file_id for item in claim.items])
            run_out(works.queue, claim.token)
        else:
            works.batches.run()
    works.run()
    lost = [name for name in faults if name == "refused"]
    for (_, file), outcome in check_invariants(works.queue, expected).outcomes().items():
        if outcome is Outcome.DELETED:
            assert file in existed
            assert file not in works.api.files
        elif outcome is Outcome.NOT_FOUND:
            assert file not in existed
        elif outcome is Outcome.FAILED:
            assert lost, "only a refusal of its own fails an id"
