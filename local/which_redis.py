"""Decides which Redis `kitsweep up` runs on: the one that is set, or an embedded one, and on which port."""

from __future__ import annotations

from typing import NamedTuple

from redis.exceptions import RedisError

from config.environment import read_env_file, secret_values
from config.settings import Settings, environment_name
from local.ports import LOOPBACK, free_port
from worker.errors import RedisUnreachable
from worker.store.connection import connect

DEFAULT_PORT = 6379
"""Where `KITSWEEP_REDIS_URL` points by default: there the command line finds it without any setting."""
NEXT_PORTS = range(6380, 6400)
_LOCAL = frozenset({LOOPBACK, "localhost"})


class WhichRedis(NamedTuple):
    """A Redis to run on."""

    url: str
    port: int | None
    """Where an embedded server is to listen; None for a server that runs already."""
    must_be_set: bool
    """Whether others must be told the address, because it is not the one that they find by themselves."""


def choose_redis(settings: Settings, port: int | None) -> WhichRedis:
    """Choose the Redis that is set and answers, else an embedded one; `port` is the one it should have.

    Raises:
        RedisUnreachable: the one that is set does not answer, and is not ours to start.
    """
    if is_set():
        if answers(settings):
            return WhichRedis(settings.redis_url, None, must_be_set=False)
        return WhichRedis(settings.redis_url, _own_port(settings), must_be_set=False)
    chosen = port or free_port([DEFAULT_PORT, *NEXT_PORTS])
    return WhichRedis(f"redis://{LOOPBACK}:{chosen}/0", chosen, must_be_set=chosen != DEFAULT_PORT)


def is_set() -> bool:
    """Return whether the environment or `.env` names a Redis."""
    values, _ = read_env_file()
    return bool(secret_values(environment_name("redis_url"), values))


def answers(settings: Settings) -> bool:
    """Return whether the Redis that is set answers."""
    try:
        with connect(settings) as redis:
            return bool(redis.ping())
    except (RedisError, OSError):
        return False


def _own_port(settings: Settings) -> int:
    """Return the port of an address at which we may start a server of our own: on this machine, with no password."""
    where = settings.redis_parts
    has_login = where.username is not None or where.password is not None
    if where.scheme != "redis" or has_login or where.hosts[0][0] not in _LOCAL:
        raise RedisUnreachable(settings.redis_address)
    return where.hosts[0][1]
