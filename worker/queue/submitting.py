"""Enqueues many requests in one step, for callers that wait for the end and repeat requests after a lost response."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from worker.queue.operations import CHUNK_IDS, Queue
from worker.queue.requests import NewRequest, log_accepted
from worker.queue.validation import Urls
from worker.states import State

REPEATS_TTL_MS = 86_400_000
"""How long a request that repeats an old one is remembered."""


@dataclass(frozen=True)
class Submission:
    """A request with all its file ids. A repeat (a request with the same id) joins it."""

    request: NewRequest
    file_ids: Sequence[str]
    """Each once; at most `worker.queue.operations.CHUNK_IDS`."""
    urls: Urls | None = None
    """URLs of files, if the request asks for purge."""
    content: str | None = None
    """Digest of caller and file ids, stored with the request; only if the caller chose the request id."""
    is_last: bool = False
    """Whether all callers that are expected have called: a partial batch need not wait for them."""


class Submitted(NamedTuple):
    """The request that a submission made or joined."""

    state: State
    request_id: str
    on_hold: bool
    """Whether it is on hold or waits for approval."""
    held: str
    """Why it waits for approval; empty if it does not."""
    content: str
    """The digest stored with it; empty if none is."""
    is_new: bool
    """Whether this submission made it."""


def submit(queue: Queue, submissions: Sequence[Submission], *, join_ms: int, alive_ms: int) -> list[Submitted] | None:
    """Enqueue whole requests, or join those that are open or ended at most `join_ms` ago.

    None if no worker has sent a heartbeat in the last `alive_ms`: then nothing was enqueued.
    """
    requests = [
        {
            **queue.described(each.request, urls=each.urls),
            "file_ids": each.file_ids,
            "other": str(uuid.uuid4()),
            **({"content": each.content} if each.content else {}),
        }
        for each in submissions
    ]
    all_wait = any(each.is_last for each in submissions)
    about = {"join_ms": join_ms, "alive_ms": alive_ms, "repeats_ttl_ms": REPEATS_TTL_MS, "all_wait": all_wait}
    replies = queue.scripts.run("queue/submit", {"requests": requests, **about}, keys=[queue.home_keys("workers")])
    if not replies:
        return None
    return [_submitted(each, *reply) for each, reply in zip(submissions, replies, strict=True)]


def _submitted(
    submission: Submission, state: str, request_id: str, on_hold: str, held: str, content: str, is_new: str
) -> Submitted:
    if is_new == "1":
        log_accepted(replace(submission.request, request_id=request_id), len(submission.file_ids), held)
    return Submitted(State(state), request_id, on_hold == "1", held, content, is_new == "1")


def portions(requests: Iterable[tuple[NewRequest, list[str]]]) -> Iterator[list[tuple[NewRequest, list[str]]]]:
    """Yield the requests in portions of at most `CHUNK_IDS` file ids."""
    portion: list[tuple[NewRequest, list[str]]] = []
    count = 0
    for request, file_ids in requests:
        if portion and count + len(file_ids) > CHUNK_IDS:
            yield portion
            portion, count = [], 0
        portion.append((request, file_ids))
        count += len(file_ids)
    yield portion
