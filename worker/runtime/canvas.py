"""Celery's canvas: links, chains and chords on `delete_files` run when the request is final, not when it is accepted.

The task ends with `Ignore`, after which Celery runs no callbacks. They are stored with the request and run when its
result is published, at least once: after a crash in between they run again.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signature
from celery.app.task import Context
from celery.canvas import group

from worker.intake.messages import CANVAS_PARTS, canvas_in
from worker.states import State


def canvas_of(request: Context) -> dict[str, Any] | None:
    """Return the callbacks of a task message as plain data; None if it has none."""
    return canvas_in(vars(request))


def run_canvas(app: Celery, canvas: dict[str, Any], request_id: str, result: Any, state: str) -> None:
    """Dispatch the callbacks of a request that is final."""
    context = Context({**dict.fromkeys(CANVAS_PARTS), **canvas, "id": request_id, "delivery_info": {}})
    if state != State.SUCCESS:
        app.backend.mark_as_failure(request_id, result, request=context, state=state)
        return
    options: dict[str, Any] = {"parent_id": request_id, "root_id": canvas.get("root_id") or request_id}
    if callbacks := canvas.get("callbacks"):
        group([signature(callback, app=app) for callback in callbacks], app=app).apply_async((result,), **options)
    if chain := canvas.get("chain"):
        signature(chain[-1], app=app).apply_async((result,), chain=chain[:-1], **options)
    app.backend.mark_as_done(request_id, result, request=context, store_result=False)


def body_is_promised(app: Celery, canvas: dict[str, Any]) -> bool:
    """Return whether another process has claimed to send the body of the request's chord, and may have died since.

    Celery (`backends/redis.py`, 5.7) lets one process at a time send a body. It claims that in `.c` for some seconds
    and writes `done` there afterwards; `.s` is the size of a chord whose body has not been sent. A process that finds
    a claim sends nothing.
    """
    if not canvas.get("chord") or not canvas.get("group"):
        return False
    backend: Any = app.backend
    claim, size = (backend.client.get(backend.get_key_for_group(canvas["group"], part)) for part in (".c", ".s"))
    return size is not None and claim not in {None, b"done", "done"}
