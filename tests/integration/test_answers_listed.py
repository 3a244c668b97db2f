"""Answers with results of single files, or that refuse a call because of one: 200, 207, 404, 400, 413."""

from __future__ import annotations

import json
from math import ceil, log2

from tests.integration.support_house import House
from worker.reports.report import FileOutcome
from worker.states import Outcome

ENVIRONMENT = {"KITSWEEP_MAX_ATTEMPTS": "2"}


def outcomes(house: House, request_id: str) -> dict[str, FileOutcome]:
    """How each file of a request ended."""
    return {each.file_id: each for each in house.client.outcomes(request_id)}


def test_200_lists_what_is_gone(house: House) -> None:
    """Listed ids are deleted, by one call for all of a batch; the request is a success."""
    ids = house.files(30)
    report = house.deleted(ids)
    assert sorted(report["successfully_deleted_file_ids"]) == sorted(ids)
    assert (report["deleted"], report["total"]) == (30, 30)
    assert house.simulator.existing(ids) == []
    assert [len(call.ids) for call in house.calls_with(ids)] == [30]


def test_200_with_an_unlisted_id(house: House) -> None:
    """An id that was sent and is not listed is sent again, alone; the listed ones are not."""
    ids = house.files(5)
    house.simulator.fault("omit", ids=[ids[3]])
    report = house.deleted(ids)
    assert report["deleted"] == 5
    assert [len(call.ids) for call in house.calls_with(ids)] == [5, 1]
    assert len(house.calls_with([ids[3]])) == 2


def test_200_with_an_unlisted_id_that_was_deleted(house: House) -> None:
    """Should an unlisted id be missing next time, then perhaps through our call: presumed deleted, not "not found"."""
    ids = house.files(2)
    body = json.dumps({"successfullyDeletedFileIds": ids[:1]})
    house.simulator.fault("answer", status=200, body=body, effect=True)
    report = house.deleted(ids)
    assert (report["successfully_deleted_file_ids"], report["presumed_deleted_file_ids"]) == (ids[:1], ids[1:])


def test_200_that_never_lists_an_id(house: House) -> None:
    """An id that no answer ever lists has failed at the last attempt, and the report says why."""
    ids = house.files(1)
    house.simulator.fault("omit", ids=ids, times=2)
    request_id = house.ask(ids)
    seen = house.final(request_id)
    assert (seen.state, seen.report["failed"]) == ("FAILURE", 1)
    assert "did not report its outcome" in seen.report["errors"][0]["error"]
    assert outcomes(house, request_id)[ids[0]].attempts == 2


def test_207_with_an_error_that_stays(house: House) -> None:
    """An id under `errors` is tried again, and fails at the last attempt with the API's own error."""
    ids = house.files(6)
    house.simulator.fail_ids(ids[2:3], "The file is locked.")
    request_id = house.ask(ids, source="catalog", reason="closed")
    seen = house.final(request_id)
    assert (seen.state, seen.error) == ("FAILURE", "DeletionIncomplete")
    assert seen.args == [seen.report]
    assert seen.report["errors"] == [{"file_id": ids[2], "error": "The file is locked."}]
    assert (seen.report["deleted"], seen.report["failed"], seen.report["reason"]) == (5, 1, "closed")
    assert [len(call.ids) for call in house.calls_with(ids)] == [6, 1]
    assert house.simulator.existing(ids) == ids[2:3]
    assert outcomes(house, request_id)[ids[2]].attempts == 2


def test_207_with_an_error_that_passes(house: House) -> None:
    """An error that is gone at the next attempt leaves no trace: all files are deleted."""
    ids = house.files(4)
    house.simulator.fault("partial", ids=[ids[0]])
    request_id = house.ask(ids)
    assert house.final(request_id).report["deleted"] == 4
    assert {file_id: each.attempts for file_id, each in outcomes(house, request_id).items()} == {
        ids[0]: 2,
        ids[1]: 1,
        ids[2]: 1,
        ids[3]: 1,
    }


