"""Requests that may be sent again: the same one changes nothing, another with the same id is refused; retries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.client import Asked, Client
from tests.unit.support_queue import check_invariants, ids, must_claim, raw, settings_for_tests
from worker.errors import RequestIdTaken
from worker.limiter.slots import Limiter
from worker.queue.claims import end
from worker.queue.operations import CHUNK_IDS, Queue
from worker.reports.audit import Audit
from worker.states import Outcome

ASKED = Asked(
    request_id="r", source="shop", reason="why", hold_seconds=0, result_ttl_seconds=None, callback=None, purge=None
)
LONG = CHUNK_IDS + 10


@pytest.mark.parametrize("count", [1, LONG])
def test_the_same_request_again_changes_nothing(client: Client, queue: Queue, count: int) -> None:
    """Short, or streamed; it is told apart from a new one, and its sender stands in the audit trail."""
    assert client.submit(ASKED, iter(ids("a", count)), "token x") == ("r", True)
    assert client.submit(ASKED, iter(ids("a", count)), "token y") == ("r", False)
    check_invariants(queue, {"r": {*ids("a", count)}})
    assert [entry["by"] for entry in Audit(queue.redis, settings_for_tests()).entries()] == ["token x"]


@pytest.mark.parametrize("count", [2, LONG])
@pytest.mark.parametrize(
    ("change", "files"),
    [({"source": "blog"}, 0), ({"reason": None}, 0), ({"hold_seconds": 60}, 0), ({}, 1), ({}, -1)],
)
def test_the_same_id_for_something_else_is_refused(
    client: Client, queue: Queue, count: int, change: dict[str, Any], files: int
) -> None:
    """Another source, reason, hold, or file id; the first request stays as it was."""
    client.submit(ASKED, ids("a", count), "token x")
    with pytest.raises(RequestIdTaken, match="r was used before"):
        client.submit(Asked(**{**ASKED, **change}), ids("a", count + files), "token x")  # type: ignore[typeddict-item]
    check_invariants(queue, {"r": {*ids("a", count)}})


def test_an_id_that_was_used_otherwise_is_refused(client: Client) -> None:
    """A request that came by Celery or the command line has no digest to compare with."""
    client.enqueue(["a"], request_id="r")
    with pytest.raises(RequestIdTaken):
        client.submit(ASKED, ["a"], "token x")


def test_a_stream_that_breaks_off_may_be_sent_again(client: Client, queue: Queue) -> None:
    """Nothing of it is left."""

    def stream() -> Iterator[str]:
        yield from ids("a", LONG)
        raise OSError("cut off")

    with pytest.raises(OSError, match="cut off"):
        client.submit(ASKED, stream(), "token x")
    assert client.submit(ASKED, ids("a", LONG), "token x").is_new
    check_invariants(queue, {"r": {*ids("a", LONG)}})


def test_outcomes_of_some_kinds_alone(client: Client, queue: Queue) -> None:
    """Cancelled ids come from two places, the others from one."""
    client.enqueue(["a", "b"], request_id="r")
    queue.settle("t", end(must_claim(queue, "t").items[:1], Outcome.FAILED))
    client.enqueue(["c"], request_id="gone")
    client.cancel("gone", "token x")
    assert [entry.file_id for entry in client.outcomes("r", [Outcome.FAILED])] == ["a"]
    assert list(client.outcomes("gone", [Outcome.FAILED])) == []
    assert [entry.file_id for entry in client.outcomes("gone", [Outcome.CANCELLED])] == ["c"]


def test_who_pauses_and_resumes_is_recorded(queue: Queue) -> None:
    """Once for each change."""
    limiter = Limiter(queue.redis, settings_for_tests())
    for _ in range(2):
        limiter.pause("maintenance", "token x")
    for _ in range(2):
        limiter.resume("token y")
    found = [
        (entry["event"], entry["by"], entry["detail"]) for entry in Audit(queue.redis, settings_for_tests()).entries()
    ]
    assert found == [("paused", "token x", {"reason": "maintenance"}), ("resumed", "token y", {})]
    assert raw(queue).exists(queue.keys("account")) == 0
