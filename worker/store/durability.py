"""What a Redis server must offer to hold the queue: no eviction and, on request, writes that are on disk."""

from __future__ import annotations

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from worker.errors import NotDurable
from worker.store.keys import Keys

SAFE_POLICY = "noeviction"
FLUSH_MS = 4000
"""How long the server may take to write to disk; below the connection's timeout."""


def eviction_problem(policy: str | None) -> str | None:
    """Return what is wrong with an eviction policy and how to fix it; None if nothing is or it is unknown."""
    if policy is None or policy == SAFE_POLICY:
        return None
    return (
        f"maxmemory-policy is {policy}, so the server drops keys when memory is short and ids are lost; set it to "
        f"{SAFE_POLICY} with `CONFIG SET maxmemory-policy {SAFE_POLICY}`, in redis.conf or in the provider's console"
    )


def eviction_policy(redis: Redis) -> str | None:
    """Return the server's eviction policy; None if it does not say. Raises `RedisError` if it cannot be reached."""
    try:
        return str(redis.info("memory")["maxmemory_policy"])
    except (ResponseError, KeyError):
        return None


def require_durability(redis: Redis, address: str) -> None:
    """Raise `NotDurable` unless the server has an append-only file and can wait for it (`WAITAOF`, from Redis 7.2)."""
    try:
        enabled = int(redis.info("persistence").get("aof_enabled", 0))
    except ResponseError:
        enabled = 0
    if not enabled:
        why = "has no append-only file (or does not say): set `appendonly yes`, or omit --durable"
        raise NotDurable(address, why, accepted=False)
    try:
        redis.waitaof(0, 0, 1)
    except ResponseError:
        why = "cannot tell when a write is on its disk: use Redis 7.2 or newer or Valkey, or omit --durable"
        raise NotDurable(address, why, accepted=False) from None


def await_disk(redis: Redis, keys: Keys, address: str) -> None:
    """Return once everything this client has written is on the server's disk. Raises `NotDurable`.

    WAITAOF covers the writes of its own connection. It therefore follows a write on the same connection, which comes
    after all writes of other connections that were already acknowledged.
    """
    with redis.pipeline(transaction=False) as pipe:
        pipe.incr(keys("sequence"))
        pipe.waitaof(1, 0, FLUSH_MS)
        try:
            *_, (local, _) = pipe.execute()
        except ResponseError as error:
            raise NotDurable(address, f"cannot wait for its disk ({error})", accepted=True) from None
        except RedisError as error:
            raise NotDurable(address, f"does not answer ({type(error).__name__})", accepted=True) from None
    if not local:
        raise NotDurable(address, f"did not write to its disk within {FLUSH_MS / 1000:g} s", accepted=True)
