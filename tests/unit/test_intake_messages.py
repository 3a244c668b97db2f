"""What the intake makes of a raw message: the request that the task would see, or one for Celery."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.app.task import Context
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json
from kombu.utils.encoding import bytes_to_str

from tests.unit.support_messages import Sender
from worker.intake.messages import MOST_BYTES, UNREADABLE, Message, Unusual, canvas_in, read_message
from worker.runtime.canvas import canvas_of

MOST_IDS = 100
SENDER = Sender()
file_ids = st.lists(st.text("abc123", min_size=1, max_size=24), min_size=1, max_size=5)


def ordinary(raw: bytes) -> Message:
    message = read_message(raw, MOST_IDS)
    assert isinstance(message, Message)
    return message


def changed(raw: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a message after a change of its envelope."""
    envelope = json.loads(raw)
    change(envelope)
    return json.dumps(envelope).encode()


@given(
    file_ids,
    st.fixed_dictionaries(
        {},
        optional={
            "source": st.sampled_from(["catalog", "a.b_c-d"]),
            "reason": st.none() | st.text("äöü xyz", max_size=20),
            "hold_seconds": st.integers(0, 1000) | st.floats(0, 1000),
            "result_ttl_seconds": st.none() | st.integers(60, 10**8),
            "purge": st.none() | st.sampled_from(["true", "folder", "wait"]),
            "callback": st.none() | st.just("https://catalog.example.com/hook?id=1"),
        },
    ),
)
def test_an_ordinary_message_is_what_was_sent(ids: list[str], options: dict[str, Any]) -> None:
    """Arguments and defaults are those of the task; duplicates count once."""
    message = ordinary(SENDER.send(ids, kwargs=options, task_id="r1"))
    wanted = {
        "request_id": "r1",
        "source": "default",
        "reason": None,
        "hold_seconds": 0,
        "result_ttl_seconds": None,
        "callback": None,
        "purge": None,
        **options,
    }
    assert message.asked == wanted
    assert message.file_ids == list(dict.fromkeys(ids))
    assert message.canvas is None
    assert message.origin


def test_arguments_may_come_in_any_form() -> None:
    """All by position, all by name."""
    by_position = ordinary(SENDER.send(["a"], "catalog", "why", 3))
    by_name = ordinary(SENDER.send(kwargs={"file_ids": ["a"], "source": "catalog", "reason": "why", "hold_seconds": 3}))
    assert by_position[:3] == by_name[:3]


@pytest.mark.parametrize(
    "options",
    [{"priority": 5}, {"ignore_result": True}, {"headers": {"sentry-trace": "1-2-3"}}, {"shadow": "deletion"}],
    ids=lambda options: next(iter(options)),
)
def test_what_changes_nothing_for_us_is_ordinary(options: dict[str, Any]) -> None:
    """Headers of other tools, a name for the logs, a priority."""
    assert ordinary(SENDER.send(["a"], **options)).file_ids == ["a"]


