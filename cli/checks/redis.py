"""Looks at the Redis that is set: reachable, fit to hold a queue, and who works on it. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from cli.checks.findings import Finding, Result
from cli.screen.wording import pause_line
from config.settings import Settings
from tasks.client import Client
from worker.errors import KitsweepError
from worker.store.connection import connect, explained
from worker.store.durability import eviction_problem


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Look at the server, and if it can be used, at the queue in it."""
    try:
        with explained(settings), connect(settings) as redis:
            redis.ping()
            yield from _server(redis, settings.redis_address)
            client = Client(settings)
            yield from _queue(client)
    except KitsweepError as error:
        yield Finding("redis", Result.FAILED, str(error))
    except RedisError as error:
        yield Finding("redis", Result.FAILED, f"Redis at {settings.redis_address} refused: {error}")


def _server(redis: Redis, address: str) -> Iterator[Finding]:
    about = _info(redis)
    yield _reached(about, address)
    yield eviction(_policy(redis, about))
    yield durability(about)


def _info(redis: Redis) -> dict[str, Any]:
    """Return what the server says of itself; empty where users may not ask."""
    try:
        return dict(redis.info())
    except ResponseError:
        return {}


def _reached(about: Mapping[str, Any], address: str) -> Finding:
    name = "Valkey" if about.get("valkey_version") else "Redis"
    version = about.get("valkey_version") or about.get("redis_version") or "of unknown version"
    if about.get("role") == "slave":
        mend = "it is a replica and takes no writes; name the master in KITSWEEP_REDIS_URL, or use sentinel://"
        return Finding("redis", Result.FAILED, f"{name} {version} at {address}: {mend}")
    return Finding("redis", Result.OK, f"{name} {version} answers at {address}")


def _policy(redis: Redis, about: Mapping[str, Any]) -> str | None:
    """Return the eviction policy; None where the server does not tell."""
    if policy := about.get("maxmemory_policy"):
        return str(policy)
    try:
        return redis.config_get("maxmemory-policy").get("maxmemory-policy")
    except ResponseError:
        return None


def eviction(policy: str | None) -> Finding:
    """Judge an eviction policy: any but one could drop our keys when memory is short."""
    if policy is None:
        told = "the server does not tell its maxmemory-policy; make sure that it is noeviction, or ids may be lost"
        return Finding("eviction", Result.WARNING, told)
    if problem := eviction_problem(policy):
        return Finding("eviction", Result.FAILED, problem)
    return Finding("eviction", Result.OK, f"maxmemory-policy is {policy}: no key is ever dropped")


def durability(about: Mapping[str, Any]) -> Finding:
    """Tell whether what is enqueued outlives the server's end."""
    enabled = about.get("aof_enabled")
    if enabled is None:
        return Finding("durability", Result.REMARK, "the server does not tell whether it keeps an append-only file")
    if int(enabled):
        return Finding("durability", Result.OK, "the append-only file is on: requests outlive a restart of the server")
    off = "the append-only file is off: a restart of the server may lose the last requests; `appendonly yes` keeps them"
    return Finding("durability", Result.REMARK, off)


def _queue(client: Client) -> Iterator[Finding]:
    stats = client.stats()
    workers = len(stats["workers"])
    alive = f"{workers} alive" if workers else "none is alive; start one: celery -A worker.app worker"
    yield Finding("workers", Result.OK if workers else Result.REMARK, alive)
    if stats["pause"]:
        yield Finding("pause", Result.REMARK, pause_line(stats["pause"], stats["now"]))
