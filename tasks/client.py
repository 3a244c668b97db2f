"""The client for code in this repository: enqueue, follow and cancel requests. Other services call the task by name.

Every method raises `worker.errors.RedisUnreachable` when Redis does not answer.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from redis import Redis
from redis.exceptions import RedisError

from config.settings import Settings, load_settings
from worker.errors import UnknownRequest
from worker.limiter.slots import Limiter
from worker.queue.operations import CHUNK_IDS, NewRequest, Queue
from worker.queue.validation import (
    Asked,
    check_reason,
    check_request_id,
    checked_file_ids,
    checked_request,
    checked_stream,
)
from worker.reports.reader import Reports, queued_report
from worker.reports.report import FileOutcome, Report
from worker.reports.stats import Stats, read_stats
from worker.states import State
from worker.store.connection import connect, explained
from worker.store.durability import await_disk, require_durability

if TYPE_CHECKING:
    from worker.runtime.process import App
    from worker.runtime.publisher import Publisher

__all__ = ["Asked", "Client", "check_reason", "check_request_id", "checked_request", "new_request_id"]

logger = logging.getLogger(__name__)

MIN_POLL_SECONDS = 0.05
MAX_POLL_SECONDS = 0.2
POLL_SHARE = 0.05
"""Interval between two polls, as a fraction of the time waited so far."""
REQUESTS_AT_ONCE = 100
"""Requests that `enqueue_many` sends in one round trip; more would keep Redis from others for longer."""


def new_request_id() -> str:
    """Return a new request id, of the form of a Celery task id."""
    return str(uuid.uuid4())


def app_for(settings: Settings, redis: Redis) -> App:
    """Build the Celery application on a Redis client. It loads Celery, which takes a tenth of a second."""
    from worker.runtime.process import create_app  # noqa: PLC0415 - commands that only read do not need Celery

    return create_app(settings, redis)


class Client:
    """Enqueues deletions, and reports how they end."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or load_settings()
        redis = connect(self._settings)
        self._queue = Queue(redis, self._settings)
        self._reports = Reports(redis, self._queue.keys)
        self._limiter = Limiter(redis, self._settings)

    @cached_property
    def _publisher(self) -> Publisher:
        return app_for(self._settings, self._queue.redis).publisher

    def ping(self) -> None:
        """Return if Redis answers."""
        with explained(self._settings):
            self._queue.redis.ping()

    def enqueue(
        self,
        file_ids: Iterable[str],
        *,
        source: str = "default",
        reason: str | None = None,
        hold_seconds: float = 0,
        result_ttl_seconds: int | None = None,
        request_id: str | None = None,
        durable: bool = False,
    ) -> str:
        """Enqueue any number of file ids, streamed in constant memory, as one request; return its id.

        All or nothing: if this raises, or the process dies halfway, no file of the request is deleted. Duplicates count
        once. A request id that was accepted before changes nothing. `result_ttl_seconds` is how long the result is kept
        once the request is final, by default as the settings say. With `durable` it returns once the request is in
        the append-only file on the server's disk.

        Raises:
            InvalidRequest: an argument is invalid; the error names it, and the position of a file id.
            QueueFull: Redis is out of memory.
            RequestVanished: the request was cancelled, or expired, while it was being sent.
            NotDurable: the request is not known to be on disk; `accepted` says whether it was accepted.
        """
        asked = checked_request(request_id or new_request_id(), source, reason, hold_seconds, result_ttl_seconds)
        stream = checked_stream(file_ids)
        first = list(islice(stream, CHUNK_IDS + 1))
        if not first:
            checked_file_ids(first, CHUNK_IDS)
        with explained(self._settings):
            if durable:
                require_durability(self._queue.redis, self._settings.redis_address)
            if len(first) <= CHUNK_IDS:
                self._enqueue_small([(asked, first)])
            else:
                self._enqueue_stream(asked, first, stream)
            if durable:
                await_disk(self._queue.redis, self._queue.keys, self._settings.redis_address)
        return asked["request_id"]

    def enqueue_many(
        self,
        requests: Iterable[Sequence[str]],
        *,
        source: str = "default",
        reason: str | None = None,
        result_ttl_seconds: int | None = None,
    ) -> list[str]:
        """Enqueue many requests of up to 5000 ids each, a hundred per round trip; return their ids in order.

        Each request is all or nothing. Requests before an invalid one are accepted. Raises as `enqueue` does.
        """
        request_ids: list[str] = []
        stream = iter(requests)
        while some := list(islice(stream, REQUESTS_AT_ONCE)):
            checked = [
                (
                    checked_request(new_request_id(), source, reason, 0, result_ttl_seconds),
                    checked_file_ids(ids, CHUNK_IDS),
                )
                for ids in some
            ]
            with explained(self._settings):
                self._enqueue_small(checked)
            request_ids += [asked["request_id"] for asked, _ in checked]
        return request_ids

    def status(self, request_id: str) -> Report:
        """Return the report so far. Raises `UnknownRequest` if the id was never used, or its results have expired."""
        with explained(self._settings):
            report = self._reports.read([request_id])[0]
        if report is None:
            raise UnknownRequest(request_id)
        return report

    def outcomes(self, request_id: str) -> Iterator[FileOutcome]:
        """Yield the outcome of each file of a request that has one; any number, in constant memory."""
        self.status(request_id)
        with explained(self._settings):
            yield from self._reports.outcomes(request_id)

    def wait(self, request_id: str, timeout: float | None = None) -> Report:
        """Return the report once it is final. Raises `TimeoutError` after `timeout` seconds, and `UnknownRequest`."""
        *_, report = self.follow(request_id, timeout)
        return report

    def follow(self, request_id: str, timeout: float | None = None) -> Iterator[Report]:
        """Yield the report repeatedly until it is final; it has no lists of ids before that."""
        start = time.monotonic()
        while True:
            with explained(self._settings):
                report = self._reports.read([request_id], with_ids=False)[0]
            if report is None:
                raise UnknownRequest(request_id)
            if State(report["state"]).is_final:
                yield self.status(request_id)
                return
            yield report
            waited = time.monotonic() - start
            pause = min(MAX_POLL_SECONDS, max(MIN_POLL_SECONDS, waited * POLL_SHARE))
            if timeout is not None and waited + pause > timeout:
                raise TimeoutError(f"request {request_id} is not done after {timeout:g} s")
            time.sleep(pause)

    def cancel(self, request_id: str) -> Report:
        """Cancel the files of a request that still wait; calls in flight are finished. Raises `UnknownRequest`."""
        with explained(self._settings):
            before = self._reports.read([request_id], with_ids=False)[0]
            done = self._queue.cancel(request_id)
            if before is None or done is None:
                raise UnknownRequest(request_id)
            report = self._reports.read([request_id])[0]
            if report is None:  # It was unsealed and has been deleted.
                return {**before, "state": done[0].value}
            self._publisher.publish_reports([request_id])
        return report

    def stats(self) -> Stats:
        """Return what waits, what is in flight, and what limits it."""
        with explained(self._settings):
            return read_stats(self._queue, self._limiter)

    def _enqueue_small(self, requests: Sequence[tuple[Asked, list[str]]]) -> None:
        """Enqueue requests of one chunk each, and publish that they are queued."""
        now = self._queue.now_ms()
        distinct = [(asked, list(dict.fromkeys(file_ids))) for asked, file_ids in requests]
        for some in _portions(distinct):
            reports = (queued_report(asked, len(file_ids), now) for asked, file_ids in some)
            new = [(NewRequest(**asked), file_ids) for asked, file_ids in some]
            self._queue.enqueue_many(new, map(self._publisher.first_result, reports))

    def _enqueue_stream(self, asked: Asked, first: list[str], rest: Iterator[str]) -> None:
        def stream() -> Iterator[str]:
            yield from first
            first.clear()
            yield from rest

        try:
            self._queue.enqueue(NewRequest(**asked), stream())
        except BaseException:
            self._drop_unsealed(asked["request_id"])
            raise
        self._publisher.publish_reports([asked["request_id"]])

    def _drop_unsealed(self, request_id: str) -> None:
        try:
            report = self._reports.read([request_id], with_ids=False)[0]
            if report and report["state"] == State.OPEN:
                self._queue.cancel(request_id)
        except RedisError:
            logger.debug(
                "request %s: could not drop its unsealed part, which expires",
                request_id,
                extra={"request_id": request_id},
            )


def _portions(requests: Iterable[tuple[Asked, list[str]]]) -> Iterator[list[tuple[Asked, list[str]]]]:
    """Yield the requests in portions of at most `CHUNK_IDS` file ids."""
    portion: list[tuple[Asked, list[str]]] = []
    count = 0
    for asked, file_ids in requests:
        if portion and count + len(file_ids) > CHUNK_IDS:
            yield portion
            portion, count = [], 0
        portion.append((asked, file_ids))
        count += len(file_ids)
    yield portion
