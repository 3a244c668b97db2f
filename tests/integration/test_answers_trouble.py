"""Answers that are no file's fault, or say nothing: 401, 403, 429, 5xx, timeouts, lost connections, garbage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.support_house import KEY, House
from tests.integration.support_waiting import wait_until
from worker.states import Outcome

ENVIRONMENT = {
    "KITSWEEP_MAX_ATTEMPTS": "1",
    "KITSWEEP_HTTP_TIMEOUT_SECONDS": "0.5",
    "KITSWEEP_HTTP_CONNECT_TIMEOUT_SECONDS": "0.5",
}


def pause_of(house: House) -> dict[str, Any]:
    """Why the account is paused; empty when it is not."""
    return dict(house.client.stats()["pause"] or {})


def wait_for_pause(house: House, by: str) -> dict[str, Any]:
    """Wait until the account is paused for this cause."""
    wait_until(lambda: pause_of(house).get("by") == by, f"the account is paused by {by}")
    return pause_of(house)


def attempts_of(house: House, request_id: str) -> set[int]:
    """How many attempts the files of a request have behind them."""
    return {each.attempts for each in house.client.outcomes(request_id)}


# The key


def test_403_until_the_key_is_good_again(house: House) -> None:
    """A refused key fails no file: the account pauses and says why, tries now and then, and resumes by itself."""
    ids = house.files(250)
    house.simulator.set_key(state="expired")
    before = len(house.calls())
    request_id = house.ask(ids)
    pause = wait_for_pause(house, "key_refused")
    assert "expired private API key" in pause["reason"]
    assert KEY not in pause["reason"]
    assert pause["until"] is not None
    refused = len(house.calls()) - before
    assert refused <= 8
    report = house.client.status(request_id)
    assert report["state"] in {"QUEUED", "PROGRESS"}
    assert report["waiting"] + report["in_flight"] == 250
    house.simulator.set_key(state="good")
    seen = house.final(request_id)
    assert (seen.state, seen.report["deleted"]) == ("SUCCESS", 250)
    assert attempts_of(house, request_id) == {1}
    assert pause_of(house) == {}


def test_401_and_resume(house: House) -> None:
    """After a 401 an operator who has fixed the key need not wait: `resume` sends a probe at once."""
    ids = house.files(3)
    message = "Your request does not contain private API key."
    house.simulator.fault("answer", status=401, body=json.dumps({"message": message}))
    request_id = house.ask(ids)
    assert message in wait_for_pause(house, "key_refused")["reason"]
    house.admin.resume()
    assert house.final(request_id, 2).report["deleted"] == 3
    assert attempts_of(house, request_id) == {1}


# The limit


def test_429_pauses_until_its_reset(house: House) -> None:
    """After a 429 no call is made for as long as `X-RateLimit-Reset` says; no attempt is spent, and no file fails."""
    ids = house.files(120)
    house.simulator.fault("throttled", reset_ms=900)
    request_id = house.ask(ids)
    pause = wait_for_pause(house, "throttled")
    assert "429" in pause["reason"]
    assert pause["until"] is not None
    assert house.final(request_id).report["deleted"] == 120
    assert attempts_of(house, request_id) == {1}
    throttled = next(call for call in house.calls_with(ids) if call.status == 429)
    # A call in flight beside the throttled one may have been in time.
    later = [call.at - throttled.at for call in house.calls_with(ids) if call.at > throttled.at + 0.1]
    assert min(later) >= 0.9


def test_429_without_a_reset(house: House) -> None:
    """A 429 that says nothing of a time is waited out all the same."""
    ids = house.files(2)
    house.simulator.fault("answer", status=429, body=json.dumps({"message": "Too many requests."}))
    request_id = house.ask(ids)
    assert house.final(request_id).report["deleted"] == 2
    first, second = house.calls_with(ids)
    assert second.at - first.at >= 0.5
    assert attempts_of(house, request_id) == {1}


def test_windows_that_the_api_announces_are_kept(house: House) -> None:
    """A limit that is not configured is learned from the headers, and obeyed."""
    house.simulator.set_limits((3, 500))
    house.simulator.set_headers("always")
    house.deleted(house.files(1))
    before = house.simulator.stats()["throttled"]
    house.deleted(house.files(700))
    # A busy machine may delay one call into the next window; without the limit, four of seven would be refused.
    assert house.simulator.stats()["throttled"] - before <= 1
    assert (3, 500) in {(window["limit"], window["interval_ms"]) for window in house.client.stats()["windows"]}


# No answer that could be trusted

GONE_UNSEEN = [
    ("error_after", {"status": 503}),
    ("slow", {"delay_ms": 2000}),
    ("hang", {}),
    ("cut_after", {}),
    ("cut_middle", {}),
    ("garbage", {"shape": "html"}),
    ("empty", {}),
]
NOT_DONE = [
    ("error_before", {"status": 500}),
    ("cut_before", {}),
    ("redirect", {}),
]


@pytest.mark.parametrize(("kind", "details"), GONE_UNSEEN)
def test_an_answer_lost_after_the_effect(house: House, kind: str, details: dict[str, Any]) -> None:
    """Files that are missing after a call whose answer was lost are presumed deleted, by us: not "not found"."""
    ids = house.files(3)
    house.simulator.fault(kind, **details)
    report = house.deleted(ids)
    assert (report["presumed_deleted"], report["not_found"], report["deleted"]) == (3, 0, 0)
    assert sorted(report["presumed_deleted_file_ids"]) == sorted(ids)
    assert attempts_of(house, report["request_id"]) == {1}


@pytest.mark.parametrize(("kind", "details"), NOT_DONE)
def test_an_answer_lost_before_the_effect(house: House, kind: str, details: dict[str, Any]) -> None:
    """Files that are still there after such a call are deleted by the next one."""
    ids = house.files(3)
    house.simulator.fault(kind, **details)
    report = house.deleted(ids)
    assert (report["deleted"], report["presumed_deleted"]) == (3, 0)
    assert len(house.calls_with(ids)) == 2


def test_an_outage_fails_no_id(house: House) -> None:
    """While the API is down, calls become rare, and no file fails, however few attempts it is allowed."""
    ids = house.files(300)
    house.simulator.outage("unavailable")
    request_id = house.ask(ids)
    pause = wait_for_pause(house, "trouble")
    assert "503" in pause["reason"]
    house.simulator.wait_for(lambda stats: stats["statuses"]["bulk_delete"].get("503", 0) >= 4)
    failed_calls = len(house.calls_with(ids))
    house.simulator.outage(None)
    seen = house.final(request_id, 25)
    assert (seen.state, seen.report["deleted"]) == ("SUCCESS", 300)
    assert failed_calls <= 8
    assert attempts_of(house, request_id) == {1}
    assert pause_of(house) == {}


def test_a_closed_port_fails_no_id(house: House) -> None:
    """While no connection can be made, nothing is sent, so nothing is in doubt: all files end as deleted."""
    ids = house.files(2)
    house.simulator.outage("refuse")
    request_id = house.ask(ids)
    wait_for_pause(house, "trouble")
    house.simulator.outage(None)
    house.admin.resume()
    report = house.final(request_id).report
    assert (report["deleted"], report["presumed_deleted"]) == (2, 0)


def test_an_id_whose_every_call_fails(house: House) -> None:
    """While others succeed, such an id is set apart, spends its attempts, and fails; its companion is deleted."""
    ids = house.files(2)
    house.simulator.poison_ids(ids[:1])
    request_id = house.ask(ids)
    others: list[str] = []

    def is_final_while_others_succeed() -> bool:
        if not others or house.service.look(others[-1]).state == "SUCCESS":
            others.append(house.ask(house.files(1), source="others"))
        return house.service.look(request_id).state == "FAILURE"

    wait_until(is_final_while_others_succeed, "the poisonous id fails", 30)
    seen = house.final(request_id)
    assert (seen.report["failed"], seen.report["errors"][0]["file_id"]) == (1, ids[0])
    assert "HTTP 500" in seen.report["errors"][0]["error"]
    assert seen.report["deleted"] == 1
    found = {each.file_id: each for each in house.client.outcomes(request_id)}
    assert (found[ids[0]].outcome, found[ids[0]].attempts) == (Outcome.FAILED, 1)
    assert {house.final(each).state for each in others} == {"SUCCESS"}
