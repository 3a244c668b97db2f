"""The mended transport: a closed connection is an error that kombu recovers from, never an `AttributeError`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection, transport
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.runtime.kombu_redis import Channel, SentinelChannel, SentinelTransport, Transport, patch_transports


def channel_on(connection: Any, kind: type[Any] = Channel) -> Any:
    """Make a channel that was never opened, on a connection."""
    channel: Any = object.__new__(kind)
    channel.connection = connection
    return channel


@pytest.mark.parametrize("connection", [None, SimpleNamespace(client=None)])
@pytest.mark.parametrize("kind", [Channel, SentinelChannel])
def test_a_closed_connection_is_reported(kind: type[Any], connection: Any) -> None:
    """A channel whose connection is gone raises the error of a lost connection."""
    with pytest.raises(RedisConnectionError, match="closed"):
        channel_on(connection, kind)._connparams()


def test_kombu_itself_still_needs_it() -> None:
    """The channel of kombu fails with an error that ends the worker: without that, ours could go."""
    with pytest.raises(AttributeError):
        channel_on(SimpleNamespace(client=None), kombu_redis.Channel)._connparams()


@pytest.mark.parametrize("kind", [Transport, SentinelTransport])
def test_the_error_is_one_that_kombu_recovers_from(kind: type[Any]) -> None:
    """The error is among those after which the worker connects anew."""
    with Connection("redis://127.0.0.1:1/0", transport=kind) as connection:
        assert issubclass(RedisConnectionError, connection.recoverable_connection_errors)


def test_an_open_connection_is_used_as_ever() -> None:
    """The parameters of a channel on an open connection are kombu's own."""
    with Connection("redis://user:secret@127.0.0.1:6390/3", transport=Transport) as connection:
        channel = channel_on(connection.transport)
        found = channel._connparams()
    assert (found["host"], found["port"], found["db"], found["password"]) == ("127.0.0.1", 6390, 3, "secret")


def test_the_app_uses_it() -> None:
    """The workers' app talks to Redis through the mended transport."""
    from worker.app import app  # noqa: PLC0415 - it reads the settings when imported

    with app.connection_for_read() as connection:
        assert connection.get_transport_cls() is Transport
    addresses = {
        "redis://h/0": Transport,
        "rediss://h/0": Transport,
        "redis+socket:///tmp/redis.sock": Transport,
        "sentinel://h:26379/0": SentinelTransport,
    }
    for address, expected in addresses.items():
        with Connection(address) as connection:
            assert connection.get_transport_cls() is expected, address


def test_a_scheme_that_kombu_resolved_before_leads_to_it_all_the_same() -> None:
    """kombu caches the transport of a scheme with the first connection of a process."""
    transport._transport_cache["redis"] = kombu_redis.Transport  # type: ignore[attr-defined]
    patch_transports()
    with Connection("redis://h/0") as connection:
        assert connection.get_transport_cls() is Transport
