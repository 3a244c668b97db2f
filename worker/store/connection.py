"""Makes the Redis clients of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from redis import Redis, Sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from config.settings import Settings
from worker.errors import QueueFull, RedisUnreachable

SOCKET_TIMEOUT_SECONDS = 5
CONNECT_TIMEOUT_SECONDS = 3


def connect(settings: Settings) -> Redis:
    """Return a client that gives up on a frozen server after seconds, and tries a cut connection anew twice.

    Trying again is safe: all our operations are idempotent (`worker.store.scripts`). With a `sentinel://` address it
    follows the master that the sentinels name.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "health_check_interval": 30,
        # A time-out is not tried again: a frozen server would cost each call three of them.
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 2, supported_errors=(RedisConnectionError,)),
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
