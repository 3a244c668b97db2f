"""Calls the web application without a network."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import httpx2
import pytest
from fastapi import FastAPI
from redis import Redis

import tasks.client
import tasks.failures
import tasks.figures
import tasks.search
import tasks.submissions
import worker.account
from local.ports import LOOPBACK
from tests.unit.support_queue import raw, settings_for_tests
from tests.waiting import wait_until
from web.app import App, create_api
from web.context import Context
from web.dropin.endpoints import DropIn
from web.server import Server, listen, url_of
from worker.queue.claims import end
from worker.queue.operations import Queue
from worker.states import Outcome

KEY = "private_test"
T = TypeVar("T")


def context_on(redis: Redis, monkeypatch: pytest.MonkeyPatch, **overrides: Any) -> Context:
    """Return a context on a client of Redis; `overrides` are settings."""
    monkeypatch.setattr(tasks.client, "connect", lambda _: redis)
    monkeypatch.setattr(tasks.failures, "connect", lambda _: redis)
    monkeypatch.setattr(tasks.search, "connect", lambda _: redis)
    monkeypatch.setattr(tasks.figures, "connect", lambda _, **__: redis)
    monkeypatch.setattr(worker.account, "connect", lambda _: redis)
    monkeypatch.setattr(tasks.submissions, "connect", lambda _: redis)
    return Context(settings_for_tests(**overrides))


def api_of(context: Context) -> FastAPI:
    """Return the part of the application that FastAPI answers."""
    return create_api(context, DropIn(context).watcher)


def basic(user: str, password: str = "") -> str:
    """Return an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def with_client(app: Any, use: Callable[[httpx2.AsyncClient], Awaitable[T]]) -> T:
    """Run a coroutine with a client of an application."""

    async def run() -> T:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://kitsweep") as client:
            return await use(client)

    return asyncio.run(run())


def call(app: Any, method: str, path: str, **more: Any) -> httpx2.Response:
    """Make one call."""
    return with_client(app, lambda client: client.request(method, path, **more))


def with_app(context: Context, use: Callable[[httpx2.AsyncClient], Awaitable[T]]) -> T:
    """Run a coroutine with a client of the whole application, which listens for the end of requests."""

    async def run() -> T:
        app = App(context)
        app.start()
        try:
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://kitsweep", auth=(KEY, "")) as client:
                return await use(client)
        finally:
            await app.close()

    return asyncio.run(run())


@contextmanager
def served(context: Context) -> Iterator[str]:
    """Serve the application on a port of its own, in a thread; give its URL."""
    app, ready = App(context), threading.Event()
    server = Server(app, 1, ready.set)

    async def run(listener: socket.socket) -> None:
        await server.serve([listener])
        await app.close()

    with listen(LOOPBACK, 0) as listener:
        url = url_of(listener)
        thread = threading.Thread(target=lambda: asyncio.run(run(listener)))
        thread.start()
        assert ready.wait(10)
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join()


class StandInWorker:
    """Settles what is claimable, in a thread: how a file id begins says how it ends. Counts its claims."""

    OUTCOMES = (
        ("missing", Outcome.NOT_FOUND, ""),
        ("bad", Outcome.FAILED, "Your request contains invalid fileId parameter."),
        ("presumed", Outcome.PRESUMED_DELETED, ""),
        ("", Outcome.DELETED, ""),
    )

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.claims: list[list[str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        beat(self.queue)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(0.01):
            claim = self.queue.claim(uuid.uuid4().hex)
            if claim is None:
                continue
            self.claims.append([item.file_id for item in claim.items])
            for start, outcome, error in self.OUTCOMES:
                items = [item for item in claim.items if self._start_of(item.file_id) == start]
                if items:
                    self.queue.settle(claim.token, end(items, outcome, error))

    def _start_of(self, file_id: str) -> str:
        return next(start for start, *_ in self.OUTCOMES if file_id.startswith(start))


def beat(queue: Queue) -> None:
    """Let a worker be alive."""
    raw(queue).zadd(queue.keys("workers"), {"stand-in": queue.now_ms()})


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    await asyncio.to_thread(wait_until, condition)
