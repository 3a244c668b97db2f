"""Chooses the Redis that `kitsweep up` runs on: the configured one, or an embedded one, and on which port."""

from typing import NamedTuple

from config.environment import read_env_file, secret_values
from config.settings import Settings, environment_name
from local.ports import LOOPBACK, free_port
from tasks.client import Client
from worker.errors import QueueUnavailable, RedisUnreachable

DEFAULT_PORT = 6379
"""The default of `KITSWEEP_REDIS_URL`, where the command line finds it without any setting."""
NEXT_PORTS = range(6380, 6400)
_LOCAL = frozenset({LOOPBACK, "localhost"})


class WhichRedis(NamedTuple):
    """A Redis to run on."""

    url: str
    port: int | None
    """The port of an embedded server; None for a server that already runs."""
    must_be_set: bool
    """Whether other programs need `KITSWEEP_REDIS_URL` to find it."""


def choose_redis(settings: Settings, port: int | None) -> WhichRedis:
    """Choose the configured Redis if it answers, else an embedded one, on `port` if it is given.

    Raises:
        RedisUnreachable: the configured one does not answer, and cannot be started here.
    """
    if _is_configured():
        own_port = None if _answers(settings) else _own_port(settings)
        return WhichRedis(settings.redis_url, own_port, must_be_set=False)
    chosen = port or free_port([DEFAULT_PORT, *NEXT_PORTS])
    return WhichRedis(f"redis://{LOOPBACK}:{chosen}/0", chosen, must_be_set=chosen != DEFAULT_PORT)


def _is_configured() -> bool:
    """Return whether the environment or `.env` names a Redis."""
    values, _ = read_env_file()
    return bool(secret_values(environment_name("redis_url"), values))


def _answers(settings: Settings) -> bool:
    try:
        Client(settings).stats()
    except QueueUnavailable:
        return False
    return True


def _own_port(settings: Settings) -> int:
    """Return the port of an address at which a server can be started: on this machine, without a password."""
    where = settings.redis_parts
    has_login = where.username is not None or where.password is not None
    if where.scheme != "redis" or has_login or where.hosts[0][0] not in _LOCAL:
        raise RedisUnreachable(settings.redis_address)
    return where.hosts[0][1]
