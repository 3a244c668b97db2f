"""The list of requests: newest first, filtered, in pages that stay right while requests come and go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

import tasks.search
import worker.reports.listing
from tasks.search import Page, Search
from tests.unit.support_queue import end_all, must_claim, queue_on, raw, settings_for_tests
from worker.errors import InvalidRequest
from worker.queue.operations import NewRequest, Queue
from worker.runtime.process import create_app
from worker.states import Outcome, State


@pytest.fixture
def queue(redis_client: Redis) -> Queue:
    return queue_on(redis_client, batch_size=1)


@pytest.fixture
def search(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.setattr(tasks.search, "connect", lambda _: redis_client)
    return Search(settings_for_tests())


def enqueue(queue: Queue, *names: str, source: str = "s", reason: str | None = None) -> None:
    for name in names:
        queue.enqueue(NewRequest(name, source, reason), [f"{name}-file"])


def finish(queue: Queue, outcome: Outcome) -> None:
    """End the oldest request."""
    end_all(queue, must_claim(queue, "t"), outcome)


def publish_only(queue: Queue, request: str) -> None:
    """End the oldest request; its published result is all that is left of it."""
    finish(queue, Outcome.DELETED)
    create_app(settings_for_tests(), queue.redis).publisher.publish([request])
    assert not raw(queue).exists(queue.keys.request(request))


def names(page: Page) -> list[str]:
    return [report["request_id"] for report in page.reports]


def test_the_newest_request_comes_first(queue: Queue, search: Search) -> None:
    """A page has the reports, without their lists of ids."""
    enqueue(queue, "a", "b", "c")
    finish(queue, Outcome.DELETED)
    page = search.requests()
    assert (names(page), page.after) == (["c", "b", "a"], None)
    assert [report["state"] for report in page.reports] == ["QUEUED", "QUEUED", "SUCCESS"]
    assert page.reports[2]["successfully_deleted_file_ids"] == []


def test_pages_stay_right_while_requests_come_and_go(queue: Queue, search: Search) -> None:
    """A page goes on where the one before ended: nothing comes twice, and nothing that stays is left out."""
    enqueue(queue, *"abcdef")
    first = search.requests(most=2)
    enqueue(queue, "new")
    raw(queue).delete(queue.keys.request("d"))
    second = search.requests(most=2, after=first.after)
    third = search.requests(most=2, after=second.after)
    assert [names(page) for page in (first, second, third)] == [["f", "e"], ["c", "b"], ["a"]]
    assert third.after is None


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([State.SUCCESS], ["a"]),
        ([State.FAILURE], ["b"]),
        ([State.REVOKED], ["c"]),
        ([State.QUEUED], ["f"]),
        ([State.PROGRESS], ["d"]),
        ([State.QUEUED, State.PROGRESS], ["f", "d"]),
        ([State.FAILURE, State.REVOKED], ["c", "b"]),
        ([State.SUCCESS, State.QUEUED], ["f", "a"]),
    ],
)
def test_requests_are_filtered_by_state(queue: Queue, search: Search, states: list[State], expected: list[str]) -> None:
    """Each state alone, and several together."""
    enqueue(queue, *"abcdf")
    finish(queue, Outcome.DELETED)
    finish(queue, Outcome.FAILED)
    queue.cancel("c")
    must_claim(queue, "in flight")
    assert names(search.requests(states)) == expected


def test_requests_are_filtered_by_source_and_reason(queue: Queue, search: Search) -> None:
    """The reason by a part of it in any case; both filters together."""
    enqueue(queue, "a", source="shop", reason="Old drafts")
    enqueue(queue, "b", source="shop")
    enqueue(queue, "c", source="blog", reason="old DRAFTS of 2019")
    assert names(search.requests(source="shop")) == ["b", "a"]
    assert names(search.requests(text="drafts")) == ["c", "a"]
    assert names(search.requests(text="drafts", source="blog", states=[State.QUEUED])) == ["c"]


def test_requests_are_filtered_by_time(queue: Queue, search: Search) -> None:
    """From a moment on, and before one."""
    enqueue(queue, "a", "b")
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert names(search.requests(since=now - hour, until=now + hour)) == ["b", "a"]
    assert names(search.requests(until=now - hour)) == names(search.requests(since=now + hour)) == []
    assert names(search.requests([State.QUEUED], since=now + hour)) == []


def test_a_rare_request_is_found_page_by_page(queue: Queue, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that has looked for long ends early, even empty, and the next one goes on."""
    enqueue(queue, "rare", source="rare")
    for number in range(5):
        enqueue(queue, f"r{number}")
    monkeypatch.setattr(worker.reports.listing, "LOOK_SECONDS", -1)
    monkeypatch.setattr("worker.reports.mentions.AT_ONCE", 2)
    pages, after = [search.requests(source="rare")], None
    while after := pages[-1].after:
        pages.append(search.requests(source="rare", after=after))
    assert [name for page in pages for name in names(page)] == ["rare"]
    assert len(pages) == 4


def test_a_request_id_that_is_used_again_is_listed_once(queue: Queue, search: Search) -> None:
    """The audit trail outlives the first request with that id, which has expired."""
    queue.redis.xadd(
        queue.keys("audit"), {"event": "accepted", "request": "a", "source": "s", "detail": "{}"}, id="1000-0"
    )
    enqueue(queue, "a")
    assert names(search.requests()) == ["a"]


def test_requests_that_share_an_audit_entry_are_listed_one_by_one(queue: Queue, search: Search) -> None:
    """The last one first; a page may end in the middle of the entry, and none comes twice."""
    enqueue(queue, "first")
    queue.enqueue_many([(NewRequest(name, "s", origin="svc"), [name]) for name in "abcde"], [])
    assert raw(queue).xlen(queue.keys("audit")) == 2
    pages = [search.requests(most=2)]
    while pages[-1].after:
        pages.append(search.requests(most=2, after=pages[-1].after))
    assert [names(page) for page in pages] == [["e", "d"], ["c", "b"], ["a", "first"]]


def test_requests_of_which_the_result_alone_is_left_are_listed(queue: Queue, search: Search) -> None:
    """A request that succeeded at once has no keys of its own."""
    enqueue(queue, "a", "b", source="shop", reason="old")
    publish_only(queue, "a")
    page = search.requests([State.SUCCESS], source="shop")
    assert names(page) == ["a"]
    assert page.reports[0]["successfully_deleted_file_ids"] == []
    assert names(search.requests()) == ["b", "a"]


@pytest.mark.parametrize(
    "after", ["", "x", "audit.x", "audit.1-0", "unfinished.1-0.0", "audit.99999999999999999999-0.0"]
)
def test_a_cursor_of_another_list_is_refused(search: Search, after: str) -> None:
    """Also one that was made with other filters, if they need another stream."""
    with pytest.raises(InvalidRequest, match="after"):
        search.requests(after=after)
