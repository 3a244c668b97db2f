"""Celery's features on a request's message: each as Celery has it, whichever way the message goes."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.support_house import House
from tests.integration.support_waiting import wait_until
from worker.intake.messages import MOST_BYTES

WORKERS = 2
ENVIRONMENT = {"KITSWEEP_LOG_LEVEL": "DEBUG"}  # so that the log shows what Celery runs
PAST = "2020-01-01T00:00:00+00:00"


@pytest.mark.parametrize("queue", ["celery", "kitsweep.requests"])
@pytest.mark.parametrize(
    "options",
    [{}, {"priority": 3}, {"priority": 9}, {"ignore_result": True}, {"headers": {"traceparent": "00-1-2-01"}}],
    ids=str,
)
def test_accepted_in_bulk(house: House, queue: str, options: dict[str, Any]) -> None:
    """From both queues, of any priority."""
    request_id = house.ask(house.files(2), {"queue": queue, **options})
    assert house.final(request_id).report["deleted"] == 2
    assert not house.ran_by_celery(request_id)


@pytest.mark.parametrize("queue", ["celery", "kitsweep.requests"])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"compression": "bzip2", "priority": 6},
        {"expires": 600},
        {"eta": PAST},
        {"time_limit": 60},
        {"stamped_headers": ["team"], "team": "shop"},
    ],
    ids=str,
)
def test_run_by_celery(house: House, queue: str, options: dict[str, Any]) -> None:
    """What asks for more than acceptance, also of lower priority."""
    request_id = house.ask(house.files(2), {"queue": queue, **options})
    assert house.final(request_id).report["deleted"] == 2
    assert house.ran_by_celery(request_id)


def test_a_countdown(house: House) -> None:
    """Nothing is accepted before it has passed."""
    began = time.time()
    request_id = house.ask(house.files(1), {"countdown": 1.5})
    assert house.final(request_id).state == "SUCCESS"
    assert house.calls()[-1].at >= began + 1.5


def test_an_expired_message(house: House) -> None:
    """It ends as Celery ends it: REVOKED, and nothing is deleted."""
    ids = house.files(1)
    request_id = house.ask(ids, {"expires": PAST})
    house.wait_for_state(request_id, "REVOKED")
    assert not house.is_known(request_id)
    assert house.simulator.existing(ids) == ids


def test_a_message_that_is_revoked_before_it_is_sent(house: House) -> None:
    """The workers know the id, and the intake leaves the message to Celery, which discards it."""
    ids, task_id = house.files(1), str(uuid.uuid4())
    assert len(house.service.do("revoke_first", task_id)) == WORKERS
    house.ask(ids, {"task_id": task_id})
    house.wait_for_state(task_id, "REVOKED")
    assert not house.is_known(task_id)
    assert house.simulator.existing(ids) == ids


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=["in bulk", "by Celery"])
def test_a_trace_is_in_the_audit_trail(house: House, options: dict[str, str]) -> None:
    """It comes as a header of the message, as OpenTelemetry's instrumentation of Celery sends it."""
    trace = f"00-{uuid.uuid4().hex}-00f067aa0ba902b7-01"
    request_id = house.ask(house.files(1), {**options, "headers": {"traceparent": trace}})
    assert house.final(request_id).state == "SUCCESS"
    assert trace in [entry["detail"].get("traceparent") for entry in house.admin.audit(timedelta(minutes=5))]


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=["in bulk", "by Celery"])
def test_a_request_that_is_revoked_while_it_waits(house: House, options: dict[str, str]) -> None:
    """It is cancelled, whichever way its message came."""
    ids = house.files(2)
    house.admin.pause("so that nothing is deleted yet")
    request_id = house.ask(ids, options)
    house.wait_for_state(request_id, "QUEUED")
    house.service.do("revoke", request_id)
    assert house.final(request_id).state == "REVOKED"
    house.admin.resume()
    assert house.simulator.existing(ids) == ids


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=["plain", "compressed"])
def test_bad_input_ends_in_failure(house: House, options: dict[str, str]) -> None:
    """Celery's task says to the caller what is wrong."""
    request_id = house.service.send(["a b"], options=options)
    seen = house.final(request_id)
    assert (seen.state, seen.error, seen.args[:2]) == ("FAILURE", "InvalidRequest", ["file_ids", 0])
    assert house.ran_by_celery(request_id)


def test_a_long_message(house: House) -> None:
    """It is run by Celery, whose task streams the ids in."""
    ids = [f"{number:0200d}" for number in range(MOST_BYTES // 200)]
    house.simulator.add_files(ids)
    request_id = house.ask(ids)
    assert house.final(request_id).report["deleted"] == len(ids)
    assert house.ran_by_celery(request_id)


def test_garbage_does_not_stop_other_messages(house: House) -> None:
    """Bytes that are not a message, invalid JSON and unknown tasks do not stop the messages behind them."""
    unknown = house.service.do("send_other", "catalog.unknown")
    house.redis.lpush("celery", "{broken", "[]", '{"properties": {}}', "\x00")
    report = house.deleted(house.files(1))
    assert report["deleted"] == 1
    wait_until(lambda: house.client.stats()["unaccepted"] == 0, "the unknown task is discarded")
    assert f"[{unknown}]" in house.tail() or "catalog.unknown" in house.tail()
    assert all(worker.process.poll() is None for worker in house.workers)
    assert house.redis.llen(house.keys("unreadable")) == 4


def test_waiting_messages_are_counted(house: House) -> None:
    """`kitsweep stats` counts messages that are not accepted."""
    house.stop_workers()
    for _ in range(3):
        house.ask(house.files(1))
    house.ask(house.files(1), {"queue": "kitsweep.requests", "priority": 5})
    assert house.client.stats()["unaccepted"] == 4
    house.start_worker("w9")
    house.wait_for_workers()
    wait_until(lambda: house.client.stats()["unaccepted"] == 0, "they are accepted")
