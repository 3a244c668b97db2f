"""Live pages: one sampler for all viewers, which sleeps when nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from redis import Redis

import web.dashboard.sampler
from tests.unit.support_dashboard import Browser
from tests.unit.support_queue import end_all, must_claim, queue_on
from tests.unit.support_web import context_on, until
from web.context import Context
from web.dashboard.sampler import Look, Sampler
from worker.errors import RedisUnreachable


@pytest.fixture
def context(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setattr(web.dashboard.sampler, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(web.dashboard.sampler, "SLEEP_AFTER_SECONDS", 0.2)
    context = context_on(fake_redis, monkeypatch)
    yield context
    context.close()


def counting(context: Context, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows by one with each reading of Redis."""
    readings, read = list[None](), context.client.stats

    def counted() -> object:
        readings.append(None)
        return read()

    monkeypatch.setattr(context.client, "stats", counted)
    return readings


def test_many_viewers_cost_one_reading_a_second(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing once nobody looks."""
    readings = counting(context, monkeypatch)

    async def view(sampler: Sampler) -> None:
        async with aclosing(sampler.looks()) as looks:
            for _ in range(5):
                await anext(looks)

    async def run() -> None:
        sampler = Sampler(context, context.figures)
        await asyncio.gather(*(view(sampler) for _ in range(50)), *(sampler.look() for _ in range(50)))
        assert len(readings) <= 8
        await until(lambda: not sampler.is_awake)
        before = len(readings)
        await asyncio.sleep(0.2)
        assert len(readings) == before

    asyncio.run(run())


def test_rates_are_those_of_the_last_seconds(context: Context, fake_redis: Redis) -> None:
    async def run() -> Look:
        sampler, queue = Sampler(context, context.figures), queue_on(fake_redis)
        assert (await sampler.look()).rate is None
        async with aclosing(sampler.looks()) as looks:
            context.client.enqueue([f"f{number}" for number in range(100)])
            end_all(queue, must_claim(queue, "t"))
            await anext(looks)
            return await anext(looks)

    look = asyncio.run(run())
    assert look.rate is not None
    assert look.rate > 0
    assert max(step.get("deleted", 0) for step in look.steps) > 0


def test_a_live_page_sends_its_part_and_ends_with_the_session(context: Context) -> None:
    """A revoked token's page stops by itself."""
    browser = Browser(context)
    seen = list[str]()

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        return {}

    async def send(message: dict[str, bytes]) -> None:
        seen.append(message.get("body", b"").decode())
        if "data: <section" in seen[-1]:
            context.tokens.revoke("ann")

    cookie = f"kitsweep_session={browser.cookie}".encode()
    scope = {"type": "http", "method": "GET", "path": "/dashboard/live", "raw_path": b"/dashboard/live"}
    more = {"query_string": b"", "headers": [(b"cookie", cookie)], "http_version": "1.1", "scheme": "http"}
    known = {**scope, **more, "server": ("kitsweep", 80), "client": ("test", 1), "asgi": {"version": "3.0"}}
    asyncio.run(asyncio.wait_for(browser.app(known, receive, send), 10))  # type: ignore[arg-type] # plain dictionaries
    assert any("All is well" in text or "No worker" in text for text in seen)


def test_live_pages_end_when_the_server_stops(context: Context) -> None:
    """So that it need not wait for them."""

    async def run() -> None:
        sampler = Sampler(context, context.figures)
        async with aclosing(sampler.looks()) as looks:
            await anext(looks)
            sampler.stop()
            with pytest.raises(StopAsyncIteration):
                await anext(looks)

    asyncio.run(asyncio.wait_for(run(), 5))


def test_a_redis_that_does_not_answer_is_told(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says since when, and what to do; it does not fail."""

    def fail() -> None:
        raise RedisUnreachable("db:6379/0", "refused")

    browser = Browser(context)
    monkeypatch.setattr(context.accounts.of(None).client, "stats", fail)
    assert "Redis has not answered" in browser.text("")
