"""Webhooks on the wire: signed, to the checked address, once per attempt, and with no secret in any log."""

from __future__ import annotations

import json
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests.adapters
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from standardwebhooks import Webhook, WebhookVerificationError

from tests.chaos.tls_gate import make_certificate
from tests.unit.scripted_server import Caller, ScriptedServer, always, http, scripted_server
from tests.unit.support_queue import end_all, must_claim
from tests.unit.support_webhooks import NEW_SECRET, SECRET, Hooks
from worker.logs import secrets_of
from worker.queue.operations import NewRequest
from worker.webhooks import sender as sender_module
from worker.webhooks.sender import Sender

LISTS = ("successfully_deleted_file_ids", "missing_file_ids", "presumed_deleted_file_ids", "errors")


@pytest.fixture
def receiver() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.play = always(http(204))
        yield server


@pytest.fixture
def hooks(fake_redis: Redis) -> Hooks:
    return Hooks(fake_redis)


def send(hooks: Hooks) -> dict[str, Any]:
    """Send the webhook that is due, and return how it stands."""
    assert Sender(hooks.store, hooks.settings).send_next()
    (seen,) = hooks.seen()
    return dict(seen)


def headers_of(head: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in head.decode().split("\r\n")[1:] if line]
    return {name.lower(): value.strip() for name, _, value in lines}


@pytest.mark.parametrize("redis_name", ["fake_redis", pytest.param("real_redis", marks=pytest.mark.real_server)])
def test_a_receiver_verifies_it_with_the_library(
    redis_name: str, request: pytest.FixtureRequest, receiver: ScriptedServer
) -> None:
    """The body is the report without lists of ids, below 20 kB; id, time and signature are in the headers."""
    hooks = Hooks(request.getfixturevalue(redis_name))
    hooks.queue.enqueue(NewRequest("r", "shop", reason="ä" * 500, callback=f"{receiver.url}/hook?a=1"), ["a", "b"])
    end_all(hooks.queue, must_claim(hooks.queue, "t"))
    assert send(hooks)["state"] == "delivered"
    ((head, body),) = receiver.calls
    headers = headers_of(head)
    assert head.startswith(b"POST /hook?a=1 HTTP/1.1\r\n")
    event = Webhook(SECRET).verify(body, headers)
    report = event["data"]
    assert event["type"] == "request.finished"
    assert event["timestamp"] == report["finished_at"]
    assert (report["request_id"], report["source"], report["reason"]) == ("r", "shop", "ä" * 500)
    assert (report["state"], report["total"], report["deleted"], report["failed"]) == ("SUCCESS", 2, 2, 0)
    assert not set(LISTS) & report.keys()
    assert len(body) < 20_000
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == hooks.seen()[0]["id"]
    assert headers["host"] == f"127.0.0.1:{receiver.port}"


def test_it_says_where_the_whole_report_is(fake_redis: Redis, receiver: ScriptedServer) -> None:
    """Where the web server has a public URL."""
    hooks = Hooks(fake_redis, web_public_url="https://kitsweep.example/")
    hooks.finish("r", receiver.url)
    send(hooks)
    report = json.loads(receiver.calls[0][1])["data"]
    assert report["report_url"] == "https://kitsweep.example/api/v1/requests/r"


def test_the_id_stays_and_the_time_does_not(hooks: Hooks, receiver: ScriptedServer) -> None:
    """Receivers tell a retry by its id; each attempt is signed anew."""
    receiver.play = always(http(503))
    hooks.finish("r", receiver.url)
    send(hooks)
    hooks.make_due()
    receiver.play = always(http(200))
    assert send(hooks)["attempts"] == 2
    first, second = (headers_of(head) for head, _ in receiver.calls)
    assert first["webhook-id"] == second["webhook-id"]
    assert receiver.calls[0][1] == receiver.calls[1][1]
    for headers in (first, second):
        Webhook(SECRET).verify(receiver.calls[0][1], headers)


