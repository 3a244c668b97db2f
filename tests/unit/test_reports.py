"""Reports: the counts always add up, the lists are cut at a thousand, and all outcomes can be read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from redis import Redis

from tests.unit.support_queue import end_all, ids, must_claim, queue_on
from worker.queue.claims import end, park
from worker.queue.operations import Chunk, NewRequest, Queue
from worker.reports.reader import REPORT_IDS, Reports, read_group
from worker.reports.report import Report
from worker.states import Outcome
from worker.times import iso

COUNTS = ("waiting", "in_flight", "deleted", "not_found", "presumed_deleted", "failed", "cancelled")


def read(queue: Queue, request_id: str = "r") -> Report:
    report = Reports(queue.redis, queue.keys).read([request_id])[0]
    assert report is not None
    counts = report["waiting"] + report["in_flight"] + sum(report[outcome.value] for outcome in Outcome)
    assert counts == report["total"], "the counts add up to the total at any time"
    return report


def test_a_new_request_is_queued(redis_client: Redis) -> None:
    """Nothing has happened yet: all of it waits."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "shop", reason="cleanup"), ids("a", 3))
    report = read(queue)
    assert (report["state"], report["total"], report["waiting"]) == ("QUEUED", 3, 3)
    assert (report["source"], report["reason"], report["request_id"]) == ("shop", "cleanup", "r")
    assert report["finished_at"] is None
    assert not report["truncated"]
    enqueued_at = datetime.fromisoformat(report["enqueued_at"] or "")
    assert enqueued_at.tzinfo == UTC
    assert abs((datetime.now(UTC) - enqueued_at).total_seconds()) < 60


def test_a_request_with_an_item_in_flight_or_ended_is_in_progress(redis_client: Redis) -> None:
    """PROGRESS is what QUEUED is called once something has happened."""
    queue = queue_on(redis_client, batch_size=1)
    queue.enqueue(NewRequest("r", "s"), ["a", "b"])
    claim = must_claim(queue, "t")
    assert (read(queue)["state"], read(queue)["in_flight"]) == ("PROGRESS", 1)
    end_all(queue, claim)
    assert (read(queue)["state"], read(queue)["deleted"]) == ("PROGRESS", 1)


def test_a_request_never_goes_back_from_progress_to_queued(redis_client: Redis) -> None:
    """Also when all that was in flight waits again, as in an outage."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a", "b"])
    claim = must_claim(queue, "t")
    queue.settle("t", park(claim.items, delay_ms=60_000))
    report = read(queue)
    assert (report["state"], report["waiting"], report["in_flight"]) == ("PROGRESS", 2, 0)


def test_an_unsealed_request_is_open(redis_client: Redis) -> None:
    """It has no total yet."""
    queue = queue_on(redis_client)
    queue.add_chunk(NewRequest("r", "s"), ["a"], Chunk(is_last=False))
    assert (read(queue)["state"], read(queue)["total"]) == ("OPEN", 0)


def test_an_unknown_request_has_no_report(redis_client: Redis) -> None:
    """Unknown requests are distinguished from waiting ones."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a"])
    found = Reports(queue.redis, queue.keys).read(["x", "r", "y"])
    assert [report and report["request_id"] for report in found] == [None, "r", None]


def test_each_outcome_is_counted_and_listed(redis_client: Redis) -> None:
    """Deleted, missing, presumed deleted and failed files have their lists; errors have their reasons."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a", "b", "c", "d"])
    items = {item.file_id: item for item in must_claim(queue, "t").items}
    queue.settle(
        "t",
        end([items["a"]], Outcome.DELETED)
        + end([items["b"]], Outcome.NOT_FOUND)
        + end([items["c"]], Outcome.PRESUMED_DELETED)
        + end([items["d"]], Outcome.FAILED, "locked", spent=3),
    )
    report = read(queue)
    assert report["state"] == "FAILURE"
    assert report["successfully_deleted_file_ids"] == ["a"]
    assert report["missing_file_ids"] == ["b"]
    assert report["presumed_deleted_file_ids"] == ["c"]
    assert report["errors"] == [{"file_id": "d", "error": "locked"}]
    assert report["finished_at"] is not None
    lines = {line.file_id: line for line in Reports(queue.redis, queue.keys).outcomes("r")}
    assert {file: line.outcome for file, line in lines.items()} == {
        "a": Outcome.DELETED,
        "b": Outcome.NOT_FOUND,
        "c": Outcome.PRESUMED_DELETED,
        "d": Outcome.FAILED,
    }
    assert (lines["d"].error, lines["d"].attempts) == ("locked", 3)
    assert datetime.fromisoformat(lines["a"].at).tzinfo == UTC


@pytest.mark.parametrize(("count", "truncated"), [(REPORT_IDS, False), (REPORT_IDS + 1, True)])
def test_lists_are_cut_at_a_thousand_ids(redis_client: Redis, count: int, truncated: bool) -> None:
    """The lists have at most a thousand ids each and `truncated` says so; the outcomes have all."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ids("a", count))
    turn = 0
    while claim := queue.claim(f"t{turn}"):
        end_all(queue, claim)
        turn += 1
    report = read(queue)
    assert report["deleted"] == count
    assert report["successfully_deleted_file_ids"] == ids("a", REPORT_IDS)
    assert report["truncated"] == truncated
    assert len(list(Reports(queue.redis, queue.keys).outcomes("r"))) == count


def test_the_lists_can_be_left_out(redis_client: Redis) -> None:
    """Reading only the counts reads no lists."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a"])
    end_all(queue, must_claim(queue, "t"))
    report = Reports(queue.redis, queue.keys).read(["r"], with_ids=False)[0]
    assert report is not None
    assert (report["deleted"], report["successfully_deleted_file_ids"]) == (1, [])


def test_cancelled_ids_are_among_the_outcomes(redis_client: Redis) -> None:
    """Each file of a cancelled request has its line, also those that were never touched."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ids("a", 12))
    queue.cancel("r")
    lines = list(Reports(queue.redis, queue.keys).outcomes("r"))
    assert [line.file_id for line in lines] == ids("a", 12)
    assert {(line.outcome, line.attempts, bool(line.at)) for line in lines} == {(Outcome.CANCELLED, 0, True)}


def test_times_are_iso_8601_in_utc() -> None:
    """Milliseconds since 1970, of any kind, become one form."""
    assert iso(0) == "1970-01-01T00:00:00.000+00:00"
    assert iso("1700000000123") == "2023-11-14T22:13:20.123+00:00"
    assert iso(None) is None


def test_a_group_is_read_as_it_was_written() -> None:
    """Time, attempts, error and file ids."""
    assert read_group('[5,2,"why","a","b"]') == (5, 2, "why", ["a", "b"])
