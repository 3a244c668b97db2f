"""A trace that a producer sends is passed on: to the log, the audit trail and the webhook."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from redis import Redis

from tests.unit.scripted_server import always, http, scripted_server
from tests.unit.support_messages import Sender, put
from tests.unit.support_queue import end_all, must_claim, queue_on, raw
from tests.unit.support_web import beat, context_on, with_app
from tests.unit.support_webhooks import Hooks
from tests.unit.test_intake import accept_all, intake_on
from tests.unit.test_webhooks_sender import headers_of, send
from worker.queue.operations import NewRequest, Queue
from worker.reports.audit import Audit
from worker.tracing import is_sampled, traceparent_in

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PARTS = TRACE.split("-")


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (TRACE, TRACE),
        (f"  {TRACE} ", TRACE),
        (TRACE[:-2] + "00", TRACE[:-2] + "00"),
        (TRACE[:-2] + "03", TRACE),
        (f"cc{TRACE[2:]}-what-comes-later", TRACE),
        (f"{TRACE}-more", None),
        (f"ff{TRACE[2:]}", None),
        (TRACE.upper(), None),
        (TRACE.replace(PARTS[1], "0" * 32), None),
        (TRACE.replace(PARTS[2], "0" * 16), None),
        (TRACE[:-1], None),
        (f"{TRACE}\n{TRACE}", None),
        (f"cc{TRACE[2:]}-{'x' * 500}", None),
        ("", None),
        (None, None),
        (17, None),
    ],
)
def test_only_a_well_formed_header_is_read(header: object, read: str | None) -> None:
    """By the rules of W3C Trace Context; of a later version, what version 00 has."""
    assert traceparent_in(header) == read


def test_the_caller_says_whether_it_records_a_trace() -> None:
    """By the last bit of the flags."""
    assert is_sampled(TRACE)
    assert not is_sampled(TRACE[:-2] + "00")
    assert not is_sampled(None)


def audited(queue: Queue, redis: Redis) -> dict[str, Any]:
    """The details of the entries of accepted requests."""
    entries = Audit(redis, Hooks(redis).settings).entries()
    return {each["request"]: each["detail"] for each in entries if each["event"] == "accepted"}


def test_a_message_brings_its_trace(redis_client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """As a header of the task. A malformed one is ignored, and without one nothing is stored."""
    queue, sender = queue_on(redis_client), Sender()
    traced = sender.send(["a"], task_id="traced", headers={"traceparent": TRACE})
    put(queue, traced, sender.send(["b"], task_id="bad", headers={"traceparent": "00-x"}), sender.send(["c"]))
    with caplog.at_level(logging.INFO):
        assert accept_all(intake_on(queue)) == ["traced", "bad", "r1"]
    assert audited(queue, redis_client) == {"traced": {"traceparent": TRACE}, "bad": {}, "r1": {}}
    assert [raw(queue).hget(queue.keys.request(name), "traceparent") for name in ("traced", "bad")] == [TRACE, None]
    (record,) = (each for each in caplog.records if "accepted" in each.getMessage())
    fields = {name: vars(record)[name] for name in ("request_id", "traceparent", "source", "ids")}
    assert fields == {"request_id": "traced", "traceparent": TRACE, "source": "default", "ids": 1}
    assert vars(record)["by"].startswith("gen")


@pytest.mark.parametrize("path", ["/v1/files/a", "/api/v1/requests"])
def test_an_http_call_brings_its_trace(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """To the drop-in and to the REST API; the log line says who called."""
    queue = queue_on(redis_client)
    beat(queue)
    context = context_on(redis_client, monkeypatch, web_wait_seconds=0)
    body = None if path.startswith("/v1") else {"file_ids": ["a"]}
    with caplog.at_level(logging.INFO):
        answer = with_app(
            context,
            lambda client: client.request(
                "POST" if body else "DELETE", path, headers={"traceparent": TRACE}, json=body
            ),
        )
    assert answer.status_code == 202
    assert list(audited(queue, redis_client).values()) == [{"traceparent": TRACE}]
    (record,) = (each for each in caplog.records if "accepted" in each.getMessage())
    assert (vars(record)["traceparent"], vars(record)["by"]) == (TRACE, "private key")
    context.close()


@pytest.mark.parametrize("trace", [TRACE, None])
def test_a_webhook_carries_the_trace(fake_redis: Redis, trace: str | None) -> None:
    """As its header `traceparent`; none if the request has none."""
    hooks = Hooks(fake_redis)
    with scripted_server() as receiver:
        receiver.play = always(http(204))
        hooks.queue.enqueue(NewRequest("r", "shop", callback=receiver.url, traceparent=trace), ["a"])
        end_all(hooks.queue, must_claim(hooks.queue, "t"))
        assert send(hooks)["state"] == "delivered"
        ((head, _),) = receiver.calls
    assert headers_of(head).get("traceparent") == trace
