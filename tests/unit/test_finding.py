"""What became of one file id: in which requests it is or was, and how it ended there."""

from __future__ import annotations

import pytest
from redis import Redis

import tasks.search
import worker.reports.finding
from tasks.search import Search, Trace
from tests.unit.support_queue import end_all, ids, must_claim, queue_on, raw, settings_for_tests
from worker.queue.claims import end, park, retry
from worker.queue.operations import NewRequest, Queue
from worker.reports.finding import Finder
from worker.runtime.process import create_app
from worker.states import Outcome


@pytest.fixture
def queue(redis_client: Redis) -> Queue:
    return queue_on(redis_client)


@pytest.fixture
def search(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.setattr(tasks.search, "connect", lambda _: redis_client)
    return Search(settings_for_tests())


def one(search: Search, file_id: str = "x") -> Trace:
    found = search.file(file_id)
    assert found.after is None
    (trace,) = found.traces
    return trace


@pytest.mark.parametrize("outcome", [Outcome.DELETED, Outcome.NOT_FOUND, Outcome.PRESUMED_DELETED, Outcome.FAILED])
@pytest.mark.parametrize("file_id", ["x", 'a/"ü"\\b'])
def test_an_outcome_is_found(queue: Queue, search: Search, outcome: Outcome, file_id: str) -> None:
    """With request, source, attempts, error and time, whatever characters the id has."""
    queue.enqueue(NewRequest("r", "shop"), [*ids("a", 3), file_id])
    end_all(queue, must_claim(queue, "t"), outcome, "why")
    trace = one(search, file_id)
    assert (trace.request_id, trace.source, trace.state) == ("r", "shop", outcome)
    assert (trace.error, trace.attempts) == ("why", 1)
    assert (trace.enqueued_at or "z") <= (trace.at or "")


def test_an_id_that_waits_is_found(queue: Queue, search: Search) -> None:
    """In a new request, and until its next attempt."""
    queue.enqueue(NewRequest("r", "s"), ["x"])
    assert (one(search).state, one(search).at) == ("waiting", None)
    queue.settle("t", retry(must_claim(queue, "t").items, 60_000))
    assert one(search).state == "waiting"


def test_an_id_in_a_call_or_in_a_parked_group_is_found(queue: Queue, search: Search) -> None:
    """What is parked waits."""
    queue.enqueue(NewRequest("r", "s"), ["x", "y"])
    claim = must_claim(queue, "t")
    assert one(search).state == "in_flight"
    queue.settle("t", park(claim.items, delay_ms=60_000))
    assert one(search).state == "waiting"


def test_an_id_that_is_claimed_during_the_search_is_found(
    queue: Queue, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has left the list of waiting ids, and was in no claim when the search began."""
    queue.enqueue(NewRequest("r", "s"), ["x"])
    real = Finder._abouts

    def then_claim(finder: Finder, request_ids: list[str]) -> dict[str, dict[str, str | None]]:
        found = real(finder, request_ids)
        must_claim(queue, "t")
        return found

    monkeypatch.setattr(Finder, "_abouts", then_claim)
    assert one(search).state == "in_flight"


def test_a_cancelled_id_is_found(queue: Queue, search: Search) -> None:
    """Whether it had been tried or not."""
    queue.enqueue(NewRequest("r", "s"), ["x", "y"])
    queue.settle("t", retry(must_claim(queue, "t").items[:1], 60_000))
    queue.cancel("r")
    assert [one(search, "x").state, one(search, "y").state] == ["cancelled", "in_flight"]
    queue.enqueue(NewRequest("other", "s"), ["z"])
    queue.cancel("other")
    assert (one(search, "z").state, one(search, "z").attempts) == ("cancelled", 0)
    assert one(search, "z").at


def test_every_request_with_the_id_is_found(queue: Queue, search: Search) -> None:
    """The newest first; an id that is only a part of another is not found."""
    for name in "abc":
        queue.enqueue(NewRequest(name, "s"), ["x", f"xx-{name}"])
        end_all(queue, must_claim(queue, f"t-{name}"))
    assert [trace.request_id for trace in search.file("x").traces] == ["c", "b", "a"]
    assert search.file("xx").traces == []


def test_large_requests_are_looked_through_to_their_end(queue: Queue, search: Search) -> None:
    """The last group of many is found as well."""
    files = ids("f", 1500)
    queue.enqueue(NewRequest("r", "s"), files)
    for number in range(15):
        end_all(queue, must_claim(queue, f"t{number}"))
    assert one(search, files[-1]).state == "deleted"


def test_the_search_goes_on_page_by_page(queue: Queue, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that has looked for long ends early, even empty."""
    queue.enqueue(NewRequest("old", "s"), ["x"])
    for number in range(5):
        queue.enqueue(NewRequest(f"r{number}", "s"), ["y"])
    monkeypatch.setattr(worker.reports.finding, "LOOK_SECONDS", -1)
    monkeypatch.setattr("worker.reports.mentions.AT_ONCE", 2)
    pages = [search.file("x")]
    while after := pages[-1].after:
        pages.append(search.file("x", after))
    assert [trace.request_id for page in pages for trace in page.traces] == ["old"]
    assert len(pages) == 4


def test_an_id_of_which_the_result_alone_is_left_is_found(queue: Queue, search: Search) -> None:
    """A request that succeeded at once has no keys of its own."""
    queue.enqueue(NewRequest("r", "shop"), ["x", "y"])
    end_all(queue, must_claim(queue, "t"), Outcome.NOT_FOUND)
    create_app(settings_for_tests(), queue.redis).publisher.publish(["r"])
    assert not raw(queue).exists(queue.keys.request("r"))
    trace = one(search)
    assert (trace.request_id, trace.source, trace.state, trace.attempts) == ("r", "shop", "not_found", 1)
    assert (trace.enqueued_at or "z") <= (trace.at or "")
    assert search.file("z").traces == []


def test_what_has_expired_is_not_found(queue: Queue, search: Search) -> None:
    """Only what is within retention is searched."""
    queue.enqueue(NewRequest("r", "s"), ["x"])
    queue.settle("t", end(must_claim(queue, "t").items, Outcome.DELETED))
    raw(queue).delete(queue.keys.request("r"))
    assert search.file("x").traces == []


def test_what_is_no_file_id_is_refused(search: Search) -> None:
    """With the rule."""
    with pytest.raises(ValueError, match="a file id is"):
        search.file("a b")
