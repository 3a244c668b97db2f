"""Connects to Redis, outlasts its outages, and turns its errors into ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from redis import Redis, Sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from config.settings import Settings
from worker.errors import QueueFull, RedisUnreachable

logger = logging.getLogger(__name__)

SOCKET_TIMEOUT_SECONDS = 5
CONNECT_TIMEOUT_SECONDS = 3
OUTLAST_SECONDS = 55.0
"""How long to retry storing a response of the API; less than the grace period of a stop (60 s)."""

T = TypeVar("T")


def connect(settings: Settings, *, retries: int = 2, decode: bool = True) -> Redis:
    """Return a client with time-outs of seconds that reconnects `retries` times.

    Retrying is safe: all operations are idempotent (`worker.store.scripts`). With a `sentinel://` address the client
    follows the master that the sentinels name. Replies are text, or bytes without `decode`.
    """
    options: dict[str, Any] = {
        "decode_responses": decode,
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "health_check_interval": 30,
        # A time-out is not retried: a server that hangs would cost each call three of them.
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), retries, supported_errors=(RedisConnectionError,)),
    }
    where = settings.redis_parts
    if where.scheme != "sentinel":
        return Redis.from_url(settings.redis_url, **options)
    login = {"username": where.username, "password": where.password}
    sentinel = Sentinel(where.hosts, sentinel_kwargs=where.sentinel_options, **options, **login)  # type: ignore[no-untyped-call]
    return cast("Redis", sentinel.master_for(where.master, db=where.db))  # type: ignore[no-untyped-call]


@contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Turn the Redis client's errors into ours, with the address and without the password."""
    address = settings.redis_address
    try:
        yield
    except OutOfMemoryError:
        raise QueueFull(address) from None
    except ResponseError as error:
        if "OOM" not in str(error):
            raise
        raise QueueFull(address) from None
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise RedisUnreachable(address, type(error).__name__) from None


def outlast(act: Callable[[], T]) -> T:
    """Call `act`, retrying while Redis is unavailable, so that no response of the API is lost.

    Raises:
        redis.exceptions.RedisError: Redis was unavailable for longer than `OUTLAST_SECONDS`.
    """
    give_up = time.monotonic() + OUTLAST_SECONDS
    pause = 0.1
    while True:
        try:
            return act()
        except (RedisConnectionError, RedisTimeoutError) as error:
            if time.monotonic() + pause > give_up:
                raise
            logger.warning("Redis is unavailable, retrying to store an API response in %.1f s: %s", pause, error)
            time.sleep(pause)
            pause = min(2.0, pause * 2)
