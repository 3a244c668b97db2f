"""Accepts the messages of one broker queue in bulk.

`take` moves messages from the broker's lists to a list of ours, and `accept` enqueues their requests and deletes that
list. Both are atomic, so no message is ever in memory only. Messages that a worker took and did not accept within
`LEASE_MS` are taken by another. A message that is accepted twice makes one request.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from config.queue_names import broker_lists
from worker.errors import InvalidRequest, RequestIdTaken
from worker.intake.messages import Message, Unusual, read_message
from worker.queue.operations import CHUNK_IDS, Queue
from worker.queue.requests import NewRequest, read_enqueued
from worker.queue.validation import Asked
from worker.store.scripts import Scripts

logger = logging.getLogger(__name__)

MOST_MESSAGES = 100
"""More are hardly faster and block Redis for longer: it accepts 100 in 4 ms."""
MOST_BYTES = 1_000_000
"""Size from which on no more messages are taken, which bounds a worker's memory."""
LEASE_MS = 10_000
WAIT_SECONDS = 1
"""Longest wait for a message. In between, the intake looks for expired leases and lower priorities."""

_ANY_ID = uuid.uuid4().hex

FirstResult = Callable[[Asked, int, int], str]
"""From a request, its number of ids and the time (ms): its first result, as Celery's callers find it."""


class Taken(NamedTuple):
    """Messages that this process has taken."""

    token: str
    at_ms: int
    messages: list[bytes]


class Destination(NamedTuple):
    """Where the requests of one account are accepted."""

    queue: Queue
    first_result: FirstResult


Route = Callable[[str | None], Destination]
"""From the account that a message names, or None: its destination. Raises `InvalidRequest` for an unknown account."""


class Routed(NamedTuple):
    """A message, its request, and the account that it goes to."""

    message: Message
    request: NewRequest
    destination: Destination


class Turn(NamedTuple):
    """The result of one turn."""

    taken: int
    """Number of messages."""
    accepted: list[str]
    """Ids of their requests, including those that were known."""


class Intake:
    """Accepts the messages of one broker queue. Not thread-safe."""

    def __init__(
        self,
        queue: Queue,
        redis: Redis,
        broker_queue: str,
        unusual_queue: str,
        route: Route,
        most_ids: int,
    ) -> None:
        """Take messages under the keys of `queue`, and accept them where `route` says.

        Use a `redis` that returns bytes, since messages may be anything, and repeats no command: a token is new.
        """
        self._queue = queue
        self._redis = redis
        self._scripts = Scripts(redis, queue.keys)
        self._lists = broker_lists(broker_queue)
        self._targets = [*broker_lists(unusual_queue), queue.keys("unreadable")]
        self._route = route
        self._most_ids = min(most_ids, CHUNK_IDS)
        self._left: Taken | None = None

    def turn(self, is_revoked: Callable[[str], bool]) -> Turn:
        """Take and accept messages; those with a revoked id are forwarded to Celery. Call it again while it takes any.

        Raises `RedisError`, also when the server is out of memory. A later turn, of this worker or another, then
        accepts the messages.
        """
        taken = self._left or self._take()
        self._left = taken
        accepted = self._accept(taken, is_revoked) if taken.messages else []
        self._left = None
        return Turn(len(taken.messages), accepted)

    def wait(self) -> None:
        """Return when there is a message, or after `WAIT_SECONDS`."""
        first = self._lists[0]
        # Moving an element to where it is takes nothing.
        self._redis.blmove(first, first, WAIT_SECONDS, "RIGHT", "RIGHT")

    def _take(self) -> Taken:
        token = uuid.uuid4().hex
        limits = {"most": MOST_MESSAGES, "most_bytes": MOST_BYTES, "lease_ms": LEASE_MS}
        at_ms = self._scripts.run("intake/take", {"token": token, **limits}, keys=self._lists)
        messages = cast("list[bytes]", self._redis.lrange(self._queue.keys.taken(token), 0, -1))
        return Taken(token, int(at_ms), messages)

    def _accept(self, taken: Taken, is_revoked: Callable[[str], bool]) -> list[str]:
        read = [self._routed(read_message(raw, self._most_ids), is_revoked) for raw in taken.messages]
        try:
            return self._run_accept(taken, read)
        except OutOfMemoryError:
            raise
        except ResponseError:
            logger.exception(
                "intake: could not accept %d messages in bulk, forwarding them to Celery",
                len(read),
                extra={"messages": len(read)},
            )
            return self._run_accept(taken, [each if isinstance(each, Unusual) else Unusual(0) for each in read])

    def _run_accept(self, taken: Taken, read: Sequence[Routed | Unusual]) -> list[str]:
        by_account = _by_account(read)
        for routed in by_account.values():
            routed[0].destination.queue.scripts.prepare()
        accepted = [each for routed in by_account.values() for each in routed]
        asked = {
            "token": taken.token,
            "unusual": [[at, each.target] for at, each in enumerate(read) if isinstance(each, Unusual)],
            "accounts": [[_described(each) for each in routed] for routed in by_account.values()],
        }
        results = _first_results(accepted, taken.at_ms)
        replies = self._queue.scripts.run("intake/accept", asked, *results, keys=[*self._targets, *by_account])
        for each, reply in zip(accepted, replies, strict=False):
            _note(each.request, reply)
        return [each.request.request_id for each in accepted]

    def _routed(self, read: Message | Unusual, is_revoked: Callable[[str], bool]) -> Routed | Unusual:
        """Leave a request to Celery if it is revoked, or its account or callback is not usable: Celery reports it."""
        if isinstance(read, Unusual):
            return read
        if is_revoked(read.asked["request_id"]):
            return Unusual(0)
        try:
            destination = self._route(read.account)
        except InvalidRequest:
            return Unusual(0)
        callback = read.asked["callback"]
        has_problem = callback is not None and destination.queue.callback_problem(callback) is not None
        return Unusual(0) if has_problem else Routed(read, _request_of(read), destination)


def _by_account(read: Iterable[Routed | Unusual]) -> dict[str, list[Routed]]:
    """Return the messages that are accepted, by the prefix of their account."""
    found: dict[str, list[Routed]] = {}
    for each in read:
        if isinstance(each, Routed):
            found.setdefault(each.destination.queue.keys.prefix, []).append(each)
    return found


def _described(routed: Routed) -> dict[str, Any]:
    message, request, destination = routed
    return destination.queue.described(request, message.file_ids, message.urls)


def _first_results(messages: Sequence[Routed], at_ms: int) -> Iterator[str]:
    """Yield each first result, rendered once for requests that differ only in their id."""
    rendered: dict[tuple[str | int | None, ...], str] = {}
    for message, _, destination in messages:
        asked, total = message.asked, len(message.file_ids)
        alike = message.account, asked["source"], asked["reason"], asked["purge"], total
        if alike not in rendered:
            rendered[alike] = destination.first_result({**asked, "request_id": _ANY_ID}, total, at_ms)
        yield rendered[alike].replace(_ANY_ID, asked["request_id"])


def _request_of(message: Message) -> NewRequest:
    return NewRequest(
        **message.asked,
        canvas=message.canvas,
        origin=message.origin,
        traceparent=message.traceparent,
        priority=message.priority,
    )


def _note(request: NewRequest, reply: Any) -> None:
    """Log an accepted request."""
    try:
        read_enqueued(request, *reply)
    except RequestIdTaken as error:
        logger.warning("a message was ignored: %s", error, extra={"request_id": error.request_id})
