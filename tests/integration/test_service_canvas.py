"""Celery's canvas on a request: its callbacks run once, when the files are gone.

Both where the intake accepts the message in bulk, and where Celery runs it, because it is compressed.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from tests.integration.support_house import House
from tests.integration.support_waiting import wait_until

WORKERS = 2
ENVIRONMENT = {"KITSWEEP_LOG_LEVEL": "DEBUG"}  # so that the log shows what Celery runs
QUEUE = "catalog"


@pytest.fixture(params=[{}, {"compression": "zlib"}], ids=["in bulk", "by Celery"])
def way(request: pytest.FixtureRequest) -> dict[str, str]:
    """Options with which the messages go one way or the other."""
    options: dict[str, str] = request.param
    return options


@pytest.fixture(autouse=True)
def _empty_queue(house: House) -> None:
    house.redis.delete(QUEUE)


def messages(house: House) -> list[tuple[str, Any]]:
    """Task names and positional arguments of what was sent to the service's own queue, oldest first."""
    found: Any = house.redis.lrange(QUEUE, 0, -1)
    envelopes = [json.loads(text) for text in reversed(found)]
    return [(each["headers"]["task"], json.loads(base64.b64decode(each["body"]))[0]) for each in envelopes]


def wait_for_messages(house: House, number: int = 1) -> list[tuple[str, Any]]:
    """Wait for so many messages, give any others time to come, and return all."""
    wait_until(lambda: len(messages(house)) >= number, f"{number} messages for the service")
    house.wait_for_beats(time.time() + 0.1)
    return messages(house)


def test_link(house: House, way: dict[str, str]) -> None:
    """`link` runs with the report when the deletion is done, not when it is accepted."""
    house.admin.pause("so that nothing is deleted yet")
    request_id = house.service.do("link", house.files(2), QUEUE, **way)
    house.wait_for_state(request_id, "QUEUED")
    assert messages(house) == []
    house.admin.resume()
    [(task, args)] = wait_for_messages(house)
    assert task == "catalog.done"
    assert house.ran_by_celery(request_id) == bool(way)
    assert args == [house.final(request_id).report]


def test_link_error(house: House, way: dict[str, str]) -> None:
    """`link_error` runs when files could not be deleted, and `link` does not."""
    ids = house.files(2)
    house.simulator.refuse_ids(ids[:1])
    request_id = house.service.do("link", ids, QUEUE, **way)
    assert house.final(request_id).state == "FAILURE"
    [(task, args)] = wait_for_messages(house)
    assert (task, args) == ("catalog.sorry", [request_id])


def test_link_error_of_a_cancelled_request(house: House, way: dict[str, str]) -> None:
    """A request that is revoked, which every worker hears, calls back once."""
    house.admin.pause()
    request_id = house.service.do("link", house.files(2), QUEUE, **way)
    house.wait_for_state(request_id, "QUEUED")
    house.service.do("revoke", request_id)
    assert house.final(request_id).state == "REVOKED"
    assert wait_for_messages(house) == [("catalog.sorry", [request_id])]


def test_no_callback_runs_twice(house: House, way: dict[str, str]) -> None:
    """Cancelling, revoking or sending a finished request again runs no callback."""
    ids = house.files(2)
    request_id = house.service.do("link", ids, QUEUE, **way)
    wait_for_messages(house)
    house.client.cancel(request_id)
    house.service.do("revoke", request_id)
    house.ask(ids, {"task_id": request_id})
    house.deleted(house.files(1))
    assert len(wait_for_messages(house)) == 1


def test_chain(house: House, way: dict[str, str]) -> None:
    """The next task of a chain gets the report."""
    request_id = house.service.do("chain", house.files(2), QUEUE, **way)
    [(task, args)] = wait_for_messages(house)
    assert (task, args) == ("catalog.next", [house.final(request_id).report])


def test_chord(house: House, way: dict[str, str]) -> None:
    """The body of a chord gets all reports, when the last of its requests is done."""
    house.admin.pause("so that nothing is deleted yet")
    request_ids = house.service.do("chord", [house.files(2), house.files(3)], QUEUE, **way)
    for request_id in request_ids:
        house.wait_for_state(request_id, "QUEUED")
    assert messages(house) == []
    house.admin.resume()
    [(task, [reports])] = wait_for_messages(house)
    assert task == "catalog.all"
    assert [house.ran_by_celery(each) for each in request_ids] == [bool(way)] * 2
    assert [report["deleted"] for report in reports] == [2, 3]