def test_two_secrets_sign_while_rotating(fake_redis: Redis, receiver: ScriptedServer) -> None:
    """Receivers with the old secret and those with the new one both verify it; others do not."""
    hooks = Hooks(fake_redis, webhook_secret=f"{NEW_SECRET} {SECRET}")
    hooks.finish("r", receiver.url)
    send(hooks)
    ((head, body),) = receiver.calls
    for secret in (SECRET, NEW_SECRET):
        Webhook(secret).verify(body, headers_of(head))
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "C" * 44).verify(body, headers_of(head))


def test_a_redirect_is_not_followed(hooks: Hooks, receiver: ScriptedServer) -> None:
    """It could lead inside; the error says what to do."""
    receiver.play = always(http(307, b"", f"Location: {receiver.url}/inside?token=secret"))
    hooks.finish("r", f"{receiver.url}/outside")
    seen = send(hooks)
    assert len(receiver.calls) == 1
    assert (seen["state"], seen["status"]) == ("waiting", 307)
    assert seen["error"] == "HTTP 307: redirects are not followed; the callback must be the final URL"


def test_410_stops(hooks: Hooks, receiver: ScriptedServer) -> None:
    """The receiver wants no more; an operator may still send it again."""
    receiver.play = always(http(410))
    hooks.finish("r", receiver.url)
    seen = send(hooks)
    assert (seen["state"], seen["status"], seen["attempts"]) == ("failed", 410, 1)


def test_a_receiver_that_never_answers_times_out(fake_redis: Redis, receiver: ScriptedServer) -> None:
    """Also one that answers a byte at a time."""
    hooks = Hooks(fake_redis, webhook_timeout_seconds=1)

    def drip(caller: Caller) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" * 100:
            if receiver.stopped.wait(0.1):
                return
            caller.send(bytes([byte]))

    receiver.play = drip
    hooks.finish("r", receiver.url)
    seen = send(hooks)
    assert seen["state"] == "waiting"
    assert "timed out" in seen["error"]


@pytest.mark.parametrize("body", [b"x" * 200_000, b""], ids=["large", "empty"])
def test_the_body_of_a_response_does_not_matter(hooks: Hooks, receiver: ScriptedServer, body: bytes) -> None:
    """A long one is not read to its end."""
    receiver.play = always(http(200, body))
    hooks.finish("r", receiver.url)
    assert send(hooks)["state"] == "delivered"


def test_nobody_at_home(hooks: Hooks) -> None:
    """A refused connection is tried again."""
    with scripted_server() as server:
        url = server.url
    hooks.finish("r", url)
    seen = send(hooks)
    assert (seen["state"], seen["status"]) == ("waiting", None)
    assert seen["error"].startswith("no connection (ConnectionRefusedError")


