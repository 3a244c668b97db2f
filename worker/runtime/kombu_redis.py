"""kombu's Redis transport, mended: a worker that holds a message outlives a restart of Redis.

When the connection breaks, kombu 5.7.0 takes the client away from the transport while a channel may still be about to
give messages back; it then fails with an `AttributeError` that ends the worker. A connection error at that place is
what it knows how to recover from.

A server that is out of memory refuses kombu's own notes. That ends a worker too, unless it counts as a lost connection;
so it stays, tries again, and its dispatcher makes room meanwhile.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError


class _Guarded:
    """A channel that says that its connection is gone when it is."""

    connection: Any

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection to the broker is closed")
        return super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]


class Channel(_Guarded, kombu_redis.Channel):
    """A channel on one Redis server."""


class Transport(kombu_redis.Transport):
    """The transport of `redis://`, `rediss://` and `unix://` addresses."""

    Channel = Channel
    connection_errors = (*kombu_redis.Transport.connection_errors, OutOfMemoryError)


class SentinelChannel(_Guarded, kombu_redis.SentinelChannel):
    """A channel on the master that sentinels name."""


class SentinelTransport(kombu_redis.SentinelTransport):
    """The transport of `sentinel://` addresses."""

    Channel = SentinelChannel
    connection_errors = (*kombu_redis.SentinelTransport.connection_errors, OutOfMemoryError)


def mend_transports() -> None:
    """Let the addresses of Redis lead to these transports, in this process.

    By their usual names, since tools such as Flower know a broker by the scheme of its address.
    """
    names = dict.fromkeys(("redis", "rediss"), "Transport") | {"sentinel": "SentinelTransport"}
    TRANSPORT_ALIASES.update({scheme: f"{__name__}:{name}" for scheme, name in names.items()})
