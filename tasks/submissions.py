"""Enqueues requests for callers of the web server that wait for the end, many at once.

Every method raises `worker.errors.RedisUnreachable` when Redis does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from config.settings import Settings
from worker.account import Account
from worker.accounts import Accounts
from worker.errors import QueueUnavailable
from worker.queue.operations import NewRequest
from worker.queue.submitting import Submission, Submitted, submit
from worker.queue.validation import checked_request, is_file_id
from worker.reports.report import Report
from worker.reports.stats import ALIVE_MS
from worker.store.connection import connect, explained

__all__ = [
    "NewRequest",
    "NoWorker",
    "RequestName",
    "Submission",
    "Submissions",
    "Submitted",
    "checked_request",
    "is_file_id",
]

JOIN_MS = 300_000
"""How long after its end a repeat still joins a request."""
PAUSE_SECONDS = 0.2
"""How often `finished` yields while no request ends."""
_AT_ONCE = 1000


class NoWorker(QueueUnavailable):
    """No worker is alive, so nothing would be deleted."""

    def __str__(self) -> str:
        return "No worker is running, so nothing was enqueued. Start one: celery -A worker.app worker"


class RequestName(NamedTuple):
    """A request of an account."""

    account: str
    request_id: str


class Submissions:
    """Enqueues for many callers at once, and yields the requests that have ended. Call each method from one thread."""

    def __init__(self, settings: Settings) -> None:
        redis = connect(settings)
        self._settings = settings
        self._redis: Any = redis
        self._accounts = Accounts(settings, lambda each: Account(each, redis))

    def submit(self, submissions: Sequence[tuple[str, Submission]]) -> list[Submitted]:
        """Enqueue requests of accounts, those of an account in one step, or join the request that has its id.

        Raises `NoWorker`, `QueueFull`, and `InvalidRequest` for an unknown account.
        """
        done: dict[int, Submitted] = {}
        for account, positions in _by_account(account for account, _ in submissions).items():
            submitted = self._submit(self._accounts.of(account), [submissions[at][1] for at in positions])
            done.update(zip(positions, submitted, strict=True))
        return [done[at] for at in range(len(submissions))]

    def _submit(self, account: Account, submissions: Sequence[Submission]) -> list[Submitted]:
        with explained(self._settings):
            done = submit(account.queue, submissions, join_ms=JOIN_MS, alive_ms=ALIVE_MS)
        if done is None:
            raise NoWorker
        return done

    def reports(self, names: Sequence[RequestName]) -> list[Report | None]:
        """Return the reports of requests in a few round trips; None for an unknown one."""
        found: dict[int, Report | None] = {}
        for account, positions in _by_account(name.account for name in names).items():
            reports = self._accounts.of(account).reports
            with explained(self._settings):
                found.update(zip(positions, reports.read([names[at].request_id for at in positions]), strict=True))
        return [found[at] for at in range(len(names))]

    def finished(self) -> Iterator[list[RequestName]]:
        """Yield requests as they end; an empty list every `PAUSE_SECONDS` while none ends.

        Some are missed before the first yield, and while the connection is broken.
        """
        with explained(self._settings), self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            while True:
                self._accounts.refresh()
                names = {each.keys("finished"): name for name, each in self._accounts.served().items()}
                if new := names.keys() - {*channel.channels}:
                    channel.subscribe(*new)
                yield _ended(channel, names)


def _ended(channel: Any, names: Mapping[str, str]) -> list[RequestName]:
    """Return the requests that have ended, after a pause if there are none."""
    ended: list[RequestName] = []
    timeout = PAUSE_SECONDS
    while len(ended) < _AT_ONCE and (message := channel.get_message(timeout=timeout)):
        if message["channel"] in names:
            ended.append(RequestName(names[message["channel"]], message["data"]))
        timeout = 0
    return ended


def _by_account(accounts: Iterable[str]) -> dict[str, list[int]]:
    """Return the positions at which each account occurs."""
    positions: dict[str, list[int]] = {}
    for at, account in enumerate(accounts):
        positions.setdefault(account, []).append(at)
    return positions