@pytest.mark.parametrize("host", ["inside.example", "mapped.example"])
def test_an_inside_address_gets_nothing(
    fake_redis: Redis, receiver: ScriptedServer, host: str, resolver: dict[str, str]
) -> None:
    """It is refused for good, before a connection is made; the log says how to allow it."""
    resolver |= {"inside.example": "127.0.0.1", "mapped.example": "::ffff:127.0.0.1"}
    hooks = Hooks(fake_redis, webhook_allow="[]")
    hooks.finish("r", f"http://{host}:{receiver.port}/")
    seen = send(hooks)
    assert (seen["state"], seen["attempts"]) == ("failed", 1)
    assert seen["error"].startswith("not sent: ")
    assert "KITSWEEP_WEBHOOK_ALLOW" in seen["error"]
    assert receiver.connections == 0


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return a table of names and their addresses, in place of DNS."""
    table: dict[str, str] = {}

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (table.get(host, host), port))]

    monkeypatch.setattr("worker.webhooks.addresses.socket.getaddrinfo", getaddrinfo)
    return table


def test_the_host_stays_that_of_the_url(hooks: Hooks, receiver: ScriptedServer, resolver: dict[str, str]) -> None:
    """The connection goes to the checked address, the Host header names what was asked for."""
    resolver["shop.example"] = "127.0.0.1"
    hooks.finish("r", f"http://shop.example:{receiver.port}/hook")
    assert send(hooks)["state"] == "delivered"
    assert headers_of(receiver.calls[0][0])["host"] == f"shop.example:{receiver.port}"


@pytest.mark.parametrize(("host", "state"), [("localhost.example", "delivered"), ("other.example", "waiting")])
def test_tls_is_checked_against_the_name(
    hooks: Hooks,
    resolver: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    state: str,
) -> None:
    """The name goes into SNI, and the certificate has to be for it, not for the address."""
    certificate = make_certificate(tmp_path, "DNS:localhost.example")
    if certificate is None:
        pytest.skip("openssl is missing")
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    resolver[host] = "127.0.0.1"
    with scripted_server(context) as server:
        server.play = always(http(200))
        hooks.finish("r", f"https://{host}:{server.port}/")
        seen = send(hooks)
    assert seen["state"] == state, seen["error"]
    assert names == [host]


@pytest.mark.parametrize("state", ["delivered", "waiting"])
def test_a_receiver_may_have_a_certificate_of_a_private_authority(
    fake_redis: Redis, tmp_path: Path, state: str
) -> None:
    """Which the settings name; without that its certificate is refused, and the webhook is tried again."""
    certificate = make_certificate(tmp_path)
    if certificate is None:
        pytest.skip("openssl is missing")
    hooks = Hooks(fake_redis, **({"webhook_ca_file": str(certificate)} if state == "delivered" else {}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with scripted_server(context) as server:
        server.play = always(http(200))
        hooks.finish("r", f"https://127.0.0.1:{server.port}/")
        seen = send(hooks)
    assert seen["state"] == state
    assert ("certificate" in seen["error"]) == (state == "waiting")


def test_a_login_in_the_url_is_sent_as_basic_authentication(hooks: Hooks, receiver: ScriptedServer) -> None:
    """And stays out of the request line."""
    hooks.finish("r", receiver.url.replace("//", "//us%40er:p%3Ass@"))
    assert send(hooks)["state"] == "delivered"
    headers = headers_of(receiver.calls[0][0])
    assert headers["authorization"] == requests.auth._basic_auth_str("us@er", "p:ss")
    assert b"er:" not in receiver.calls[0][0].partition(b"\r\n")[0]


def test_no_log_shows_what_a_url_may_hold(
    hooks: Hooks, receiver: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither user nor password nor query; the path and the reason are there."""
    receiver.play = always(http(500))
    hooks.finish("r", receiver.url.replace("//", "//user:hunter2@") + "/hook?token=hunter2")
    with caplog.at_level(logging.DEBUG):
        send(hooks)
    assert "webhook of request r to http://127.0.0.1" in caplog.text
    assert "/hook?… failed, retrying in 5 s: HTTP 500" in caplog.text
    assert "hunter2" not in caplog.text
    assert "hunter2" not in json.dumps(hooks.seen())


def test_the_secret_is_kept_out_of_logs(hooks: Hooks) -> None:
    """As the private key is."""
    assert SECRET in secrets_of(hooks.settings)
    assert SECRET not in repr(hooks.settings)


def test_a_delivery_is_recorded_when_redis_is_back(
    hooks: Hooks, receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage after the POST does not make a second one."""
    record, failures = hooks.store.record, [RedisConnectionError("away"), RedisConnectionError("away")]

    def flaky(*args: Any) -> None:
        if failures:
            raise failures.pop()
        record(*args)

    monkeypatch.setattr(hooks.store, "record", flaky)
    hooks.finish("r", receiver.url)
    assert send(hooks)["state"] == "delivered"
    assert len(receiver.calls) == 1


def test_what_took_too_long_to_connect_is_not_sent(
    hooks: Hooks, receiver: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease could run out during the POST, and another would send it at the same time."""
    monkeypatch.setattr(sender_module, "READY_SECONDS", -1.0)
    hooks.finish("r", receiver.url)
    seen = send(hooks)
    assert seen["state"] == "waiting"
    assert "connecting took too long" in seen["error"]
    assert receiver.calls == []


def test_nothing_to_send(hooks: Hooks) -> None:
    """The sender says so, and its thread waits."""
    assert not Sender(hooks.store, hooks.settings).send_next()
