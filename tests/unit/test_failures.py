"""Failed files: they are counted by error, listed, and retried once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

import tasks.failures
from tasks.client import Client
from tasks.failures import EVERYTHING, FailureFilter, Failures
from tests.unit.support_queue import check_invariants, end_all, ids, must_claim, raw, settings_for_tests
from worker.errors import InvalidRequest, NotPossible, UnknownRequest
from worker.queue.claims import end
from worker.queue.operations import NewRequest, Queue
from worker.reports.audit import Audit
from worker.states import Outcome


@pytest.fixture
def failures(client: Client, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Failures:
    """Return the failures on the test's Redis."""
    monkeypatch.setattr(tasks.failures, "connect", lambda _: redis_client)
    return Failures(settings_for_tests(), client)


def fail(queue: Queue, request: str, files: list[str], *, error: str = "no", source: str = "s") -> None:
    """Let all files of a new request fail with an error."""
    queue.enqueue(NewRequest(request, source), files)
    for number in range(-(-len(files) // 100)):
        end_all(queue, must_claim(queue, f"{request}-{number}"), Outcome.FAILED, error)


def names(failures: Failures, wanted: FailureFilter = EVERYTHING) -> list[str]:
    return [failure["file_id"] for failure in failures.files(wanted)]


def test_failures_are_grouped_by_error_and_source(failures: Failures, queue: Queue) -> None:
    """The largest group first; files of requests that are not final do not count yet."""
    fail(queue, "r1", ["a", "b"], error="locked")
    fail(queue, "r2", ["c"], error="locked")
    fail(queue, "r3", ["d"], error="locked", source="t")
    fail(queue, "r4", ["e"], error="name")
    queue.enqueue(NewRequest("open", "s"), ["f", "g"])
    queue.settle("t", end(must_claim(queue, "t").items[:1], Outcome.FAILED, "locked"))
    found = [(group["error"], group["source"], group["files"]) for group in failures.groups()]
    assert found == [("locked", "s", 3), ("name", "s", 1), ("locked", "t", 1)]
    assert all(group["first_at"] <= group["last_at"] for group in failures.groups())


def test_a_failure_says_what_where_and_when(failures: Failures, queue: Queue) -> None:
    """One record for each file."""
    fail(queue, "r", ["a"], error="locked", source="shop")
    (failure,) = failures.files()
    at = datetime.fromisoformat(failure.pop("at"))  # type: ignore[misc] # to compare the rest
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)
    assert failure == {
        "file_id": "a",
        "error": "locked",
        "source": "shop",
        "request_id": "r",
        "attempts": 1,
        "retried_by": None,
    }


def test_a_filter_takes_part_of_the_error_source_time_request_and_files(failures: Failures, queue: Queue) -> None:
    """What is not given excludes nothing."""
    fail(queue, "r1", ["a", "b"], error="File is LOCKED")
    fail(queue, "r2", ["c"], error="name", source="t")
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    assert names(failures) == ["c", "a", "b"]
    assert names(failures, FailureFilter(error="locked")) == ["a", "b"]
    assert names(failures, FailureFilter(source="t")) == ["c"]
    assert names(failures, FailureFilter(request_id="r1")) == ["a", "b"]
    assert names(failures, FailureFilter(file_ids=frozenset("bc"))) == ["c", "b"]
    assert names(failures, FailureFilter(since=now - hour, until=now + hour)) == ["c", "a", "b"]
    assert names(failures, FailureFilter(since=now + hour)) == names(failures, FailureFilter(until=now - hour)) == []


def test_pages_go_on_within_a_request(failures: Failures, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when new requests fail and files are retried meanwhile."""
    monkeypatch.setattr("worker.reports.failures._FIRST_GROUPS", 1)
    fail(queue, "r1", ids("a", 250))
    fail(queue, "r2", ids("b", 3))
    pages = [failures.page(most=101)]
    while after := pages[-1].after:
        fail(queue, f"later-{len(pages)}", ["x"])
        pages.append(failures.page(most=101, after=after))
    found = [failure["file_id"] for page in pages for failure in page.failures]
    assert found == ids("b", 3) + ids("a", 250)
    assert [len(page.failures) for page in pages] == [101, 101, 51]
    with pytest.raises(InvalidRequest, match="after"):
        failures.page(after="nonsense")


def test_a_filter_is_retried_as_one_request_for_each(client: Client, failures: Failures, queue: Queue) -> None:
    """Each names the request it repeats; the same retry again makes nothing new, and the files are listed no more."""
    fail(queue, "r1", ["a", "b"], error="locked", source="shop")
    fail(queue, "r2", ["c"], error="locked")
    fail(queue, "r3", ["d"], error="name")
    wanted = FailureFilter(error="locked")
    first, second = failures.retry_matching(wanted, "token x")
    assert list(failures.retry_matching(wanted)) == []
    assert [(each.retry_of, each.files, each.is_new) for each in (first, second)] == [("r2", 1, True), ("r1", 2, True)]
    report = client.status(second.request_id)
    assert (report["retry_of"], report["source"], report["total"]) == ("r1", "shop", 2)
    assert names(failures) == ["d"]
    again = {failure["file_id"]: failure["retried_by"] for failure in failures.files(FailureFilter(retried=True))}
    assert again == {"a": second.request_id, "b": second.request_id, "c": first.request_id, "d": None}


def test_one_file_is_retried_and_then_the_rest(client: Client, failures: Failures, queue: Queue) -> None:
    """No file is in two retries."""
    fail(queue, "r", ["a", "b", "c"])
    (one,) = failures.retry_matching(FailureFilter(file_ids=frozenset("b")))
    rest = failures.retry("r")
    assert (one.files, client.status(rest.request_id)["total"], rest.is_new) == (1, 2, True)
    assert failures.retry("r") in ((one.request_id, False), (rest.request_id, False))


def test_a_retry_that_a_crash_left_without_its_note_is_found_again(failures: Failures, queue: Queue) -> None:
    """The same files make the same request id."""
    fail(queue, "r", ["a", "b"])
    wanted = FailureFilter(file_ids=frozenset("b"))
    (first,) = failures.retry_matching(wanted)
    raw(queue).delete(queue.keys.request("r", "retried"))
    (second,) = failures.retry_matching(wanted)
    assert second == first._replace(is_new=False)
    assert list(failures.retry_matching(wanted)) == []


def test_the_note_of_a_retry_expires_with_the_request(failures: Failures, queue: Queue) -> None:
    """Nothing is kept for ever."""
    fail(queue, "r", ["a"])
    failures.retry("r")
    about, note = (raw(queue).pexpiretime(queue.keys.request("r", part)) for part in ("about", "retried"))
    assert about == note > 0


def test_errors_beyond_a_bound_are_counted_together(
    failures: Failures, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A summary has a bounded size, and still counts every file."""
    monkeypatch.setattr("worker.reports.failures.MOST_GROUPS", 2)
    for number in range(4):
        fail(queue, f"r{number}", ["a"], error=f"error {number}")
    assert [(group["error"], group["files"]) for group in failures.groups()] == [
        ("(other errors)", 2),
        ("error 2", 1),
        ("error 3", 1),
    ]


def test_the_failed_files_are_retried_as_a_new_request(client: Client, failures: Failures, queue: Queue) -> None:
    """It tells which request it repeats, has its source and reason, and is the same however often one asks."""
    queue.enqueue(NewRequest("r", "cleanup:old", "why"), ids("a", 4))
    claim = must_claim(queue, "t")
    queue.settle("t", end(claim.items[:2], Outcome.DELETED) + end(claim.items[2:], Outcome.FAILED, "no"))
    first, second = failures.retry("r", "token x"), failures.retry("r")
    assert first.request_id == second.request_id
    assert [first.is_new, second.is_new] == [True, False]
    report = client.status(first.request_id)
    assert (report["total"], report["source"], report["reason"], report["retry_of"]) == (2, "cleanup:old", "why", "r")
    check_invariants(queue, {"r": {*ids("a", 4)}, first.request_id: {*ids("a", 4)[2:]}})
    *_, entry = Audit(queue.redis, settings_for_tests()).entries()
    assert (entry["by"], entry["detail"]["retry_of"]) == ("token x", "r")


def test_a_retry_can_be_retried(client: Client, failures: Failures, queue: Queue) -> None:
    """Each time as a request of its own."""
    client.enqueue(["a"], request_id="r")
    end_all(queue, must_claim(queue, "t1"), Outcome.FAILED)
    second = failures.retry("r").request_id
    end_all(queue, must_claim(queue, "t2"), Outcome.FAILED)
    assert failures.retry(second).request_id not in {"r", second}


def test_what_cannot_be_retried_says_why(client: Client, failures: Failures, queue: Queue) -> None:
    """Unknown, not final, or without failed files."""
    with pytest.raises(UnknownRequest):
        failures.retry("nobody")
    client.enqueue(["a"], request_id="r")
    with pytest.raises(NotPossible, match="not final"):
        failures.retry("r")
    end_all(queue, must_claim(queue, "t"))
    with pytest.raises(NotPossible, match="no failed files"):
        failures.retry("r")


def test_a_retry_purges_as_its_request_did(failures: Failures, queue: Queue) -> None:
    """The URLs are looked up again."""
    queue.enqueue(NewRequest("r", "s", purge="folder"), ["a"], {"a": "https://h/a.jpg"})
    end_all(queue, must_claim(queue, "t"), Outcome.FAILED, "locked")
    again = failures.retry("r").request_id
    assert raw(queue).hget(queue.keys.request(again), "purge") == "folder"
    assert raw(queue).zrange(queue.keys("lookups"), 0, -1) == [again]
