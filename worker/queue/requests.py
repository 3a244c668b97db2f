"""A request, and what became of enqueueing it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from worker.errors import RequestIdTaken, RequestVanished
from worker.queue.digest import Digest
from worker.queue.validation import Urls
from worker.states import TAKEN, State
from worker.tracing import is_sampled

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewRequest:
    """A request, without its file ids."""

    request_id: str
    source: str
    reason: str | None = None
    hold_seconds: float = 0
    canvas: Mapping[str, Any] | None = None
    """What Celery runs when the request is final."""
    origin: str | None = None
    """Who enqueues it, user or program @ host; None: the user of this process."""
    digest: Digest | None = None
    """Of its content, so that the same id for other content is refused."""
    retry_of: str | None = None
    """The request whose failed ids it repeats."""
    result_ttl_seconds: int | None = None
    """How long its result is kept; None: as the settings say."""
    callback: str | None = None
    """URL for the webhook; None: that of the source, if it has one."""
    traceparent: str | None = None
    """The trace it belongs to (`worker.tracing`)."""
    purge: str | None = None
    """Whether cached copies are purged: true, folder or wait; None: no."""
    priority: int = 0
    """Of its purges: a lower number comes first, and requests that wait for them before all."""

    def purging(self, urls: Urls | None) -> dict[str, Any]:
        """Return what the operations take about its purges."""
        return {"purge": self.purge, "priority": (-1 if self.purge == "wait" else self.priority) or None, "urls": urls}


class Enqueued(NamedTuple):
    """The result of enqueueing."""

    state: State
    """State of the request after the call."""
    is_new: bool
    """Whether this call sealed it; false if the request id was known."""
    total: int
    held: str = ""
    """Why it waits for approval; empty if it does not."""


def read_enqueued(request: NewRequest, state: str, is_new: str, total: int, held: str) -> Enqueued:
    """Read the reply of the operation `enqueue`, and log it.

    Raises `RequestVanished`, and `RequestIdTaken` if a request of another account has the id.
    """
    if state == TAKEN:
        raise RequestIdTaken(request.request_id)
    if not state:
        raise RequestVanished(request.request_id)
    if is_new == "1":
        log_accepted(request, int(total), held)
    return Enqueued(State(state), is_new == "1", int(total), held)


def log_accepted(request: NewRequest, total: int, held: str) -> None:
    """Log a new request: a warning if it waits for approval; at level DEBUG unless its caller records its trace."""
    fields = {
        "request_id": request.request_id,
        "source": request.source,
        "ids": total,
        "by": request.origin,
        "traceparent": request.traceparent,
    }
    if held:
        logger.warning("request %s waits for approval: %s", request.request_id, held, extra=fields)
    else:
        level = logging.INFO if is_sampled(request.traceparent) else logging.DEBUG
        logger.log(level, "request %s accepted, %d file ids", request.request_id, total, extra=fields)