UNUSUAL: dict[str, bytes] = {
    "another task": SENDER.send(["a"], name="catalog.other"),
    "countdown": SENDER.send(["a"], countdown=1),
    "eta": SENDER.send(["a"], eta=datetime.now(UTC) + timedelta(hours=1)),
    "expires": SENDER.send(["a"], expires=60),
    "compression": SENDER.send(["a"], compression="zlib"),
    "time limit": SENDER.send(["a"], time_limit=3),
    "retries": SENDER.send(["a"], retries=1),
    "stamps": SENDER.send(["a"], stamped_headers=["team"], team="shop"),
    "a date in its body": SENDER.send(["a"], link=SENDER.app.signature("t", (datetime.now(UTC),))),
    "pickle": changed(SENDER.send(["a"]), lambda e: e.update({"content-type": "application/x-python-serialize"})),
    "another charset": changed(SENDER.send(["a"]), lambda e: e.update({"content-encoding": "latin-1"})),
    "a plain body": changed(SENDER.send(["a"]), lambda e: e["properties"].pop("body_encoding")),
    "protocol 1": changed(SENDER.send(["a"]), lambda e: e.update(headers={})),
    "a body that is no JSON": changed(SENDER.send(["a"]), lambda e: e.update(body=base64.b64encode(b"[").decode())),
    "an embed that is no object": changed(
        SENDER.send(["a"]), lambda e: e.update(body=base64.b64encode(b'[[["a"]], {}, null]').decode())
    ),
    "no id": changed(SENDER.send(["a"]), lambda e: e["headers"].pop("id")),
    "a bad file id": SENDER.send(["a b"]),
    "no file id": SENDER.send([]),
    "too many file ids": SENDER.send(["a"] * (MOST_IDS + 1)),
    "a bad source": SENDER.send(["a"], "no source"),
    "an unknown argument": SENDER.send(["a"], kwargs={"colour": "red"}),
    "too few arguments": SENDER.send(),
    "a bad task id": SENDER.send(["a"], task_id="a b"),
    "an id of cleanup rules": SENDER.send(["a"], task_id="cleanup:x"),
    "a huge message": SENDER.send(["a" * 200] * (MOST_BYTES // 200)),
}


@pytest.mark.parametrize("raw", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_everything_else_is_for_celery(raw: bytes) -> None:
    """It is not examined any further."""
    assert read_message(raw, MOST_IDS) == Unusual(0)


UNREADABLE_MESSAGES: dict[str, bytes] = {
    "broken JSON": SENDER.send(["a"])[:-1],
    "no object": b"[]",
    "no text": b"\xff\xfe",
    "nothing": b"",
    "deep nesting": b"[" * 100_000,
    "a body that is no base64": changed(SENDER.send(["a"]), lambda e: e.update(body="abcde")),
    "another encoding of text": SENDER.send(["a"]).decode().encode("utf-16"),
    "no delivery tag": changed(SENDER.send(["a"]), lambda e: e["properties"].pop("delivery_tag")),
    "no route": changed(SENDER.send(["a"]), lambda e: e["properties"].update(delivery_info={})),
    "no headers": changed(SENDER.send(["a"]), lambda e: e.pop("headers")),
    "headers that are a list": changed(SENDER.send(["a"]), lambda e: e.update(headers=[])),
    "an unknown encoding of its body": changed(SENDER.send(["a"]), lambda e: e["properties"].update(body_encoding="x")),
}


@pytest.mark.parametrize("raw", UNREADABLE_MESSAGES.values(), ids=UNREADABLE_MESSAGES.keys())
def test_what_is_not_a_message_is_set_aside(raw: bytes) -> None:
    """kombu fails on each of these, and with it the worker that took it."""
    assert read_message(raw, MOST_IDS) == Unusual(UNREADABLE)
    with SENDER.app.connection_for_read() as connection, pytest.raises(Exception, match=r".*"):
        receive(connection.default_channel, raw)


def receive(channel: Any, raw: bytes) -> None:
    """Do with a message what kombu's Redis transport does with what it popped, and the worker first with it."""
    message = channel.message_to_python(kombu_json.loads(bytes_to_str(raw)))
    assert {"exchange", "routing_key"} <= message.delivery_info.keys()
    assert json.loads(raw)["headers"].keys()


def test_an_unusual_message_keeps_its_priority() -> None:
    """It goes to the list of its priority, as kombu rounds it."""
    steps = [read_message(SENDER.send(["a"], countdown=1, priority=priority), MOST_IDS) for priority in range(10)]
    assert steps == [Unusual(step) for step in (0, 0, 0, 1, 1, 1, 2, 2, 2, 3)]


def test_callbacks_are_stored_as_the_task_stores_them() -> None:
    """Links, the rest of a chain, and a chord: the same plain data as from the task's own request."""
    sig = SENDER.app.signature
    deletion = sig("kitsweep.delete_files", (["a"],), task_id="r1")
    linked = deletion.clone()
    linked.link(sig("done"))
    linked.link_error(sig("sorry"))
    options = linked.options
    raw = SENDER.send(["a"], link=options["link"], link_error=options["link_error"], group_id="g", group_index=2)
    canvas = ordinary(raw).canvas
    assert canvas is not None
    assert [each["task"] for each in canvas["callbacks"]] == ["done"]
    assert [each["task"] for each in canvas["errbacks"]] == ["sorry"]
    assert (canvas["group"], canvas["group_index"], canvas["root_id"]) == ("g", 2, "r1")
    envelope = json.loads(raw)
    embed = json.loads(base64.b64decode(envelope["body"]))[2]
    assert canvas == canvas_of(Context(envelope["headers"], **embed)) == canvas_in({**envelope["headers"], **embed})


def test_a_chain_and_a_chord_travel_with_the_message() -> None:
    """What Celery itself puts into a message for the first task of a chain, and for each header of a chord."""
    sig = SENDER.app.signature
    rest = [json.loads(json.dumps(sig("next")))]
    assert ordinary(SENDER.send(["a"], chain=rest)).canvas == {"chain": rest, "root_id": "r1"}
    body = json.loads(json.dumps(sig("body")))
    canvas = ordinary(SENDER.send(["a"], chord=body, group_id="g")).canvas
    assert canvas == {"chord": body, "group": "g", "root_id": "r1"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
PLACES = ("headers", "properties", "body", "content-type", "content-encoding")


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_and_no_json_stop_the_intake(raw: bytes) -> None:
    """Reading never raises, and finds no request that was not sent."""
    assert isinstance(read_message(raw, MOST_IDS), Unusual)


@given(st.sampled_from(PLACES), json_values)
def test_no_odd_part_stops_the_intake(place: str, value: Any) -> None:
    """Any JSON in place of a part of a good message is for Celery."""
    raw = changed(SENDER.send(["a"]), lambda envelope: envelope.update({place: value}))
    assert isinstance(read_message(raw, MOST_IDS), Unusual)


@given(st.sampled_from(["args", "kwargs", "embed"]), json_values)
def test_no_odd_body_stops_the_intake(part: str, value: Any) -> None:
    """Any JSON in place of a part of the body is a request only where it is one."""
    body = {"args": [["a"]], "kwargs": {}, "embed": {}, part: value}
    raw = changed(
        SENDER.send(["a"]),
        lambda envelope: envelope.update(body=base64.b64encode(json.dumps(list(body.values())).encode()).decode()),
    )
    read = read_message(raw, MOST_IDS)
    assert isinstance(read, Unusual) or read.file_ids


def test_a_message_with_callbacks_keeps_its_large_integers() -> None:
    """Celery runs the callbacks, whose arguments may be integers of any size."""
    raw = SENDER.send(["a"], link=SENDER.app.signature("other.task", args=[2**70]))
    canvas = ordinary(raw).canvas
    assert canvas is not None
    assert canvas["callbacks"][0]["args"] == [2**70]


@pytest.mark.parametrize("shadow", ["NaN", "-Infinity", '"\\ud800"'])
def test_json_that_only_python_reads_is_still_a_message(shadow: str) -> None:
    """kombu reads messages with Python's own module, so they are not set aside as unreadable."""
    raw = SENDER.send(["a"]).replace(b'"shadow": null', f'"shadow": {shadow}'.encode())
    assert read_message(raw, MOST_IDS) != Unusual(UNREADABLE)


def test_a_request_for_purge_is_ordinary() -> None:
    """Its files may be objects with URLs, and the message's priority is that of its purges."""
    files = ["b", {"fileId": "a", "url": "https://h/a.jpg?x=1"}]
    message = ordinary(SENDER.send(files, kwargs={"purge": True}, priority=3))
    assert (message.file_ids, message.urls, message.priority) == (["b", "a"], {"a": "https://h/a.jpg"}, 3)
    assert ordinary(SENDER.send(files)).urls == {}
