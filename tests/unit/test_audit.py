"""The audit trail: who requested each deletion, what was decided, and how it ended. Entries never change."""

from __future__ import annotations

import re
from typing import Any

import pytest
from redis import Redis

from config.settings import load_settings
from worker.errors import InvalidRequest
from worker.queue.claims import end
from worker.queue.operations import NewRequest, Queue
from worker.reports.audit import DAY_MS, STREAMS, Audit
from worker.states import Outcome
from worker.store.scripts import ROOMS


@pytest.fixture
def queue(redis_client: Redis) -> Queue:
    return Queue(redis_client, load_settings())


def trail(queue: Queue) -> Audit:
    """The trail of a queue."""
    return Audit(queue.redis, load_settings())


def test_a_request_is_recorded_when_it_comes_and_when_it_ends(queue: Queue) -> None:
    """Source, reason, who asked, how many, and how many ended how."""
    queue.enqueue(NewRequest("r1", "catalog", reason="old", hold_seconds=0, origin="svc@host"), ["a", "b", "c"])
    claim = queue.claim("t1")
    assert claim is not None
    queue.settle("t1", end(claim.items[:2], Outcome.DELETED) + end(claim.items[2:], Outcome.FAILED, "no"))
    first, last = trail(queue).entries()
    assert (first["event"], first["request"], first["source"], first["by"], first["total"]) == (
        "accepted",
        "r1",
        "catalog",
        "svc@host",
        3,
    )
    assert first["detail"] == {"reason": "old"}
    assert (last["event"], last["state"], last["by"]) == ("ended", "FAILURE", "svc@host")
    assert last["detail"] == {"reason": "old", "deleted": 2, "failed": 1}
    assert first["at"] <= last["at"]


def test_a_request_that_came_before_is_recorded_once(queue: Queue) -> None:
    """The same request again leaves no second line."""
    for _ in range(3):
        queue.enqueue(NewRequest("r1", "catalog"), ["a"])
    assert [entry["event"] for entry in trail(queue).entries()] == ["accepted"]


def test_requests_that_differ_in_their_id_alone_share_an_entry(queue: Queue) -> None:
    """What ends together and alike is stored once, and read as an entry for each request."""
    for number in range(8):
        queue.enqueue(NewRequest(f"r{number}", "catalog", origin="svc@host"), [f"a{number}"])
    claim = queue.claim("t1")
    assert claim is not None
    queue.settle("t1", end(claim.items[:6], Outcome.DELETED) + end(claim.items[6:], Outcome.NOT_FOUND))
    assert [queue.redis.xlen(queue.keys(stream)) for stream in STREAMS] == [8, 2]
    entries = [entry for entry in trail(queue).entries() if entry["event"] == "ended"]
    assert [entry["request"] for entry in entries] == [f"r{number}" for number in range(8)]
    assert [entry["detail"] for entry in entries] == [{"deleted": 1}] * 6 + [{"not_found": 1}] * 2
    assert {(entry["source"], entry["by"], entry["state"], entry["total"]) for entry in entries} == {
        ("catalog", "svc@host", "SUCCESS", 1)
    }
    assert len({entry["id"] for entry in entries}) == 8


def test_who_cancels_is_recorded(queue: Queue) -> None:
    """A cancel is recorded with its author, and the end of the request after it."""
    queue.enqueue(NewRequest("r1", "catalog", hold_seconds=60), ["a"])
    queue.cancel("r1", by="boss@host")
    queue.cancel("r1", by="boss@host")
    events = [(entry["event"], entry["by"]) for entry in trail(queue).entries()]
    assert events[1] == ("cancelled", "boss@host")
    assert [event for event, _ in events] == ["accepted", "cancelled", "ended"]
    assert next(iter(trail(queue).entries()))["detail"] == {"hold_ms": 60_000}


def test_a_period_is_read_in_order(queue: Queue) -> None:
    """`--since` begins at a moment; pages follow each other without gaps or doubles."""
    for number in range(1200):
        queue.redis.xadd(queue.keys("audit"), _fields(number), id=f"{1000 + number}-0")
    found = list(trail(queue).entries(since_ms=1500))
    assert [entry["total"] for entry in found] == list(range(500, 1200))
    assert [entry["total"] for entry in trail(queue).entries(until_ms=1003)] == [0, 1, 2, 3]


def _fields(number: int) -> Any:
    fields = {"event": "accepted", "request": "r", "source": "s", "by": "", "state": "QUEUED", "detail": "{}"}
    return {**fields, "total": number}


def test_pages_follow_each_other_without_gaps_or_doubles(queue: Queue) -> None:
    """Across both streams, also where entries fell into the same millisecond; a request's end comes after its start."""
    for number in range(40):
        stream = "ended" if number % 2 else "audit"
        queue.redis.xadd(queue.keys(stream), _fields(number), id=f"{1000 + number // 8}-{number}")
    everything = list(trail(queue).entries())
    pages = [trail(queue).page(0, 10**12, 3)]
    while pages[-1]:
        pages.append(trail(queue).page(0, 10**12, 3, pages[-1][-1]["id"]))
    assert [entry for page in pages for entry in page] == everything
    assert sorted(entry["total"] for entry in everything) == list(range(40))
    assert [entry["at"] for entry in everything] == sorted(entry["at"] for entry in everything)


def test_a_page_may_end_in_the_middle_of_a_shared_entry(queue: Queue) -> None:
    """The next one goes on there."""
    queue.redis.xadd(queue.keys("ended"), {**_fields(1), "request": "a b c"}, id="1000-0")
    pages = [trail(queue).page(0, 10**12, 2)]
    pages.append(trail(queue).page(0, 10**12, 2, pages[0][-1]["id"]))
    assert [[entry["request"] for entry in page] for page in pages] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("after", ["", "x", "1-1", "1-1.audit", "1-1.0.other"])
def test_what_is_no_entry_id_is_refused(queue: Queue, after: str) -> None:
    """A cursor comes from an entry."""
    with pytest.raises(InvalidRequest, match="after"):
        trail(queue).page(0, 10**12, 3, after)


def test_only_what_is_too_old_goes(queue: Queue) -> None:
    """Entries stay for the days set beyond the life of results, and go afterwards."""
    settings = load_settings(audit_days=2, result_ttl_seconds=3600)
    kept = 2 * DAY_MS + 3_600_000
    now = queue.now_ms()
    for age in (kept * 2, kept + 60_000, kept - 60_000, 0):
        queue.redis.xadd(queue.keys("audit"), _fields(age), id=f"{now - age}-0")
    queue.redis.xtrim(queue.keys("audit"), minid=str(now - kept), approximate=False)
    Audit(queue.redis, settings).trim()
    assert [entry["total"] for entry in trail(queue).entries()] == [kept - 60_000, 0]


def test_all_that_is_too_old_goes_at_once(queue: Queue) -> None:
    """However many entries came since the last time: one command of Redis trims ten thousand at most."""
    with queue.redis.pipeline(transaction=False) as pipe:
        for number in range(25_000):
            pipe.xadd(queue.keys("audit"), _fields(number), id=f"{1000 + number}-0")
        pipe.execute()
    trail(queue).trim()
    assert queue.redis.xlen(queue.keys("audit")) <= 100


def test_no_operation_rewrites_the_trail() -> None:
    """Our operations only add to it and read it: no other command of theirs names it."""
    for path in ROOMS.rglob("*.lua"):
        for command in re.findall(r"redis\.call\('(\w+)', (?:KEY\.audit|event == 'ended')", path.read_text("utf-8")):
            assert command in {"XADD", "XRANGE"}, path.name
