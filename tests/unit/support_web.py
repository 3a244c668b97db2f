"""Calls the web application without a network."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import pytest
from fastapi import FastAPI
from redis import Redis

import tasks.client
import tasks.search
import worker.account
from tests.unit.support_queue import settings_for_tests
from web.app import create_api
from web.context import Context
from web.dropin.endpoints import DropIn

KEY = "private_test"
T = TypeVar("T")


def context_on(redis: Redis, monkeypatch: pytest.MonkeyPatch, **overrides: Any) -> Context:
    """Return a context on a client of Redis; `overrides` are settings."""
    monkeypatch.setattr(tasks.client, "connect", lambda _: redis)
    monkeypatch.setattr(tasks.search, "connect", lambda _: redis)
    monkeypatch.setattr(worker.account, "connect", lambda _: redis)
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
