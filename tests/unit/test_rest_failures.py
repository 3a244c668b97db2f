"""Failed files in the REST API: counted, listed, exported, retried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from redis import Redis

from tests.unit import support_web
from tests.unit.support_queue import end_all, must_claim, queue_on
from tests.unit.support_web import KEY, api_of, context_on
from web.context import Context
from worker.queue.operations import NewRequest, Queue
from worker.states import Outcome


@pytest.fixture
def context(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    context = context_on(redis_client, monkeypatch)
    yield context
    context.close()


@pytest.fixture
def queue(redis_client: Redis) -> Queue:
    queue = queue_on(redis_client)
    for name, files, error in (("r1", ["a", "b"], "locked"), ("r2", ["c"], "name")):
        queue.enqueue(NewRequest(name, "shop"), files)
        end_all(queue, must_claim(queue, name), Outcome.FAILED, error)
    return queue


def call(context: Context, method: str, path: str = "", **more: Any) -> httpx2.Response:
    return support_web.call(api_of(context), method, f"/api/v1/failures{path}", auth=(KEY, ""), **more)


@pytest.mark.usefixtures("queue")
def test_failures_are_counted_listed_and_exported(context: Context) -> None:
    """By filter, as pages, NDJSON or CSV."""
    groups = call(context, "GET").json()
    assert (groups["files"], [(each["error"], each["files"]) for each in groups["groups"]]) == (
        3,
        [("locked", 2), ("name", 1)],
    )
    page = call(context, "GET", "/files?limit=2").json()
    rest = call(context, "GET", f"/files?limit=2&after={page['next']}").json()
    assert [each["file_id"] for each in page["failures"] + rest["failures"]] == ["c", "a", "b"]
    assert rest["next"] is None
    csv = call(context, "GET", "/files?format=csv&error=LOCK").text.splitlines()
    assert csv[0] == "file_id,error,source,request_id,attempts,at,retried_by"
    assert [line.split(",")[:4] for line in csv[1:]] == [["a", "locked", "shop", "r1"], ["b", "locked", "shop", "r1"]]
    lines = call(context, "GET", "/files", headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert len(lines) == 3


@pytest.mark.usefixtures("queue")
def test_a_filter_is_retried_if_it_matches_as_many_files_as_expected(context: Context) -> None:
    """Otherwise nothing is retried; the second time there is nothing left."""
    wrong = call(context, "POST", "/retry", json={"error": "locked", "expected": 3})
    assert (wrong.status_code, wrong.json()["files"]) == (409, 2)
    done = call(context, "POST", "/retry", json={"error": "locked", "expected": 2})
    assert (done.status_code, done.json()["files"], done.json()["requests"]) == (202, 2, 1)
    assert context.client.status(done.json()["request_ids"][0])["retry_of"] == "r1"
    assert call(context, "POST", "/retry", json={"error": "locked", "expected": 2}).status_code == 409
    assert call(context, "POST", "/retry", json={"error": "locked"}).status_code == 422
