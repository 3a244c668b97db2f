"""The application with traps: a name in one kills the worker that meets it, whole and at the moment it says, once.

Run as `celery -A tests.chaos.trapped_app worker`. A trap is an empty file `traps/NAME.MOMENT` in the worker's folder.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from worker.app import app
from worker.intake import intake
from worker.intake.messages import Message, read_message
from worker.queue.operations import Queue
from worker.queue.requests import NewRequest, read_enqueued
from worker.runtime import canvas
from worker.runtime import publisher as results
from worker.runtime.publisher import Publisher

__all__ = ["app"]

TRAPS = Path("traps")

publish = Publisher.publish
run_canvas = canvas.run_canvas
mark_as_done = type(app.backend).mark_as_done
amqp: Any = type(app.amqp)
publish_body = amqp._retry_publish
cancel = Queue.cancel


def spring(moment: str, names: Sequence[str]) -> None:
    """Die by SIGKILL, with parent and children, if a trap for one of the names is set for this moment."""
    for name in names:
        trap = TRAPS / f"{name}.{moment}"
        try:
            trap.rename(f"{trap}.sprung")
        except FileNotFoundError:
            continue
        os.killpg(0, signal.SIGKILL)


def trapped_publish(self: Publisher, request_ids: Sequence[str]) -> None:
    """`settled`: the request is final, and nothing of it has been published."""
    spring("settled", request_ids)
    publish(self, request_ids)


def trapped_run_canvas(of: Any, hanging: dict[str, Any], request_id: str, result: Any, state: str) -> None:
    """`published`: the result is out, and nothing was sent. `sent`: all was sent, and the outbox does not know it."""
    spring("published", [request_id])
    run_canvas(of, hanging, request_id, result, state)
    spring("sent", [request_id])


def trapped_mark_as_done(self: Any, task_id: str, *args: Any, **options: Any) -> Any:
    """`half`: `link` and the next of a chain were sent, and a chord does not know yet of its header's end."""
    spring("half", [task_id])
    return mark_as_done(self, task_id, *args, **options)


def trapped_publish_body(self: Any, send: Any, *args: Any, **options: Any) -> Any:
    """`claimed`, for the task id of a chord's body: this worker has promised to send it, and has not yet."""
    spring("claimed", [send.__self__.id])
    return publish_body(self, send, *args, **options)


def trapped_cancel(self: Queue, request_id: str, by: str | None = None) -> Any:
    """`cancelled`: by `revoke`, and nothing of it has been published."""
    done = cancel(self, request_id, by)
    spring("cancelled", [request_id])
    return done


def trapped_read_message(raw: bytes, most_ids: int) -> Any:
    """`taken`: the message is on a list that this worker took, and is not accepted."""
    read = read_message(raw, most_ids)
    if isinstance(read, Message):
        spring("taken", [read.asked["request_id"]])
    return read


def trapped_read_enqueued(request: NewRequest, *reply: Any) -> Any:
    """`accepted`: the request exists, and this worker has just received the reply."""
    spring("accepted", [request.request_id])
    return read_enqueued(request, *reply)


for owner, name, trapped in (
    (intake, "read_message", trapped_read_message),
    (intake, "read_enqueued", trapped_read_enqueued),
    (Publisher, "publish", trapped_publish),
    (results, "run_canvas", trapped_run_canvas),
    (type(app.backend), "mark_as_done", trapped_mark_as_done),
    (amqp, "_retry_publish", trapped_publish_body),
    (Queue, "cancel", trapped_cancel),
):
    patch.object(owner, name, trapped).start()

# The account took the method when the app was built, before the trap was set.
patch.object(app.account, "_publish", app.publisher.publish).start()
