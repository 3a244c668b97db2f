"""kombu's Redis transport, patched so that a worker survives a restart of Redis and a server that is out of memory.

When the connection breaks, kombu 5.7.0 clears the transport's client while a channel may still have to return
messages; the resulting `AttributeError` ends the worker. The patch raises a connection error there, from which kombu
recovers.

A server that is out of memory refuses kombu's bookkeeping writes, which also ends the worker. Here that counts as a
lost connection: the worker retries, while its batches free memory.
"""

from __future__ import annotations

from typing import Any

from kombu import transport
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError


class _Guarded:
    """A channel that reports a closed connection as a connection error."""

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
    """A channel on the master named by Sentinel."""


class SentinelTransport(kombu_redis.SentinelTransport):
    """The transport of `sentinel://` addresses."""

    Channel = SentinelChannel
    connection_errors = (*kombu_redis.SentinelTransport.connection_errors, OutOfMemoryError)


def patch_transports() -> None:
    """Use these transports for Redis URLs in this process.

    Under the usual schemes, since tools such as Flower recognise a broker by the scheme of its URL.
    """
    names = dict.fromkeys(("redis", "rediss"), "Transport") | {"sentinel": "SentinelTransport"}
    for scheme, name in names.items():
        transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:{name}"
        # kombu remembers what a scheme led to, should a connection have been made before.
        transport._transport_cache.pop(scheme, None)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
