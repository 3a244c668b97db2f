"""`/metrics`: what Prometheus reads, who may read it, and what it says without Redis."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from redis.connection import Connection

import web.figures
from config.settings import Window
from local.ports import LOOPBACK
from tasks.figures import Reading
from tasks.tokens import Scope
from tests.unit.support_queue import (
    end_all,
    ids,
    must_claim,
    queue_on,
    raw,
    run_out,
    settings_for_tests,
)
from tests.unit.support_web import KEY, api_of, beat, call, context_on
from web.context import Context
from web.figures import LatestFigures
from web.metrics import endpoint
from web.metrics.families import MOST_SOURCES, Families
from worker.limiter.slots import Call, Endpoint, Kind, Limiter
from worker.metrics.reading import Reader
from worker.queue.claims import end, park, retry
from worker.queue.operations import NewRequest, Queue
from worker.states import Outcome

GUARDS = {"guards": '{"guarded": {"max_files": 1}}'}
LIMITS = {"rate_limits": (Window(5, 60_000),), "rate_share": 0.8}
Metrics = Mapping[str, float]
"""Name of a metric and its labels besides the account, as in `kitsweep_files_total outcome=deleted` → value."""


@pytest.fixture
def context(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    context = context_on(redis_client, monkeypatch, **GUARDS, **LIMITS)
    yield context
    context.close()


@pytest.fixture
def queue(redis_client: Redis) -> Queue:
    return queue_on(redis_client, batch_size=10, **GUARDS)


@pytest.fixture
def limiter(redis_client: Redis) -> Limiter:
    return Limiter(redis_client, settings_for_tests(**LIMITS))


def page(context: Context, **more: Any) -> str:
    response = call(api_of(context), "GET", "/metrics", **{"auth": (KEY, ""), **more})
    assert response.status_code == 200
    return response.text


def parsed(text: str) -> Metrics:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "account"}
            found[" ".join([sample.name, *(f"{name}={value}" for name, value in labels.items())])] = sample.value
    return found


def metrics_of(context: Context) -> Metrics:
    return parsed(page(context))


def read(redis: Redis, *accounts: str) -> Reading:
    return Reader(redis).read(settings_for_tests(account=account) for account in accounts or ["default"])


def test_files_by_where_they_are(context: Context, queue: Queue) -> None:
    """Ended by outcome; waiting (retries included), held and in flight."""
    queue.enqueue(NewRequest("a", "alpha"), ids("a", 20))
    claim = must_claim(queue, "t")
    queue.settle("t", end(claim.items[:3], Outcome.DELETED) + retry(claim.items[3:5], 60_000))
    queue.enqueue(NewRequest("b", "beta", hold_seconds=60), ids("b", 4))
    queue.enqueue(NewRequest("c", "guarded"), ids("c", 2))
    found = metrics_of(context)
    assert found["kitsweep_files_accepted_total"] == 20 + 4 + 2
    assert found["kitsweep_files_total outcome=deleted"] == 3
    assert found["kitsweep_files_total outcome=failed"] == 0
    assert found["kitsweep_files_waiting source=alpha"] == 12
    assert found["kitsweep_files_held source=beta"] == 4
    assert found["kitsweep_files_waiting source=beta"] == 0
    assert found["kitsweep_files_in_flight"] == 5
    assert found["kitsweep_approvals_waiting"] == found["kitsweep_requests state=unapproved"] == 1
    assert found["kitsweep_requests state=on_hold"] == found["kitsweep_requests state=active"] == 1


@pytest.mark.parametrize("where", ["in line", "in line again", "retrying", "parked", "expired"])
def test_the_oldest_request_is_found_wherever_its_ids_wait(redis_client: Redis, queue: Queue, where: str) -> None:
    """Also behind cancelled requests; those on hold or waiting for approval do not count."""
    queue.enqueue(NewRequest("held", "s", hold_seconds=60), ["h"])
    queue.enqueue(NewRequest("cancelled", "s"), ["c"])
    queue.cancel("cancelled")
    queue.enqueue(NewRequest("old", "s"), ["o"])
    raw(queue).hset(queue.keys.request("old"), "enqueued_at", 5000)
    if where != "in line":
        items = must_claim(queue, "t").items
        if where in {"in line again", "retrying"}:
            queue.settle("t", retry(items, 0 if where == "in line again" else 60_000))
            queue.peek(1)
        elif where == "parked":
            queue.settle("t", park(items, delay_ms=60_000))
        else:
            run_out(queue, "t")
    queue.enqueue(NewRequest("new", "s"), ["n"])
    assert read(redis_client).accounts[0].oldest_ms == {"s": 5000}


def test_requests_by_how_and_how_fast_they_end(context: Context, queue: Queue) -> None:
    """The step that makes a request final counts it, and its duration."""
    for request, outcome, took_ms in (("a", Outcome.DELETED, 0), ("b", Outcome.FAILED, 40_000)):
        queue.enqueue(NewRequest(request, "s"), [request])
        raw(queue).hincrby(queue.keys.request(request), "enqueued_at", -took_ms)
        end_all(queue, must_claim(queue, request), outcome)
    queue.enqueue(NewRequest("c", "s"), ["c"])
    queue.cancel("c")
    found = metrics_of(context)
    for state in ("SUCCESS", "FAILURE", "REVOKED"):
        assert found[f"kitsweep_requests_finished_total state={state}"] == 1
    assert found["kitsweep_request_duration_seconds_bucket le=30.0"] == 2
    assert found["kitsweep_request_duration_seconds_bucket le=60.0"] == 3
    assert found["kitsweep_request_duration_seconds_count"] == 3
    assert 40 <= found["kitsweep_request_duration_seconds_sum"] < 50


def test_a_request_is_counted_once_however_often_its_end_is_recorded(context: Context, queue: Queue) -> None:
    """redis-py repeats an operation whose reply is lost."""
    queue.enqueue(NewRequest("a", "s"), ["a"])
    claim = must_claim(queue, "t")
    for _ in range(2):
        end_all(queue, claim)
    assert metrics_of(context)["kitsweep_requests_finished_total state=SUCCESS"] == 1


def test_calls_by_endpoint_status_duration_and_fill(context: Context, limiter: Limiter, redis_client: Redis) -> None:
    """A call without a response counts too; one that is not made, for lack of a key, does not."""
    limiter.record(Call(Kind.OK, status=200, elapsed_ms=49.5, files=100))
    limiter.record(Call(Kind.OK, status=207, elapsed_ms=2400, files=99))
    limiter.record(Call(Kind.TROUBLE, elapsed_ms=30_001, files=100))
    limiter.record(Call(Kind.KEY_REFUSED))
    Limiter(redis_client, settings_for_tests(), Endpoint.LIST).record(Call(Kind.OK, status=200, elapsed_ms=7))
    found = metrics_of(context)
    assert {name: value for name, value in found.items() if name.startswith("kitsweep_calls_total")} == {
        "kitsweep_calls_total endpoint=delete status=200": 1,
        "kitsweep_calls_total endpoint=delete status=207": 1,
        "kitsweep_calls_total endpoint=delete status=none": 1,
        "kitsweep_calls_total endpoint=list status=200": 1,
    }
    assert found["kitsweep_call_files_bucket le=99.0"] == 1
    assert (found["kitsweep_call_files_count"], found["kitsweep_call_files_sum"]) == (3, 299)
    durations = "kitsweep_call_duration_seconds"
    assert found[f"{durations}_bucket endpoint=delete le=0.05"] == 1
    assert found[f"{durations}_bucket endpoint=delete le=30.0"] == 2
    assert found[f"{durations}_bucket endpoint=delete le=+Inf"] == 3
    assert found[f"{durations}_sum endpoint=list"] == pytest.approx(0.007)


def test_the_limit_and_its_use(context: Context, limiter: Limiter) -> None:
    """Every window of every endpoint; only our share of it counts."""
    limiter.acquire("one", 0)
    found = metrics_of(context)
    assert found["kitsweep_limit_calls endpoint=delete window=1m"] == 4
    assert found["kitsweep_limit_used_calls endpoint=delete window=1m"] == 1
    assert found["kitsweep_limit_used_calls endpoint=list window=1m"] == 0


def test_what_keeps_the_queue_from_draining(context: Context, queue: Queue, limiter: Limiter) -> None:
    """Why calls are paused, workers, messages, results and webhooks."""
    beat(queue)
    raw(queue).lpush("celery", "message")
    raw(queue).zadd(queue.keys("webhooks:failed"), {"w": 1})
    raw(queue).zadd(queue.keys("outbox"), {"late": 1, "just ended": queue.now_ms() + 60_000})
    limiter.record(Call(Kind.KEY_REFUSED, "bad key"))
    found = metrics_of(context)
    assert found["kitsweep_paused reason=key_refused"] == 1
    assert found["kitsweep_paused reason=operator"] == 0
    assert found["kitsweep_workers"] == found["kitsweep_messages_unaccepted"] == 1
    assert found["kitsweep_webhooks state=failed"] == found["kitsweep_results_unpublished"] == 1
    assert "kitsweep_last_success_timestamp_seconds" not in found


def test_sources_are_bounded(fake_redis: Redis) -> None:
    """Those with most files have a label of their own, and all others share one."""
    queue = queue_on(fake_redis)
    for number in range(MOST_SOURCES + 3):
        queue.enqueue(NewRequest(f"r{number}", f"s{number:02}"), ids(f"{number}-", number + 1))
    queue.enqueue(NewRequest("other", "other"), ["o"])
    raw(queue).hset(queue.keys.request("r0"), "enqueued_at", 5000)
    found = parsed(generate_latest(Families(read(fake_redis), "1")).decode())
    waiting = {name: value for name, value in found.items() if name.startswith("kitsweep_files_waiting")}
    assert len(waiting) == MOST_SOURCES + 1
    assert waiting["kitsweep_files_waiting source=other"] == 1 + 2 + 3 + 1
    assert waiting["kitsweep_files_waiting source=s03"] == 4
    assert found["kitsweep_oldest_waiting_timestamp_seconds source=other"] == 5


def test_accounts_are_told_apart(redis_client: Redis) -> None:
    """Each account on the server has its own figures, under its label, from one reading."""
    for account, count in (("default", 1), ("shop", 2)):
        queue_on(redis_client, account=account).enqueue(NewRequest("r", "s"), ids("x", count))
    text = generate_latest(Families(read(redis_client, "default", "shop"), "1")).decode()
    for account, count in (("default", 1), ("shop", 2)):
        assert f'kitsweep_files_waiting{{account="{account}",source="s"}} {count}.0\n' in text


def test_reading_changes_nothing(redis_client: Redis, queue: Queue) -> None:
    """No key and no value, however often it is read."""
    queue.enqueue(NewRequest("a", "s"), ["a"])
    queue.cancel("a")
    before = {key: raw(queue).dump(key) for key in raw(queue).scan_iter()}
    read(redis_client)
    assert {key: raw(queue).dump(key) for key in raw(queue).scan_iter()} == before


def test_a_token_needs_the_scope_read(context: Context) -> None:
    """Prometheus sends it as a bearer token."""
    for scope, source, status in ((Scope.READ, None, 200), (Scope.DELETE, "catalog", 403)):
        token = context.admin.tokens.create(scope, [scope], source)
        headers = {"Authorization": f"Bearer {token}"}
        assert call(api_of(context), "GET", "/metrics", headers=headers).status_code == status
    assert call(api_of(context), "GET", "/metrics").status_code == 401


def test_a_setting_opens_the_page(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """For networks in which everybody may know the figures."""
    context = context_on(fake_redis, monkeypatch, web_open_metrics=True)
    assert "kitsweep_workers" in page(context, auth=None)
    context.close()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ],
)
def test_the_scraper_chooses_the_format(context: Context, accept: str, content_type: str) -> None:
    """Prometheus asks for OpenMetrics."""
    response = call(api_of(context), "GET", "/metrics", auth=(KEY, ""), headers={"Accept": accept})
    assert response.headers["content-type"].startswith(content_type)


@pytest.fixture(params=["refuses", "hangs"])
def dead_redis(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a server that refuses connections, or accepts them and never answers."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        url = f"redis://{LOOPBACK}:{listener.getsockname()[1]}/0"
        if request.param == "refuses":
            listener.close()
        yield url


def test_without_redis_the_page_says_so_promptly(dead_redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 200, before Prometheus gives up after 10 s. A token cannot be checked then, and gets no more than that."""
    assert endpoint.ANSWER_SECONDS < 10
    monkeypatch.setattr(endpoint, "ANSWER_SECONDS", 0.3)
    context = Context(settings_for_tests(redis_url=dead_redis))
    start = time.monotonic()
    for auth in ((KEY, ""), ("ks_unknown", "")):
        found = parsed(page(context, auth=auth))
        assert set(found) == {"kitsweep_redis_up", f"kitsweep_build_info version={version('kitsweep')}"}
        assert found["kitsweep_redis_up"] == 0
    assert time.monotonic() - start < 3
    assert call(api_of(context), "GET", "/metrics").status_code == 401
    context.close()


def test_readers_share_a_reading(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is read once a second, however many ask."""
    readings = 0

    def count() -> Reading:
        nonlocal readings
        readings += 1
        return read(fake_redis)

    async def ask() -> None:
        figures = LatestFigures(count)
        await asyncio.gather(*(figures.get() for _ in range(5)))
        await figures.get()
        assert readings == 1
        monkeypatch.setattr(web.figures, "MAX_AGE_SECONDS", 0)
        await figures.get()
        assert readings == 2
        figures.close()

    asyncio.run(ask())


def test_a_reading_takes_two_round_trips(real_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any number of accounts: one asks whether the script is loaded, the other for everything."""
    reader, accounts = Reader(real_redis), [settings_for_tests(account=name) for name in ("a", "b", "c")]
    reader.read(accounts)
    sent, send = 0, Connection.send_packed_command

    def count(*args: Any, **more: Any) -> None:
        nonlocal sent
        sent += threading.current_thread() is threading.main_thread()
        send(*args, **more)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Connection, "send_packed_command", count)
    assert [each.account for each in reader.read(accounts).accounts] == ["a", "b", "c"]
    assert sent == 2
