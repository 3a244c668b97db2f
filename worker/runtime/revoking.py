"""`AsyncResult(request_id).revoke()` cancels a request, also when its task has long been accepted.

Celery's own `revoke` only keeps messages from being run; ours are accepted at once. So the command does both: every
worker that hears it cancels what still waits, which is the same however often it is done.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.worker import control
from redis.exceptions import RedisError

from worker.runtime.process import App

logger = logging.getLogger(__name__)

_revoke_messages = control.Panel.data["revoke"]


def cancel_on_revoke() -> None:
    """Let the workers of this process cancel requests that are revoked."""
    control.Panel.data["revoke"] = _revoke


def _revoke(state: Any, task_id: Any, *args: Any, **options: Any) -> Any:
    request_ids = [task_id] if isinstance(task_id, str) else list(task_id or ())
    app: App = state.app
    try:
        known = [request_id for request_id in request_ids if app.account.queue.cancel(request_id) is not None]
        app.publisher.publish_reports(known)
    except RedisError as error:
        logger.warning("revoke did not cancel %d requests: %s", len(request_ids), error)
    return _revoke_messages(state, task_id, *args, **options)
