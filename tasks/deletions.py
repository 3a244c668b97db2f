"""The Celery task that other services call: `kitsweep.delete_files`. Ordinary messages are accepted by the intake."""

from __future__ import annotations

import time
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject

from worker.app import app
from worker.errors import InvalidRequest, QueueFull, RedisUnreachable, RequestIdTaken
from worker.intake.messages import priority_of
from worker.queue.operations import NewRequest
from worker.queue.validation import Urls, bound_arguments, checked_account, checked_file_ids, checked_request
from worker.runtime.canvas import canvas_of
from worker.store.connection import explained
from worker.tracing import traceparent_in


@app.task(
    name="kitsweep.delete_files",
    bind=True,
    typing=False,
    acks_late=True,
    throws=(InvalidRequest, RequestIdTaken, QueueFull),
)
def delete_files(self: Task[Any, Any], *args: Any, **kwargs: Any) -> None:
    """Delete files from ImageKit.

    The arguments are `file_ids, source="default", reason=None, hold_seconds=0, result_ttl_seconds=None,
    callback=None, account=None, purge=None`. A file is an id, or an object `{"fileId", "url"}`.
    The task id is the request id, under which `AsyncResult` shows QUEUED, PROGRESS, and SUCCESS, FAILURE or REVOKED.
    Sending the same task id again changes nothing. The task itself only accepts; it ends when the deletion is done.

    Raises:
        InvalidRequest: an argument breaks a rule, or the account is unknown; nothing was enqueued.
        RequestIdTaken: a request of another account has this id; nothing was enqueued.
        QueueFull: Redis is out of memory; nothing was enqueued.
    """
    given = bound_arguments(args, kwargs)
    file_ids, account = given.pop("file_ids"), app.accounts.of(checked_account(given.pop("account")))
    about = account.settings
    request = checked_request(self.request.id, **given)
    urls = Urls()
    file_ids = checked_file_ids(file_ids, about.max_request_ids, urls if request["purge"] else None)
    try:
        with explained(about):
            new = NewRequest(
                **request,
                canvas=canvas_of(self.request),
                origin=str(self.request.origin or ""),
                traceparent=traceparent_in(self.request.get("traceparent")),
                priority=priority_of(self.request.delivery_info or {}),
            )
            account.queue.enqueue(new, file_ids, urls)
            account.publisher.publish_reports([request["request_id"]])
    except RedisUnreachable:
        # The message is requeued; enqueuing a request twice changes nothing.
        time.sleep(1)
        raise Reject("Redis is unavailable", requeue=True) from None
    raise Ignore
