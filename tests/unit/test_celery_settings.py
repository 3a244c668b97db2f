"""The settings of Celery, and that it knows them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.app.defaults import DEFAULTS
from redis.connection import SSLConnection, UnixDomainSocketConnection

from config.queue_names import queue_names
from config.settings import load_settings
from worker.runtime.celery_settings import celery_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer

URLS = ["redis://h:1/2", "rediss://u:p@h", "unix:///tmp/r.sock?db=3", "sentinel://:p@a,b/4?master=main"]
NOT_IN_DEFAULTS = {"redis_backend_health_check_interval"}
"""Celery reads it, and documents it, but keeps no default for it."""


def settings_for(url: str = "redis://h", arguments: tuple[str, ...] = (), **others: object) -> dict[str, Any]:
    return celery_settings(load_settings(redis_url=url, **others), arguments)


def app_for(url: str) -> Celery:
    app = Celery("test", set_as_current=False)
    app.conf.update(settings_for(url))
    return app


@pytest.mark.parametrize("url", URLS)
def test_celery_knows_every_name(url: str) -> None:
    """Celery ignores an unknown name."""
    assert set(settings_for(url)) - set(DEFAULTS) - NOT_IN_DEFAULTS == {
        name for name in ("broker_use_ssl",) if name not in DEFAULTS and url.startswith("rediss")
    }


def test_only_json_goes_in_and_out() -> None:
    """Pickle runs whatever the sender wrote."""
    settings = settings_for()
    assert settings["accept_content"] == settings["result_accept_content"] == ["json"]
    assert settings["task_serializer"] == settings["result_serializer"] == "json"


def test_a_killed_worker_s_message_comes_again() -> None:
    """It is acknowledged late, and a killed child's is put back."""
    settings = settings_for()
    assert settings["task_acks_late"]
    assert settings["task_reject_on_worker_lost"]


def test_no_state_of_celery_overwrites_ours() -> None:
    """STARTED would hide a final state that came before it."""
    assert settings_for()["task_track_started"] is False


def test_results_live_as_long_as_requests() -> None:
    """Both are polled for the same time."""
    assert settings_for(result_ttl_seconds=77)["result_expires"] == 77


def test_nothing_waits_for_a_frozen_redis() -> None:
    """Broker and backend have time-outs; the option that would disable batched sends is not set."""
    settings = settings_for()
    options = settings["broker_transport_options"]
    assert options["socket_timeout"] == settings["redis_socket_timeout"] == 5
    assert options["socket_connect_timeout"] == settings["redis_socket_connect_timeout"] == 3
    assert "retry_on_timeout" not in options


def test_each_task_has_its_queue_and_each_queue_its_own_binding() -> None:
    """A message for one queue reaches no other."""
    settings = settings_for()
    queues = {queue.name: (queue.exchange.name, queue.routing_key) for queue in settings["task_queues"]}
    assert {"celery", "kitsweep.requests", "kitsweep.unusual"} <= set(queues)
    assert all(binding == (name, name) for name, binding in queues.items())
    assert settings["task_routes"]["kitsweep.delete_files"] == {"queue": "kitsweep.requests"}


def test_an_account_takes_no_message_of_another() -> None:
    """Its files would be deleted under the wrong key."""
    assert not set(queue_names("shop")) & set(queue_names("default"))
    assert not set(queue_names("shop")) & set(queue_names("blog"))


@pytest.mark.parametrize(
    ("arguments", "pool"),
    [
        (("celery", "-A", "worker.app", "worker"), "threads"),
        (("celery", "worker", "-P", "prefork"), "prefork"),
        (("celery", "worker", "-Psolo"), "prefork"),
        (("celery", "worker", "--pool", "prefork"), "prefork"),
        (("celery", "worker", "--pool=prefork"), "prefork"),
    ],
)
def test_a_pool_on_the_command_line_is_the_pool(arguments: tuple[str, ...], pool: str) -> None:
    """Celery would let a configured pool override `-P prefork`, which it takes for its own default."""
    assert settings_for(arguments=arguments)["worker_pool"] == pool


def test_tls_checks_the_server_unless_told_otherwise() -> None:
    """Celery refuses a TLS address that leaves it open."""
    app = app_for("rediss://u:p@h:2/1?ssl_ca_certs=/ca.pem")
    backend: Any = app.backend
    assert backend.connparams["connection_class"] is SSLConnection
    assert backend.connparams["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert backend.connparams["ssl_ca_certs"] == "/ca.pem"
    broker = app.connection_for_write()
    assert broker.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}
    assert settings_for("rediss://h?ssl_cert_reqs=none")["broker_use_ssl"]["ssl_cert_reqs"] == ssl.CERT_NONE


def test_a_unix_socket_is_one_for_the_backend_too() -> None:
    """With its database number and without options of TCP."""
    backend: Any = app_for("unix:///tmp/r.sock?db=3").backend
    assert backend.connparams["connection_class"] is UnixDomainSocketConnection
    assert (backend.connparams["path"], backend.connparams["db"]) == ("/tmp/r.sock", 3)
    assert "socket_keepalive" not in backend.connparams


def test_sentinels_are_asked_for_the_master() -> None:
    """With their own password, and with time-outs."""
    settings = settings_for("sentinel://:p@a:1,b:2/4?master=main&sentinel_password=s")
    for options in (settings["broker_transport_options"], settings["result_backend_transport_options"]):
        assert options["master_name"] == "main"
        assert options["sentinel_kwargs"]["password"] == "s"
        assert options["sentinel_kwargs"]["socket_timeout"] == 5


@pytest.mark.real_server
def test_a_message_goes_through_a_real_server(redis_server: RedisServer) -> None:
    """Sent by name, it is in the queue of its task, and its result is where Celery looks."""
    app = app_for(redis_server.url)
    with redis_server.client() as client, app.connection_for_write() as connection:
        client.flushall()
        app.send_task("kitsweep.delete_files", [["a"]], connection=connection)
        assert client.llen("kitsweep.requests") == 1
        app.backend.store_result("some-id", {"deleted": 1}, "SUCCESS")
        assert app.AsyncResult("some-id").get(timeout=5) == {"deleted": 1}
        client.flushall()
    app.close()


@pytest.mark.real_server
def test_a_message_goes_through_a_unix_socket(redis_binary: Path, tmp_path: Path) -> None:
    """The same, where Redis listens on a socket with a password."""
    from tests.redis_server import RedisServer  # noqa: PLC0415 - needed here alone

    path = tmp_path / "r.sock"
    with RedisServer(redis_binary, tmp_path, [("unixsocket", str(path))]) as server, server.client() as client:
        app = app_for(f"unix://{path}?db=2")
        with app.connection_for_write() as connection:
            app.send_task("kitsweep.delete_files", [["a"]], connection=connection)
        client.select(2)
        assert client.llen("kitsweep.requests") == 1
        app.close()
