"""Every state of a request, as a foreign service sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.support_house import House
from tests.integration.support_reports import check_report
from tests.integration.support_waiting import wait_until
from worker.errors import UnknownRequest
from worker.queue.operations import CHUNK_IDS

ENVIRONMENT = {"KITSWEEP_MAX_ATTEMPTS": "1", "KITSWEEP_HTTP_TIMEOUT_SECONDS": "10"}


def test_queued_while_it_is_held(house: House) -> None:
    """A held request is QUEUED, with its report so far as `.info`; nothing of it is called."""
    ids = house.files(3)
    request_id = house.ask(ids, source="catalog", reason="closed", hold_seconds=600)
    seen = house.wait_for_state(request_id, "QUEUED")
    check_report(seen.report, request_id)
    assert (seen.report["total"], seen.report["waiting"], seen.report["state"]) == (3, 3, "QUEUED")
    assert (seen.report["source"], seen.report["reason"]) == ("catalog", "closed")
    assert house.client.stats()["held"] == 3
    house.wait_for_beats(time.time() + 0.5)
    assert house.calls_with(ids) == []


def test_a_hold_ends(house: House) -> None:
    """Nothing of a request is called before its hold is over; then it goes by itself."""
    ids = house.files(3)
    asked = time.time()
    report = house.deleted(ids, hold_seconds=1.2)
    assert report["deleted"] == 3
    assert house.calls_with(ids)[0].at - asked >= 1.2


def test_progress_and_success(house: House) -> None:
    """PROGRESS from the first claim on, with counts that move; SUCCESS when every file is gone, missing ones too."""
    slow, ids = house.files(40), house.files(160)
    house.simulator.on_call(None)
    house.simulator.fault("slow_before", delay_ms=2500)
    request_id = house.ask([*slow, *ids, *house.no_files(1)])
    seen = house.wait_for_state(request_id, "PROGRESS")
    check_report(seen.report, request_id)
    assert seen.error is None
    wait_until(lambda: house.service.look(request_id).report["deleted"] > 0, "some are deleted, and it is told")
    assert not house.client.status(request_id)["finished_at"]
    seen = house.final(request_id)
    assert (seen.state, seen.report["deleted"], seen.report["not_found"]) == ("SUCCESS", 200, 1)
    assert house.service.do("get", request_id, 5) == {"info": seen.report}


def test_progress_while_the_first_call_is_in_flight(house: House) -> None:
    """A request all of whose files are in flight is in PROGRESS, for our own client and for other services."""
    ids = house.files(5)
    house.simulator.fault("slow_before", delay_ms=3000)
    request_id = house.ask(ids)
    wait_until(lambda: house.simulator.stats()["in_flight"] == 1, "the call is in the air")
    report = house.client.status(request_id)
    assert (report["state"], report["in_flight"], report["waiting"]) == ("PROGRESS", 5, 0)
    seen = house.wait_for_state(request_id, "PROGRESS", 2.5)
    assert (seen.report["in_flight"], seen.report["waiting"]) == (5, 0)
    assert house.final(request_id).state == "SUCCESS"


def test_failure(house: House) -> None:
    """FAILURE when a file could not be deleted: the exception's one argument is the report, also for `get`."""
    ids = house.files(2)
    house.simulator.refuse_ids(ids[:1], "No.")
    request_id = house.ask(ids)
    seen = house.final(request_id)
    assert (seen.state, seen.error, seen.args) == ("FAILURE", "DeletionIncomplete", [seen.report])
    assert seen.report["errors"] == [{"file_id": ids[0], "error": "No."}]
    got = house.service.do("get", request_id, 5)
    assert (got["error"], got["args"]) == ("DeletionIncomplete", [seen.report])


@pytest.mark.parametrize("by", ["client", "revoke"])
def test_revoked(house: House, by: str) -> None:
    """A request is cancelled by our client or by `AsyncResult.revoke()`: REVOKED, and nothing of it was called."""
    ids = house.files(4)
    request_id = house.ask(ids, hold_seconds=600)
    house.wait_for_state(request_id, "QUEUED")
    if by == "client":
        assert house.client.cancel(request_id)["cancelled"] == 4
    else:
        house.service.do("revoke", request_id)
    seen = house.final(request_id)
    assert (seen.state, seen.error, seen.report["cancelled"]) == ("REVOKED", "RequestCancelled", 4)
    assert house.service.do("get", request_id, 5)["error"] == "RequestCancelled"
    assert house.calls_with(ids) == []
    assert house.client.stats()["waiting"] == 0


def test_revoked_in_the_middle(house: House) -> None:
    """What is in flight runs to its end, and is reported; only what waits is cancelled."""
    flying, held = house.files(100), house.files(50)
    house.simulator.fault("slow_before", delay_ms=1500)
    request_id = house.ask([*flying, *held])
    wait_until(lambda: house.simulator.stats()["in_flight"] == 1, "the first call is in the air")
    house.admin.pause("the rest is to wait")
    cancelled = house.client.cancel(request_id)
    house.admin.resume()
    seen = house.final(request_id)
    gone = [file_id for file_id in [*flying, *held] if not house.simulator.existing([file_id])]
    assert seen.state == ("REVOKED" if cancelled["cancelled"] else "SUCCESS")
    assert seen.report["deleted"] == len(gone) >= 100
    assert seen.report["deleted"] + seen.report["cancelled"] == 150


def test_a_final_request_is_not_cancelled(house: House) -> None:
    """Cancelling what is over changes nothing."""
    report = house.deleted(house.files(2))
    assert house.client.cancel(report["request_id"]) == report
    house.service.do("revoke", report["request_id"])
    house.wait_for_beats(time.time())
    assert house.service.look(report["request_id"]).state == "SUCCESS"


def test_open_until_it_is_sealed(house: House) -> None:
    """While the client still streams ids in, the request is OPEN: nothing is deleted; sealed, it runs."""
    ids = house.files(CHUNK_IDS * 2 + 3)
    may_end = threading.Event()

    def stream() -> Iterator[str]:
        yield from ids[:-1]
        may_end.wait(20)
        yield ids[-1]

    sender = threading.Thread(target=house.client.enqueue, args=(stream(),), kwargs={"request_id": "open-1"})
    sender.start()
    try:
        wait_until(lambda: house.is_known("open-1"), "the first chunk has arrived")
        assert house.client.status("open-1")["state"] == "OPEN"
        assert house.service.look("open-1").state == "PENDING"
        house.wait_for_beats(time.time() + 0.2)
        assert len(house.simulator.existing(ids)) == len(ids)
    finally:
        may_end.set()
        sender.join(20)
    report = house.client.wait("open-1", 20)
    check_report(report, "open-1")
    assert (report["state"], report["deleted"], report["truncated"]) == ("SUCCESS", len(ids), True)
    assert house.final("open-1").report == report
    assert sorted(each.file_id for each in house.client.outcomes("open-1")) == sorted(ids)


def test_open_and_abandoned(house: House) -> None:
    """A stream that breaks off leaves no request behind, and deletes nothing."""
    ids = house.files(CHUNK_IDS + 10)

    def stream() -> Iterator[str]:
        yield from ids
        raise OSError("the file ends in the middle")

    with pytest.raises(OSError, match="in the middle"):
        house.client.enqueue(stream(), request_id="open-2")
    with pytest.raises(UnknownRequest):
        house.client.status("open-2")
    assert house.client.stats()["waiting"] == 0
    assert len(house.simulator.existing(ids)) == len(ids)
