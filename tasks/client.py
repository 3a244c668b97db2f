"""The client for code in this repository: enqueue, follow and cancel requests. Other services call the task by name.

Every method raises `worker.errors.RedisUnreachable` when Redis does not answer.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from config.settings import Settings
from tasks.accounts import settings_of
from worker.errors import RequestIdTaken, UnknownRequest
from worker.limiter.slots import Limiter
from worker.queue.digest import Digest
from worker.queue.operations import CHUNK_IDS, NewRequest, Queue
from worker.queue.requests import Enqueued
from worker.queue.submitting import portions
from worker.queue.validation import (
    Asked,
    Urls,
    check_reason,
    check_request_id,
    checked_file_ids,
    checked_request,
    checked_stream,
)
from worker.reports.reader import Reports, queued_report
from worker.reports.report import FileOutcome, Report
from worker.reports.stats import Stats, read_stats
from worker.states import Outcome, State
from worker.store.connection import connect, explained
from worker.store.durability import await_disk, require_durability

if TYPE_CHECKING:
    from worker.runtime.process import App
    from worker.runtime.publisher import Publisher

__all__ = ["Asked", "Client", "Urls", "check_reason", "check_request_id", "checked_request", "new_request_id"]

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


class Accepted(NamedTuple):
    """What `submit` or a retry did; `is_new` is false if the request was there already."""

    request_id: str
    is_new: bool


class Client:
    """Enqueues deletions, and reports how they end."""

    def __init__(self, settings: Settings | None = None, account: str | None = None) -> None:
        """Use an account of the accounts file, by default that of the environment. Raises `InvalidRequest`."""
        self._settings = settings_of(settings, account)
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

    def enqueue(  # noqa: PLR0913 - one parameter for each part of a request
        self,
        file_ids: Iterable[str | Mapping[str, Any]],
        *,
        source: str = "default",
        reason: str | None = None,
        hold_seconds: float = 0,
        result_ttl_seconds: int | None = None,
        callback: str | None = None,
        purge: bool | str | None = None,
        request_id: str | None = None,
        durable: bool = False,
        urls: Urls | None = None,
    ) -> str:
        """Enqueue any number of file ids, streamed in constant memory, as one request; return its id.

        All or nothing: if this raises, or the process dies halfway, no file of the request is deleted. Duplicates count
        once. A request id that was accepted before changes nothing. `result_ttl_seconds` is how long the result is kept
        once the request is final, by default as the settings say. `callback` is the URL to which a webhook is sent when
        the request is final; the default is that of the source in KITSWEEP_CALLBACKS. With `purge` (True, "folder" or
        "wait") cached copies are purged; URLs that no object `{"fileId", "url"}` among the `file_ids` gives are looked
        up, unless the stream puts them into `urls`. With `durable` it returns once the request is in the append-only
        file on the server's disk.

        Raises:
            InvalidRequest: an argument is invalid; the error names it, and the position of a file id.
            QueueFull: Redis is out of memory.
            RequestVanished: the request was cancelled, or expired, while it was being sent.
            NotDurable: the request is not known to be on disk; `accepted` says whether it was accepted.
        """
        asked = checked_request(
            request_id or new_request_id(), source, reason, hold_seconds, result_ttl_seconds, callback, purge
        )
        urls = Urls() if urls is None else urls
        with explained(self._settings):
            if durable:
                require_durability(self._queue.redis, self._settings.redis_address)
            self._enqueue(NewRequest(**asked), checked_stream(file_ids, urls if asked["purge"] else None), urls)
            if durable:
                await_disk(self._queue.redis, self._queue.keys, self._settings.redis_address)
        return asked["request_id"]

    def submit(
        self,
        asked: Asked,
        file_ids: Iterable[str | Mapping[str, Any]],
        by: str,
        traceparent: str | None = None,
        urls: Urls | None = None,
    ) -> Accepted:
        """Enqueue as `enqueue` does, and tell whether the request is new: its sender may send it again.

        Raises what `enqueue` raises, and `RequestIdTaken` if the id is that of a request with other content.
        """
        digest = Digest(asked)
        urls = Urls() if urls is None else urls
        stream = digest.over(checked_stream(file_ids, urls if asked["purge"] else None))
        with explained(self._settings):
            new = NewRequest(**asked, origin=by, digest=digest, traceparent=traceparent)
            done = self._enqueue(new, stream, urls)
            if not done.is_new:
                deque(stream, maxlen=0)
                self._require_same(asked["request_id"], digest)
        return Accepted(asked["request_id"], done.is_new)

    def accept(self, request: NewRequest, file_ids: Iterator[str]) -> Enqueued:
        """Enqueue a request that the caller has checked."""
        with explained(self._settings):
            return self._enqueue(request, file_ids)

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
                    NewRequest(**checked_request(new_request_id(), source, reason, 0, result_ttl_seconds)),
                    checked_file_ids(ids, CHUNK_IDS),
                )
                for ids in some
            ]
            with explained(self._settings):
                self._enqueue_small(checked)
            request_ids += [request.request_id for request, _ in checked]
        return request_ids

    def status(self, request_id: str) -> Report:
        """Return the report so far. Raises `UnknownRequest` if the id was never used, or its results have expired."""
        with explained(self._settings):
            report = self._reports.read([request_id])[0]
        if report is None:
            raise UnknownRequest(request_id)
        return report

    def statuses(self, request_ids: Sequence[str]) -> list[Report | None]:
        """Return the reports of several requests without lists of ids; None for an unknown one."""
        with explained(self._settings):
            return self._reports.read(request_ids, with_ids=False)

    def outcomes(self, request_id: str, wanted: Collection[Outcome] = tuple(Outcome)) -> Iterator[FileOutcome]:
        """Yield each file of a request that has one of the wanted outcomes; any number, in constant memory."""
        self.status(request_id)
        with explained(self._settings):
            yield from self._reports.outcomes(request_id, wanted)

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

    def cancel(self, request_id: str, by: str | None = None) -> Report:
        """Cancel the files of a request that still wait; calls in flight are finished. Raises `UnknownRequest`."""
        with explained(self._settings):
            before = self._reports.read([request_id], with_ids=False)[0]
            done = self._queue.cancel(request_id, by)
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

    def _enqueue(self, request: NewRequest, file_ids: Iterator[str], urls: Urls | None = None) -> Enqueued:
        first = list(islice(file_ids, CHUNK_IDS + 1))
        if not first:
            checked_file_ids(first, CHUNK_IDS)
        if len(first) <= CHUNK_IDS:
            return self._enqueue_small([(request, first)], urls)[0]
        return self._enqueue_stream(request, first, file_ids, urls)

    def _enqueue_small(
        self, requests: Sequence[tuple[NewRequest, list[str]]], urls: Urls | None = None
    ) -> list[Enqueued]:
        """Enqueue requests of one chunk each, and publish that they are queued."""
        now, done = self._queue.now_ms(), list[Enqueued]()
        for some in portions((request, list(dict.fromkeys(file_ids))) for request, file_ids in requests):
            reports = (queued_report(r.request_id, r.source, r.reason, len(ids), now, r.purge) for r, ids in some)
            done += self._queue.enqueue_many(some, map(self._publisher.first_result, reports), urls)
        return done

    def _enqueue_stream(
        self, request: NewRequest, first: list[str], rest: Iterator[str], urls: Urls | None
    ) -> Enqueued:
        try:
            done = self._queue.enqueue(request, chain(first, rest), urls)
        except BaseException:
            self._drop_unsealed(request.request_id)
            raise
        self._publisher.publish_reports([request.request_id])
        return done

    def _require_same(self, request_id: str, digest: Digest) -> None:
        if self._reports.content_of(request_id) != digest.text():
            raise RequestIdTaken(request_id)

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
