"""The pipeline under any sequence of answers and crashes, and the task under any JSON: outcomes stay true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import fakeredis
import hypothesis.strategies as st
import pytest
from celery.exceptions import Ignore
from hypothesis import HealthCheck, example, given, settings
from redis import Redis

import tasks.deletions
from tests.unit.support_api import Works, works_on
from tests.unit.support_queue import LONG_AGO_MS, check_invariants, raw, settings_for_tests
from worker.errors import InvalidRequest
from worker.imagekit.answers import Answer, KeyRefused, Meta, Missing, PerFile, Refused, Throttled, Unanswered
from worker.queue.operations import NewRequest, Queue
from worker.reports.reader import Reports
from worker.states import Outcome

pytestmark = pytest.mark.chaos

EXISTING = [f"file{number:02d}" for number in range(24)]
NEVER = [f"none{number:02d}" for number in range(6)]
REFUSED, POISON = "file00", "file01"
"""One whose every call is a 400, and one whose every call is a 500."""
SIZE = 5


class DiedError(BaseException):
    """The worker was killed at this moment."""


@contextmanager
def a_redis() -> Iterator[Redis]:
    """Give a fake server of one's own."""
    with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as client:
        yield client


def lists_nobody(works: Works, ids: list[str]) -> Answer:
    """Carry the call out, and report only half of the files."""
    answer = works.api.carry_out(ids)
    if not isinstance(answer, PerFile):
        return answer
    return PerFile(frozenset(sorted(answer.deleted)[::2]), {})


def dies_before(works: Works, ids: list[str]) -> Answer:
    """Be killed before the call."""
    raise DiedError


def dies_after(works: Works, ids: list[str]) -> Answer:
    """Be killed between the call and its settlement."""
    works.api.carry_out(ids)
    raise DiedError


def outlives_its_lease(works: Works, ids: list[str]) -> Answer:
    """Take so long that another worker takes the items over, and asks, before this one settles."""
    answer = works.api.carry_out(ids)
    run_leases_out(works)
    works.api.faults.insert(0, works.api.carry_out)
    works.batches.run()
    return answer


ANSWERS: dict[str, Callable[[Works, list[str]], Answer]] = {
    "well": lambda works, ids: works.api.carry_out(ids),
    "lost after": lambda works, ids: works.api.lose_answer(ids),
    "lost before": lambda _, __: Unanswered("HTTP 502"),
    "not sent": lambda _, __: Unanswered("no connection", sent=False),
    "throttled": lambda _, __: Throttled(Meta(reset_ms=900_000)),
    "key refused": lambda _, __: KeyRefused("expired"),
    "half listed": lists_nobody,
    "says nothing": lambda _, __: PerFile(frozenset(), {}),
    "dies before": dies_before,
    "dies after": dies_after,
    "outlives its lease": outlives_its_lease,
}


def run_leases_out(works: Works) -> None:
    """Let every lease expire, as if its worker had died."""
    client, keys = raw(works.queue), works.queue.keys
    for token in client.zrange(keys("leases"), 0, -1):
        client.zadd(keys("leases"), {token: LONG_AGO_MS})


some_ids = st.lists(st.sampled_from(EXISTING + NEVER), min_size=1, max_size=14)


