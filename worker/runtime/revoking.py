"""`AsyncResult(request_id).revoke()` cancels a request, also long after its message was accepted.

Celery's own `revoke` only stops messages that have not run yet. Here every worker that receives the command also
cancels the waiting items of the request, which is idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from celery.worker import control
from redis.exceptions import RedisError

from worker.runtime.process import App

logger = logging.getLogger(__name__)

_revoke_messages = control.Panel.data["revoke"]


def cancel_on_revoke() -> None:
    """Extend Celery's `revoke` command in this process."""
    control.Panel.data["revoke"] = _revoke


def cancel(app: App, request_ids: Sequence[str]) -> None:
    """Cancel those of the requests that are known, in whatever account."""
    try:
        for account in app.accounts.served().values():
            known = [request_id for request_id in request_ids if account.queue.cancel(request_id) is not None]
            account.publisher.publish_reports(known)
    except RedisError as error:
        fields = {"request_ids": list(request_ids)}
        logger.warning(
            "could not cancel %d revoked requests, revoke them again: %s", len(request_ids), error, extra=fields
        )


def _revoke(state: Any, task_id: Any, *args: Any, **options: Any) -> Any:
    # Celery's part comes first: the intake checks the revoked ids after it has accepted a request.
    reply = _revoke_messages(state, task_id, *args, **options)
    cancel(state.app, [task_id] if isinstance(task_id, str) else list(task_id or ()))
    return reply
