"""Enqueues many requests in one step, for callers that wait for the end of them and repeat them when they lose it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from worker.queue.operations import NewRequest, Queue
from worker.states import State


@dataclass(frozen=True)
class Submission:
    """A request with all its file ids. A repeat, a request of the same id, joins it."""

    request: NewRequest
    file_ids: Sequence[str]
    """Each once; at most `worker.queue.operations.CHUNK_IDS`."""
    content: str | None = None
    """What tells the request from others with its id, to be kept with it; only if its caller chose the id."""


class Submitted(NamedTuple):
    """The request that a submission made or joined."""

    state: State
    request_id: str
    on_hold: bool
    """Whether it waits for the end of its hold, or for somebody's approval."""
    held: str
    """Why it waits for approval; empty if it does not."""
    content: str
    """What was kept with it."""


def submit(queue: Queue, submissions: Sequence[Submission], *, join_ms: int, alive_ms: int) -> list[Submitted] | None:
    """Enqueue requests, each whole, or join those that are open or ended at most `join_ms` ago.

    None if no worker was heard of in the last `alive_ms`: then nothing was enqueued.
    """
    requests = [
        {
            **queue.described(each.request),
            "file_ids": each.file_ids,
            "other": str(uuid.uuid4()),
            **({"content": each.content} if each.content else {}),
        }
        for each in submissions
    ]
    replies = queue.scripts.run("queue/submit", {"requests": requests, "join_ms": join_ms, "alive_ms": alive_ms})
    return [Submitted(State(state), name, on_hold == "1", *rest) for state, name, on_hold, *rest in replies] or None
