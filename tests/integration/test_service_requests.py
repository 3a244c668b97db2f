"""What a service with nothing but Celery can ask for: by name, again, together with others, and wrongly."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.integration.support_foreign import PACKAGES
from tests.integration.support_house import ROOT, House
from tests.integration.support_waiting import wait_until

ENVIRONMENT = {"KITSWEEP_MAX_REQUEST_IDS": "3000", "KITSWEEP_PURGE_WINDOW_SECONDS": "0.1"}


def test_the_service_holds_nothing_of_ours(house: House) -> None:
    """A service needs Celery and the broker's address only; in these tests it could not even import us."""
    house.deleted(house.files(1))
    loaded = house.service.do("loaded")
    assert loaded["ours"] == []
    ours = [path for path in loaded["path"] if str(ROOT) in path and path != str(PACKAGES)]
    assert ours == []


def test_all_arguments(house: House) -> None:
    """Source and reason go by name or by place, and come back in the report; both may be left out."""
    by_name = house.deleted(house.files(1), source="catalog", reason="product 4711 was removed")
    by_place = house.service.send(house.files(1), "catalog", "product 4711 was removed", 0)
    neither = house.deleted(house.files(1))
    assert (by_name["source"], by_name["reason"]) == ("catalog", "product 4711 was removed")
    assert (neither["source"], neither["reason"]) == ("default", None)
    found = house.final(by_place).report
    assert (found["source"], found["reason"]) == ("catalog", "product 4711 was removed")


def test_get_waits(house: House) -> None:
    """`AsyncResult.get()` in another process returns the report as soon as the files are gone."""
    request_id = house.ask(house.files(1))
    report = house.service.do("get", request_id, 10)["info"]
    assert (report["state"], report["deleted"]) == ("SUCCESS", 1)


def test_get_of_a_result_that_was_to_be_ignored(house: House) -> None:
    """A sender that ignores the result can still poll for it."""
    request_id = house.ask(house.files(1), options={"ignore_result": True})
    assert house.final(request_id).state == "SUCCESS"


def test_duplicates_count_once(house: House) -> None:
    """An id that is twice in a request counts once."""
    ids = house.files(3)
    report = house.deleted([*ids, ids[0], *ids])
    assert (report["total"], report["deleted"]) == (3, 3)


def test_lists_end_at_a_thousand(house: House) -> None:
    """A report lists 1000 ids at most, and says that it is cut; its counts and the outcomes are whole."""
    ids = house.files(1001)
    report = house.deleted(ids)
    assert (report["deleted"], len(report["successfully_deleted_file_ids"]), report["truncated"]) == (1001, 1000, True)
    assert sorted(each.file_id for each in house.client.outcomes(report["request_id"])) == sorted(ids)
    exactly = house.deleted(house.files(1000))
    assert (len(exactly["successfully_deleted_file_ids"]), exactly["truncated"]) == (1000, False)


def test_the_same_task_id_again(house: House) -> None:
    """Sending a task id again changes nothing: while the request waits, when it is over, and with other ids."""
    first, other = house.files(2), house.files(2)
    task_id = str(uuid.uuid4())
    house.ask(first, {"task_id": task_id}, hold_seconds=1.5, source="first")
    house.wait_for_state(task_id, "QUEUED")
    house.ask(first, {"task_id": task_id}, hold_seconds=0, source="again")
    house.ask(other, {"task_id": task_id}, source="another")
    seen = house.final(task_id)
    assert (seen.report["source"], seen.report["total"], seen.report["deleted"]) == ("first", 2, 2)
    house.ask(other, {"task_id": task_id})
    house.deleted(house.files(1))
    assert house.service.look(task_id) == seen
    assert house.simulator.existing(other) == other
    assert len(house.calls_with(first)) == 1


def test_two_services_with_the_same_files(house: House) -> None:
    """Each file is deleted once, and both services see `deleted`: the second does not see `not_found`."""
    ids = house.files(90)
    one, two = house.ask(ids[:60], source="one"), house.ask(ids[30:], source="two")
    first, second = house.final(one).report, house.final(two).report
    assert (first["deleted"], second["deleted"]) == (60, 60)
    assert house.simulator.existing(ids) == []
    assert house.simulator.stats()["ids_sent_again"] == 0


def test_two_services_while_the_first_ones_call_is_in_flight(house: House) -> None:
    """The second gets the outcome of the first one's call, and makes none for the same files."""
    ids = house.files(20)
    house.simulator.fault("slow_before", delay_ms=700)
    one = house.ask(ids, source="one")
    wait_until(lambda: house.simulator.stats()["in_flight"] == 1, "the first call is in the air")
    two = house.ask(ids, source="two")
    assert (house.final(one).report["deleted"], house.final(two).report["deleted"]) == (20, 20)
    assert len(house.calls_with(ids)) == 1


def test_two_services_when_the_first_ones_answer_is_lost(house: House) -> None:
    """Files that may be gone through the first one's call are presumed deleted to the second as well."""
    ids = house.files(5)
    house.simulator.fault("cut_after")
    one, two = house.ask(ids, source="one"), house.ask(ids[2:], source="two")
    first, second = house.final(one).report, house.final(two).report
    assert (first["presumed_deleted"], first["not_found"]) == (5, 0)
    assert (second["presumed_deleted"] + second["deleted"], second["not_found"]) == (3, 0)