@pytest.mark.timeout(240)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    requests=st.lists(some_ids, min_size=1, max_size=5),
    script=st.lists(st.sampled_from(sorted(ANSWERS)), max_size=12),
    cancelled=st.integers(0, 20),
)
@example(  # A poison id in several requests: those that wait for it are not work that shows that the API is up.
    requests=[["file08", "file05", "none01", "none02", "file15", POISON]] * 2
    + [["file15", "file22", "file11", POISON]],
    script=["throttled"],
    cancelled=17,
)
@example(  # The same without other work, and with an id that is refused.
    requests=[["file04", "file14", POISON, REFUSED], [REFUSED], [REFUSED]],
    script=[],
    cancelled=0,
)
def test_outcomes_are_true_after_any_answers_and_crashes(
    requests: list[list[str]], script: list[str], cancelled: int
) -> None:
    """No id is lost; gone is said only of what is gone, not_found only of what never was, failed only of culprits."""
    with a_redis() as client:
        works = works_on(client, files={*EXISTING, "other"}, batch_size=SIZE, max_attempts=14)
        works.api.refused, works.api.poison = {REFUSED}, {POISON}
        expected = {f"r{at}": set(ids) for at, ids in enumerate(requests)}
        for at, ids in enumerate(requests):
            works.queue.enqueue(NewRequest(f"r{at}", f"s{at % 2}"), ids)
        for place, name in enumerate(script):
            if place == cancelled:
                works.queue.cancel("r0")
            answer = ANSWERS[name]
            works.api.faults = [lambda ids, answer=answer: answer(works, ids)]  # type: ignore[misc]
            works.let_time_pass()
            with suppress(DiedError):
                works.batches.run()
            if "dies" in name:
                run_leases_out(works)
            check_invariants(works.queue, expected)
        works.api.faults = []
        # One file that is certainly gone: without any success, a poison id looks like an outage.
        works.queue.enqueue(NewRequest("other", "s9"), ["other"])
        expected["other"] = {"other"}
        works.run()
        check_invariants(works.queue, expected)
        check_outcomes(works, expected, may_be_cancelled={"r0"} if cancelled < len(script) else set())


def check_outcomes(works: Works, expected: dict[str, set[str]], may_be_cancelled: set[str]) -> None:
    """Compare every outcome with what the library says."""
    assert len(works.api.deleted) == len(set(works.api.deleted)), "each file is deleted once"
    reports = Reports(works.queue.redis, works.queue.keys)
    for request in expected:
        for file_id, outcome, *_ in reports.outcomes(request):
            if outcome is Outcome.CANCELLED:
                assert request in may_be_cancelled
            elif outcome in {Outcome.DELETED, Outcome.PRESUMED_DELETED}:
                assert file_id not in works.api.files, f"{file_id} is said to be gone"
                assert outcome is Outcome.PRESUMED_DELETED or file_id in {*EXISTING, "other"}, f"{file_id} never was"
            elif outcome is Outcome.NOT_FOUND:
                assert file_id in NEVER, f"{file_id} did exist"
            else:
                assert file_id in {REFUSED, POISON}, f"{file_id} failed for no fault of its own"


def test_answers_are_a_closed_set() -> None:
    """The script above plays every kind of answer that there is."""
    played = {PerFile, Missing, Refused, KeyRefused, Throttled, Unanswered}
    assert set(Answer.__args__) == played


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
near_misses = st.fixed_dictionaries(
    {},
    optional={
        "file_ids": json_values | st.lists(st.text(max_size=5) | st.none(), max_size=4),
        "source": json_values,
        "reason": json_values,
        "hold_seconds": json_values,
        "more": json_values,
    },
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(args=st.lists(json_values, max_size=5), kwargs=near_misses, task_id=st.text(max_size=12) | st.just("good-id"))
def test_any_message_is_accepted_or_refused_with_our_error(
    args: list[Any], kwargs: dict[str, Any], task_id: str
) -> None:
    """A message with any JSON ends in `Ignore` (accepted) or in `InvalidRequest`."""
    with a_redis() as client, pytest.MonkeyPatch.context() as patch:
        about = settings_for_tests()
        queue = Queue(client, about)
        stub = SimpleNamespace(publish=lambda _: None, publish_reports=lambda _: None)
        account = SimpleNamespace(settings=about, queue=queue, publisher=stub)
        accounts = SimpleNamespace(of=lambda _: account)
        patch.setattr(tasks.deletions, "app", SimpleNamespace(accounts=accounts))
        door: Any = tasks.deletions.delete_files
        door.push_request(id=task_id, args=args, kwargs=kwargs)
        try:
            with pytest.raises((Ignore, InvalidRequest)) as ended:
                door.run(*args, **kwargs)
        finally:
            door.pop_request()
        known = raw(queue).exists(queue.keys.request(task_id))
        assert bool(known) is isinstance(ended.value, Ignore)
