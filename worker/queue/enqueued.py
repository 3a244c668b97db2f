"""The result of enqueueing a request."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from worker.errors import RequestIdTaken, RequestVanished
from worker.states import TAKEN, State

logger = logging.getLogger(__name__)


class Enqueued(NamedTuple):
    """The result of enqueueing."""

    state: State
    """State of the request after the call."""
    is_new: bool
    """Whether this call sealed it; false if the request id was known."""
    total: int
    held: str = ""
    """Why it waits for approval; empty if it does not."""


def read_enqueued(reply: Any, request_id: str, source: str) -> Enqueued:
    """Read the reply of the operation `enqueue`, and log a warning if the request waits for approval.

    Raises `RequestVanished`, and `RequestIdTaken` if a request of another account has the id.
    """
    state, is_new, total, held = reply
    if state == TAKEN:
        raise RequestIdTaken(request_id)
    if not state:
        raise RequestVanished(request_id)
    if held:
        fields = {"request_id": request_id, "source": source, "ids": int(total)}
        logger.warning("request %s waits for approval: %s", request_id, held, extra=fields)
    return Enqueued(State(state), is_new == "1", int(total), held)