GOOD = "598821f949c0a938d57563bd"
BAD = [
    pytest.param(["abc"], {}, "file_ids", None, "must be a list", id="a text for a list"),
    pytest.param([{"a": 1}], {}, "file_ids", None, "must be a list", id="an object for a list"),
    pytest.param([None], {}, "file_ids", None, "must be a list", id="nothing for a list"),
    pytest.param([7], {}, "file_ids", None, "must be a list", id="a number for a list"),
    pytest.param([[]], {}, "file_ids", None, "at least one", id="an empty list"),
    pytest.param([[GOOD, 5]], {}, "file_ids", 1, "file id", id="a number among ids"),
    pytest.param([[GOOD, GOOD, None]], {}, "file_ids", 2, "file id", id="null among ids"),
    pytest.param([[[GOOD]]], {}, "file_ids", 0, "file id", id="a list in the list"),
    pytest.param([[""]], {}, "file_ids", 0, "empty", id="an empty id"),
    pytest.param([[GOOD, "a" * 257]], {}, "file_ids", 1, "256", id="an id that is too long"),
    pytest.param([["a\nb"]], {}, "file_ids", 0, "control", id="a line end in an id"),
    pytest.param([["a\u0000"]], {}, "file_ids", 0, "control", id="a zero byte in an id"),
    pytest.param([["a b"]], {}, "file_ids", 0, "spaces", id="a space in an id"),
    pytest.param([["a\u202eb"]], {}, "file_ids", 0, "invisible", id="a character that turns the text around"),
    pytest.param([["\ud800"]], {}, "file_ids", 0, "invisible", id="half a character"),
    pytest.param([[GOOD] * 3001], {}, "file_ids", None, "KITSWEEP_MAX_REQUEST_IDS", id="too many ids"),
    pytest.param([[GOOD]], {"source": "a b"}, "source", None, "64", id="a source with a space"),
    pytest.param([[GOOD]], {"source": ""}, "source", None, "64", id="an empty source"),
    pytest.param([[GOOD]], {"source": "s" * 65}, "source", None, "64", id="a long source"),
    pytest.param([[GOOD]], {"source": None}, "source", None, "64", id="no source"),
    pytest.param([[GOOD]], {"reason": 5}, "reason", None, "text", id="a number for a reason"),
    pytest.param([[GOOD]], {"reason": "a\nb"}, "reason", None, "control", id="a reason of two lines"),
    pytest.param([[GOOD]], {"hold_seconds": -1}, "hold_seconds", None, "from 0", id="a negative hold"),
    pytest.param([[GOOD]], {"hold_seconds": "1"}, "hold_seconds", None, "number", id="a text for a hold"),
    pytest.param([[GOOD]], {"hold_seconds": float("nan")}, "hold_seconds", None, "number", id="a hold of NaN"),
    pytest.param([[GOOD]], {"hold_seconds": True}, "hold_seconds", None, "number", id="a hold of true"),
    pytest.param([[GOOD]], {"colour": "red"}, "arguments", None, "colour", id="an unknown argument"),
    pytest.param([[GOOD]], {"callback": "a.example"}, "callback", None, "http or https URL", id="a bad callback"),
    pytest.param([[GOOD]], {"result_ttl_seconds": 59}, "result_ttl_seconds", None, "from 60", id="a short result TTL"),
    pytest.param([[GOOD], "s", None, 0, *[None] * 3, 1], {}, "arguments", None, "too many", id="too many arguments"),
    pytest.param([], {}, "arguments", None, "file_ids", id="no arguments"),
    pytest.param([[GOOD]], {"file_ids": [GOOD]}, "arguments", None, "file_ids", id="an argument twice"),
]


@pytest.mark.parametrize(("args", "kwargs", "argument", "position", "rule"), BAD)
def test_bad_input(
    house: House, args: list[Any], kwargs: dict[str, Any], argument: str, position: int | None, rule: str
) -> None:
    """FAILURE with an error that names the argument, the position and the rule; nothing is enqueued or called."""
    before = len(house.calls())
    request_id = house.service.send(*args, **kwargs)
    seen = house.final(request_id)
    assert (seen.state, seen.error) == ("FAILURE", "InvalidRequest")
    assert seen.args[:2] == [argument, position]
    assert rule in seen.args[2]
    assert len(seen.args[2]) < 400
    assert argument in seen.text
    assert not house.is_known(request_id)
    assert house.client.stats()["waiting"] == 0
    assert len(house.calls()) == before


def test_a_bad_task_id(house: House) -> None:
    """A task id that could not be a request id is refused like any other argument."""
    request_id = house.service.send([GOOD], options={"task_id": "my task"})
    seen = house.final(request_id)
    assert (seen.error, seen.args[0]) == ("InvalidRequest", "task id")


def test_the_largest_message(house: House) -> None:
    """As many ids as one message may hold are taken, and ids of the greatest length."""
    ids = [f"{number:0256d}" for number in range(3000)]
    house.simulator.add_files(ids)
    assert house.deleted(ids)["deleted"] == 3000


def test_purge(house: House) -> None:
    """Known URLs and those that are looked up are purged; the published report follows, after the deletion's end."""
    house.simulator.set_behaviour(purge_ms=300)
    known, unknown = (house.simulator.add_file(name=f"{name}.jpg", folder="/people/42/") for name in ("known", "asked"))
    files = [{"fileId": known["fileId"], "url": f"{known['url']}?updatedAt=1"}, unknown["fileId"]]
    request_id = house.service.send(files, purge=True)
    assert house.final(request_id).report["deleted"] == 2
    wait_until(lambda: house.service.look(request_id).report["purged"] == 2, "the report of the purges is published")
    assert house.simulator.still_cached([known["url"], unknown["url"]]) == []
    waited = house.simulator.add_file(name="waited.jpg", folder="/people/42/")
    report = house.final(house.service.send([waited["fileId"]], purge="wait")).report
    assert (report["deleted"], report["purged"], report["purge_pending"]) == (1, 1, 0)
