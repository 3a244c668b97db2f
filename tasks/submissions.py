"""Enqueues requests for callers of the web server that wait for the end, many at once.

Every method raises `worker.errors.RedisUnreachable` when Redis does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from config.settings import Settings
from worker.account import Account
from worker.errors import QueueUnavailable
from worker.queue.operations import NewRequest
from worker.queue.submitting import Submission, Submitted, submit
from worker.queue.validation import checked_request, is_file_id
from worker.reports.report import Report
from worker.reports.stats import ALIVE_MS
from worker.store.connection import explained

__all__ = ["NewRequest", "NoWorker", "Submission", "Submissions", "Submitted", "checked_request", "is_file_id"]

JOIN_MS = 300_000
"""How long after its end a repeat still joins a request."""
PAUSE_SECONDS = 0.2
"""How often `finished` yields while no request ends."""
_AT_ONCE = 1000


class NoWorker(QueueUnavailable):
    """No worker is alive, so nothing would be deleted."""

    def __str__(self) -> str:
        return "No worker is running, so nothing was enqueued. Start one: celery -A worker.app worker"


class Submissions:
    """Enqueues for many callers at once, and yields the requests that have ended. Call each method from one thread."""

    def __init__(self, settings: Settings, account: Account | None = None) -> None:
        self._settings = settings
        self._account = account or Account(settings)

    def submit(self, submissions: Sequence[Submission]) -> list[Submitted]:
        """Enqueue requests in one step, each whole, or join the request that has its id.

        Raises `NoWorker` and `QueueFull`; then nothing was enqueued.
        """
        with explained(self._settings):
            done = submit(self._account.queue, submissions, join_ms=JOIN_MS, alive_ms=ALIVE_MS)
        if done is None:
            raise NoWorker
        return done

    def reports(self, request_ids: Sequence[str]) -> list[Report | None]:
        """Return the reports of requests in a few round trips; None for an unknown one."""
        with explained(self._settings):
            return self._account.reports.read(request_ids)

    def finished(self) -> Iterator[list[str]]:
        """Yield the ids of requests as they end; an empty list every `PAUSE_SECONDS` while none ends.

        Ids are missed before the first yield, and while the connection is broken.
        """
        redis: Any = self._account.redis
        with explained(self._settings), redis.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(self._account.keys("finished"))
            while True:
                ended: list[str] = []
                timeout = PAUSE_SECONDS
                while len(ended) < _AT_ONCE and (message := channel.get_message(timeout=timeout)):
                    ended.append(message["data"])
                    timeout = 0
                yield ended
