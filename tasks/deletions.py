"""The Celery tasks: the door through which other services come, and the batches that do the work."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject
from redis.exceptions import RedisError

from worker.app import app
from worker.batch.pipeline import Ran
from worker.errors import InvalidRequest, QueueFull, RedisUnreachable
from worker.queue.validation import checked_file_ids, checked_request
from worker.runtime import stopping
from worker.runtime.canvas import canvas_of
from worker.runtime.dispatcher import BATCH_TASK
from worker.store.connection import explained

RUN_SECONDS = 1.0
"""How long one batch message goes on with further batches while they are full: then others get the place."""


def _arguments(file_ids: object, source: object = "default", reason: object = None, hold_seconds: object = 0) -> None:
    """Stand for the arguments of `delete_files`."""


def _bind(args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        bound = inspect.signature(_arguments).bind(*args, **kwargs)
    except TypeError as error:
        rule = f"{error}; kitsweep.delete_files takes file_ids, source, reason and hold_seconds"
        raise InvalidRequest("arguments", None, rule) from None
    bound.apply_defaults()
    return bound.arguments


@app.task(name="kitsweep.delete_files", bind=True, typing=False, acks_late=True, throws=(InvalidRequest, QueueFull))
def delete_files(self: Task[Any, Any], *args: Any, **kwargs: Any) -> None:
    """Delete files from ImageKit: `delete_files(file_ids, source="default", reason=None, hold_seconds=0)`.

    The task id is the request id, under which `AsyncResult` shows QUEUED, PROGRESS, and SUCCESS, FAILURE or REVOKED.
    Sending the same task id again changes nothing. The task itself only accepts; it ends when the deletion is done.

    Raises:
        InvalidRequest: an argument breaks a rule; nothing was enqueued.
        QueueFull: Redis is out of memory; nothing was enqueued.
    """
    account, about = app.account, app.account.settings
    given = _bind(args, kwargs)
    request = checked_request(self.request.id, given["source"], given["reason"], given["hold_seconds"])
    file_ids = checked_file_ids(given["file_ids"], about.max_request_ids)
    try:
        with explained(about):
            origin = str(self.request.origin or "")
            account.queue.enqueue(**request, file_ids=file_ids, canvas=canvas_of(self.request), origin=origin)
            app.publisher.publish_reports([request["request_id"]])
    except RedisUnreachable:
        # The message goes back; all of this may be done twice without harm.
        time.sleep(1)
        raise Reject("Redis is away", requeue=True) from None
    raise Ignore


@app.task(name=BATCH_TASK, ignore_result=True, acks_late=True)
def delete_batch() -> None:
    """Run batches back to back while they are full, for a second at most; what is left starts another."""
    if stopping.has_begun():
        return  # Only a wake-up is dropped: other workers look for work by themselves.
    batches = app.account.batches
    until = time.monotonic() + RUN_SECONDS
    try:
        ran = batches.run()
        while ran is Ran.FULL and time.monotonic() < until and not stopping.has_begun():
            ran = batches.run(fewest=batches.batch_size)
    except RedisError as error:
        # What was claimed comes back when its lease runs out; the dispatcher starts anew.
        raise Ignore(f"Redis is away: {type(error).__name__}") from None
