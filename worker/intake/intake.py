"""Makes requests of the messages of one broker queue, in bulk.

``take`` moves messages from the broker's lists to one of our own, and ``accept`` enqueues them and lets go of that
list: two atomic steps, so that a message is never in memory only. What a worker took and did not accept within
`LEASE_MS`, anybody takes over. A message that is accepted twice makes one request, since its id is known.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from config.queue_names import broker_lists
from worker.intake.messages import Message, Unusual, read_message
from worker.queue.operations import CHUNK_IDS, NewRequest, Queue, read_enqueued
from worker.queue.validation import Asked
from worker.store.scripts import Scripts

logger = logging.getLogger(__name__)

MOST_MESSAGES = 100
"""More were hardly faster, and kept Redis from all others for longer: 100 take it 4 ms."""
MOST_BYTES = 1_000_000
"""Bytes of messages from which on no further one is taken with them: what a worker holds at once stays small."""
LEASE_MS = 10_000
WAIT_SECONDS = 1
"""How long to wait for a message at once; what dead workers took, and lower priorities, are looked for in between."""

_ANY_ID = uuid.uuid4().hex

FirstResult = Callable[[Asked, int, int], tuple[str, str]]
"""From a request, its number of ids and the time (ms): key and value of its first result in Celery's backend."""


class Taken(NamedTuple):
    """Messages that this process took."""

    token: str
    at_ms: int
    messages: list[bytes]


class Turn(NamedTuple):
    """What one turn did."""

    taken: int
    """Messages."""
    accepted: list[str]
    """Ids of the requests that they made, and of those that were known."""


class Intake:
    """Accepts the messages of one queue of the broker. For one thread."""

    def __init__(
        self,
        queue: Queue,
        redis: Redis,
        broker_queue: str,
        unusual_queue: str,
        first_result: FirstResult,
        most_ids: int,
    ) -> None:
        """`redis` answers in bytes, since messages may be anything, and repeats no command: no token is used twice."""
        self._queue = queue
        self._redis = redis
        self._scripts = Scripts(redis, queue.keys)
        self._lists = broker_lists(broker_queue)
        self._places = [*broker_lists(unusual_queue), queue.keys("unreadable")]
        self._first_result = first_result
        self._most_ids = min(most_ids, CHUNK_IDS)
        self._left: Taken | None = None

    def turn(self, is_revoked: Callable[[str], bool]) -> Turn:
        """Accept some messages; those whose id is revoked go on to Celery. Call it again while it takes any.

        Raises `RedisError`, for one thing when the server is out of memory: what was taken is then accepted by a later
        turn, of this worker or another.
        """
        taken = self._left or self._take()
        self._left = taken
        accepted = self._accept(taken, is_revoked) if taken.messages else []
        self._left = None
        return Turn(len(taken.messages), accepted)

    def wait(self) -> None:
        """Return when there is a message, or after a while."""
        first = self._lists[0]
        # To its own place: nothing is taken.
        self._redis.blmove(first, first, WAIT_SECONDS, "RIGHT", "RIGHT")

    def _take(self) -> Taken:
        token = uuid.uuid4().hex
        limits = {"most": MOST_MESSAGES, "most_bytes": MOST_BYTES, "lease_ms": LEASE_MS}
        at_ms = self._scripts.run("intake/take", {"token": token, **limits}, keys=self._lists)
        messages = cast("list[bytes]", self._redis.lrange(self._queue.keys.taken(token), 0, -1))
        return Taken(token, int(at_ms), messages)

    def _accept(self, taken: Taken, is_revoked: Callable[[str], bool]) -> list[str]:
        read = [self._unless_refused(read_message(raw, self._most_ids), is_revoked) for raw in taken.messages]
        try:
            return self._run_accept(taken, read)
        except OutOfMemoryError:
            raise
        except ResponseError:
            logger.exception("intake: %d messages could not be accepted in bulk; Celery runs them", len(read))
            return self._run_accept(taken, [each if isinstance(each, Unusual) else Unusual(0) for each in read])

    def _run_accept(self, taken: Taken, read: Sequence[Message | Unusual]) -> list[str]:
        messages = [message for message in read if isinstance(message, Message)]
        results = list(self._first_results(messages, taken.at_ms))
        asked = {
            "token": taken.token,
            "unusual": [[at, each.place] for at, each in enumerate(read) if isinstance(each, Unusual)],
            "requests": [self._as_request(each) for each in messages],
        }
        keys = [*self._places, *(key for key, _ in results)]
        replies = self._queue.scripts.run("intake/accept", asked, *(value for _, value in results), keys=keys)
        for each, reply in zip(messages, replies, strict=False):
            read_enqueued(reply, each.asked["request_id"], each.asked["source"])
        return [each.asked["request_id"] for each in messages]

    def _first_results(self, messages: Sequence[Message], at_ms: int) -> Iterator[tuple[str, str]]:
        """Yield where each first result goes, and its text: rendered once where requests differ in their id alone."""
        rendered: dict[tuple[str, str | None, int], tuple[str, str]] = {}
        for message in messages:
            asked, total = message.asked, len(message.file_ids)
            alike = asked["source"], asked["reason"], total
            if alike not in rendered:
                rendered[alike] = self._first_result({**asked, "request_id": _ANY_ID}, total, at_ms)
            key, value = rendered[alike]
            yield key.replace(_ANY_ID, asked["request_id"]), value.replace(_ANY_ID, asked["request_id"])

    def _as_request(self, message: Message) -> dict[str, Any]:
        request = NewRequest(**message.asked, canvas=message.canvas, origin=message.origin)
        return {**self._queue.described(request), "file_ids": message.file_ids}

    def _unless_refused(self, read: Message | Unusual, is_revoked: Callable[[str], bool]) -> Message | Unusual:
        """Leave to Celery what is revoked or cannot be called back: it tells the caller."""
        if isinstance(read, Unusual):
            return read
        callback = read.asked["callback"]
        has_problem = callback is not None and self._queue.callback_problem(callback) is not None
        return Unusual(0) if has_problem or is_revoked(read.asked["request_id"]) else read
