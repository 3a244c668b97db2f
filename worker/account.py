"""One ImageKit account: every part that works for it, built from its settings and passed in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from redis import Redis

from config.settings import Settings
from worker.batch.pipeline import Batches
from worker.calls import Gate
from worker.cleanup.rules.file import RulesFile
from worker.cleanup.runs.counting import LibraryCounter
from worker.cleanup.runs.slice import Cleaner
from worker.cleanup.runs.store import RunStore
from worker.imagekit.client import ImageKit
from worker.imagekit.connections import no_deadline
from worker.limiter.slots import Endpoint, Limiter
from worker.purge.purger import Purger
from worker.purge.store import Purges
from worker.queue.approvals import Approvals
from worker.queue.leases import LeaseKeeper
from worker.queue.operations import Queue
from worker.reports.audit import Audit
from worker.reports.reader import Reports
from worker.store.connection import connect
from worker.tokens.store import Tokens
from worker.webhooks.sender import Sender
from worker.webhooks.store import Webhooks

Publish = Callable[[list[str]], None]
"""Hands the ids of finished requests to the result backend."""


class Account:
    """The parts of one account. Cheap to make: each part is built when it is first used.

    `publish` receives the ids of requests as they become final. `calls_end` returns the deadline of calls to
    ImageKit, in monotonic seconds, which a worker that is stopping brings forward.
    """

    def __init__(
        self,
        settings: Settings,
        redis: Redis | None = None,
        *,
        publish: Publish = lambda _: None,
        calls_end: Callable[[], float] = no_deadline,
    ) -> None:
        self.settings = settings
        self.redis = redis or connect(settings)
        self.queue = Queue(self.redis, settings)
        self.keys = self.queue.keys
        self.limiter = Limiter(self.redis, settings)
        self._publish = publish
        self._calls_end = calls_end

    def __repr__(self) -> str:
        return f"Account({self.settings.account!r})"

    @cached_property
    def api(self) -> ImageKit:
        """The client of the ImageKit API."""
        return ImageKit(self.settings, self._calls_end)

    @cached_property
    def batches(self) -> Batches:
        """The pipeline that deletes."""
        return Batches(
            queue=self.queue,
            gate=Gate(self.limiter),
            api=self.api,
            leases=LeaseKeeper(self.queue, self.settings.lease_seconds),
            batch_size=self.settings.batch_size,
            max_attempts=self.settings.max_attempts,
            publish=self._publish,
        )

    @cached_property
    def runs(self) -> RunStore:
        """The stored runs of cleanup rules."""
        return RunStore(self.queue, self.settings)

    @cached_property
    def rules(self) -> RulesFile:
        """The file of cleanup rules."""
        return RulesFile(self.settings.cleanup_file)

    @cached_property
    def cleaner(self) -> Cleaner:
        """The pipeline that carries out cleanup rules."""
        gate = Gate(Limiter(self.redis, self.settings, Endpoint.LIST))
        return Cleaner(runs=self.runs, rules=self.rules, gate=gate, api=self.api, publish=self._publish)

    @cached_property
    def purges(self) -> Purges:
        """The purges of cached copies."""
        return Purges(self.queue, self.settings)

    @cached_property
    def purger(self) -> Purger:
        """The pipeline that purges."""
        return Purger(
            purges=self.purges,
            gate=Gate(Limiter(self.redis, self.settings, Endpoint.PURGE)),
            lists=Gate(Limiter(self.redis, self.settings, Endpoint.LIST)),
            api=self.api,
            publish=self._publish,
        )

    @cached_property
    def library(self) -> LibraryCounter:
        """The count of all files, for guards that are a share of it."""
        return LibraryCounter(self.cleaner, needed=self.settings.guards.need_a_count)

    @cached_property
    def approvals(self) -> Approvals:
        """The requests that wait for approval."""
        return Approvals(self.queue, allow_own=self.settings.approve_own)

    @cached_property
    def reports(self) -> Reports:
        """The reports of requests."""
        return Reports(self.redis, self.keys)

    @cached_property
    def webhooks(self) -> Webhooks:
        """The webhooks that wait, and those that have ended."""
        return Webhooks(self.redis, self.settings)

    @cached_property
    def webhook_sender(self) -> Sender:
        """The sender of webhooks."""
        return Sender(self.webhooks, self.settings)

    @cached_property
    def audit(self) -> Audit:
        """The audit trail."""
        return Audit(self.redis, self.settings)

    @cached_property
    def tokens(self) -> Tokens:
        """The credentials of HTTP callers, of all accounts."""
        return Tokens(self.redis, self.queue.home_keys)
