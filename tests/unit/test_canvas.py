"""Callbacks of a request run with its report, when it is final."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.app.task import Context
from celery.canvas import Signature

from worker.errors import DeletionIncomplete, RequestCancelled
from worker.runtime.canvas import body_is_promised, canvas_of, run_canvas

REPORT = {"request_id": "r1", "state": "SUCCESS", "deleted": 2}


class Ran(list[tuple[str, tuple[Any, ...]]]):
    """Names and arguments of the tasks that were run."""


@pytest.fixture
def ran() -> Ran:
    """What has been run so far."""
    return Ran()


@pytest.fixture
def app(ran: Ran) -> Iterator[Celery]:
    """An app that runs tasks on the spot, as its worker would, and keeps results in memory."""
    celery = Celery("test", broker="memory://", backend="cache+memory://", set_as_current=False)
    celery.conf.task_always_eager = True

    def note(name: str) -> None:
        def task(*args: Any) -> str:
            ran.append((name, args))
            return name

        celery.task(name=name, shared=False)(task)

    for name in ("done", "sorry", "next", "last", "all"):
        note(name)
    yield celery
    celery.close()


def delete_files(app: Celery) -> Signature[Any]:
    """Return a call of our task, as a service writes it."""
    return app.signature("kitsweep.delete_files", args=(["a"],))


def test_a_plain_request_has_no_callbacks() -> None:
    """A plain request keeps nothing, though it always has a root."""
    assert canvas_of(Context({"id": "r1"})) is None
    assert canvas_of(Context({"id": "r1", "root_id": "r1", "group": "g"})) is None


def test_callbacks_of_a_request_are_plain_data(app: Celery) -> None:
    """What is kept can be written as JSON: only the parts that are there."""
    canvas = canvas_of(Context({"id": "r1", "root_id": "r0", "callbacks": [dict(app.signature("done"))]}))
    assert canvas is not None
    assert canvas.keys() == {"callbacks", "root_id"}
    assert canvas["callbacks"][0]["task"] == "done"


def test_link_gets_the_report(app: Celery, ran: Ran) -> None:
    """Each callback of a success gets the report; errbacks of a success do not go off."""
    canvas = {"callbacks": [app.signature("done"), app.signature("last")], "errbacks": [app.signature("sorry")]}
    run_canvas(app, canvas, "r1", REPORT, "SUCCESS")
    assert sorted(ran) == [("done", (REPORT,)), ("last", (REPORT,))]


@pytest.mark.parametrize(
    ("error", "state"), [(DeletionIncomplete({"failed": 1}), "FAILURE"), (RequestCancelled({}), "REVOKED")]
)
def test_link_error_when_not_all_is_gone(app: Celery, ran: Ran, error: Exception, state: str) -> None:
    """A failure or a cancel calls the errbacks, and neither callbacks nor the rest of a chain."""
    canvas = {
        "callbacks": [app.signature("done")],
        "errbacks": [app.signature("sorry")],
        "chain": [app.signature("next")],
    }
    run_canvas(app, canvas, "r1", error, state)
    assert {name for name, _ in ran} == {"sorry"}


def test_a_chain_continues_with_the_report(app: Celery) -> None:
    """The next task of a chain is sent with the report, and takes the rest of the chain along."""
    app.conf.task_always_eager = False
    steps: Any = chain(delete_files(app), app.signature("next"), app.signature("last"))
    following = [dict(step) for step in reversed(steps.tasks[1:])]
    run_canvas(app, {"chain": following}, "r1", REPORT, "SUCCESS")
    with app.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
        message = queue.get(block=False)
        message.ack()
    args, _, embedded = message.decode()
    assert (message.headers["task"], args) == ("next", [REPORT])
    assert [step["task"] for step in embedded["chain"]] == ["last"]
    assert message.headers["parent_id"] == "r1"


def test_a_canvas_survives_json(app: Celery, ran: Ran) -> None:
    """A callback stored as JSON with the request, such as a group, runs like the original."""
    both = group([app.signature("next"), app.signature("last")], app=app)
    canvas = json.loads(json.dumps(canvas_of(Context({"id": "r1", "callbacks": [dict(both)]}))))
    run_canvas(app, canvas, "r1", REPORT, "SUCCESS")
    assert sorted(ran) == [("last", (REPORT,)), ("next", (REPORT,))]


def test_a_chord_gets_each_result(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chord of a request gets its report, whether it succeeded or not."""
    heard: list[tuple[str, str, Any]] = []
    monkeypatch.setattr(
        app.backend, "on_chord_part_return", lambda request, state, result: heard.append((request.id, state, result))
    )
    body = chord([delete_files(app)], app.signature("all"), app=app).body
    canvas = {"chord": dict(body), "group": "g1", "group_index": 0}
    run_canvas(app, canvas, "r1", REPORT, "SUCCESS")
    error = DeletionIncomplete({"failed": 1})
    run_canvas(app, canvas, "r2", error, "FAILURE")
    assert heard == [("r1", "SUCCESS", REPORT), ("r2", "FAILURE", error)]


@pytest.mark.parametrize(
    ("canvas", "keys", "promised"),
    [
        ({"chord": {"task": "body"}, "group": "g"}, {"g.s": b"2", "g.c": b"claimed"}, True),
        ({"chord": {"task": "body"}, "group": "g"}, {"g.s": b"2", "g.c": b"done"}, False),
        ({"chord": {"task": "body"}, "group": "g"}, {"g.s": b"2"}, False),
        ({"chord": {"task": "body"}, "group": "g"}, {"g.c": b"claimed"}, False),
        ({"chain": ["next"]}, {"g.s": b"2", "g.c": b"claimed"}, False),
    ],
    ids=["claimed by another", "sent", "waits for other headers", "over", "no chord"],
)
def test_a_body_that_another_has_claimed_is_promised_until_it_is_sent(
    canvas: dict[str, Any], keys: dict[str, bytes], promised: bool
) -> None:
    """Then the request stays in the outbox: the process that claimed the body may have died before it sent it."""
    backend = SimpleNamespace(
        client=SimpleNamespace(get=keys.get), get_key_for_group=lambda group, part: f"{group}{part}"
    )
    app: Any = SimpleNamespace(backend=backend)
    assert body_is_promised(app, canvas) is promised