def test_404_with_missing_ids(house: House) -> None:
    """Missing ids were not found; the rest, which that call did not delete, is sent again at once."""
    ids, absent = house.files(4), house.no_files(2)
    report = house.deleted([*ids[:2], *absent, *ids[2:]])
    assert sorted(report["missing_file_ids"]) == sorted(absent)
    assert sorted(report["successfully_deleted_file_ids"]) == sorted(ids)
    first, second = house.calls_with([*ids, *absent])
    assert (first.status, second.status) == (404, 200)
    assert second.at - first.at < 0.5


def test_404_is_topped_up(house: House) -> None:
    """The rest of a call that named missing ids goes out with fresh ids in the places of those: full again."""
    ids, absent = house.files(160), house.no_files(10)
    sent = [*absent, *ids]
    assert house.deleted(sent)["not_found"] == 10
    first, second, third = house.calls_with(sent)
    assert [len(call.ids) for call in (first, second, third)] == [100, 100, 60]
    assert set(first.ids) - set(absent) <= set(second.ids)


def test_404_of_ids_that_we_deleted(house: House) -> None:
    """Ids that we have deleted are `deleted` in any later request, without a call."""
    ids = house.files(3)
    house.deleted(ids)
    assert house.deleted(ids)["deleted"] == 3
    assert len(house.calls_with(ids)) == 1


def test_404_of_files_that_others_deleted(house: House) -> None:
    """A file that another program removed is `not_found`: no call of ours can have deleted it."""
    ids = house.files(3)
    house.simulator.take_away(ids[:1])
    report = house.deleted(ids)
    assert (report["missing_file_ids"], report["deleted"], report["presumed_deleted"]) == (ids[:1], 2, 0)


def test_404_that_names_none_of_ours(house: House) -> None:
    """A 404 that names only ids which were never sent blames no id: the batch is split, and succeeds."""
    ids = house.files(4)
    body = json.dumps({"message": "The requested file(s) does not exist.", "missingFileIds": ["f0" * 12]})
    house.simulator.fault("answer", status=404, body=body)
    assert house.deleted(ids)["deleted"] == 4
    assert [len(call.ids) for call in house.calls_with(ids)] == [4, 2, 2]


def test_404_that_names_no_sent_id_for_one_id(house: House) -> None:
    """A single id that gets such a 404 fails with the API's message."""
    ids = house.files(1)
    house.simulator.fault("answer", status=404, body=json.dumps({"message": "No such thing."}))
    seen = house.final(house.ask(ids))
    assert seen.report["errors"] == [{"file_id": ids[0], "error": "No such thing."}]


def test_400_for_one_id(house: House) -> None:
    """The culprit is found by halves, in few calls, and fails with the API's message; its companions are deleted."""
    ids = house.files(32)
    house.simulator.refuse_ids([ids[13]], "Your request contains invalid fileId parameter.")
    request_id = house.ask(ids)
    seen = house.final(request_id)
    assert (seen.state, seen.error) == ("FAILURE", "DeletionIncomplete")
    wanted = {"file_id": ids[13], "error": "Your request contains invalid fileId parameter."}
    assert (seen.report["deleted"], seen.report["errors"]) == (31, [wanted])
    assert house.simulator.existing(ids) == [ids[13]]
    assert len(house.calls_with(ids)) <= 1 + 2 * ceil(log2(len(ids)))
    assert outcomes(house, request_id)[ids[13]].outcome is Outcome.FAILED


def test_400_for_ids_of_two_requests(house: House) -> None:
    """Only the request with the culprit fails; the one that shared its batch is a success."""
    bad, good = house.files(3), house.files(3)
    house.simulator.refuse_ids([bad[1]])
    asked = [house.ask(bad, source="first"), house.ask(good, source="second")]
    assert [house.final(request_id).state for request_id in asked] == ["FAILURE", "SUCCESS"]


def test_413_is_split(house: House) -> None:
    """A call that is too large for a proxy in front of the API is split in halves."""
    ids = house.files(6)
    house.simulator.fault("answer", status=413, body="<html>too large</html>")
    assert house.deleted(ids)["deleted"] == 6
    assert [len(call.ids) for call in house.calls_with(ids)] == [6, 3, 3]


def test_ids_that_were_never_sent_are_ignored(house: House) -> None:
    """Ids in an answer that no call sent appear in no report."""
    ids = house.files(2)
    house.simulator.fault("foreign")
    report = house.deleted(ids)
    assert sorted(report["successfully_deleted_file_ids"]) == sorted(ids)
