"""Failed files of requests that have ended: counts them by error, lists them, and retries them.

Every method raises `worker.errors.RedisUnreachable` when Redis does not answer.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import chain, islice
from typing import NamedTuple

from config.settings import Settings
from tasks.accounts import settings_of
from tasks.client import Accepted, Client
from worker.errors import NotPossible
from worker.queue.operations import CHUNK_IDS, NewRequest
from worker.reports.failures import (
    Failing,
    Failure,
    FailureFilter,
    FailureGroup,
    FailurePage,
    FailureReader,
    Summary,
)
from worker.states import State
from worker.store.connection import connect, explained
from worker.store.keys import Keys

__all__ = ["Failure", "FailureFilter", "FailureGroup", "FailurePage", "Failures", "Retried", "Summary"]

EVERYTHING = FailureFilter()
_AT_ONCE = 500
_NAMESPACE = uuid.UUID("8f0e6d3c-55c5-4b8e-9b61-2d9c7b0a4c11")
"""Of the ids of retries (RFC 9562, section 5.5)."""


class Retried(NamedTuple):
    """A request that repeats failed files of another."""

    request_id: str
    retry_of: str
    files: int
    is_new: bool
    """False if the same retry was accepted before."""


class Failures:
    """The failed files of one account, the newest request first. Files that were retried are left out by default."""

    def __init__(self, settings: Settings | None = None, client: Client | None = None) -> None:
        self._settings = settings_of(settings)
        self._client = client or Client(self._settings)
        self._redis, self._keys = connect(self._settings), Keys(self._settings.account)
        self._reader = FailureReader(self._redis, self._keys)

    def page(self, wanted: FailureFilter = EVERYTHING, most: int = 50, after: str | None = None) -> FailurePage:
        """Return up to `most` failed files. Raises `InvalidRequest` if `after` is not that of the page before."""
        with explained(self._settings):
            return self._reader.page(wanted, most, after)

    def files(self, wanted: FailureFilter = EVERYTHING) -> Iterator[Failure]:
        """Yield all wanted failed files, in constant memory."""
        after = None
        while True:
            page = self.page(wanted, _AT_ONCE, after)
            yield from page.failures
            if (after := page.after) is None:
                return

    def summary(
        self, wanted: FailureFilter = EVERYTHING, on_progress: Callable[[Summary], object] = lambda _: None
    ) -> Summary:
        """Count the wanted files, and group them by error and source; `on_progress` sees the counts now and then."""
        summary = Summary()
        with explained(self._settings):
            for requests in self._reader.requests(wanted):
                for request in requests:
                    for failed in self._reader.files_of(request, wanted):
                        summary.add(request, failed)
                on_progress(summary)
        return summary

    def groups(self, wanted: FailureFilter = EVERYTHING) -> list[FailureGroup]:
        """Return the wanted files grouped by error and source, the largest group first."""
        return self.summary(wanted).groups()

    def retry_matching(self, wanted: FailureFilter, by: str | None = None) -> Iterator[Retried]:
        """Retry the wanted files: yield one new request for each that they failed in, as it is accepted.

        Files that were retried before are left out, so the same retry twice makes nothing new. `by` is who asks, for
        the audit trail.
        """
        with explained(self._settings):
            for request in chain.from_iterable(self._reader.requests(wanted)):
                if retried := self._retry(request, wanted, by):
                    yield retried

    def retry(self, request_id: str, by: str | None = None) -> Accepted:
        """Retry the failed files of a request; return the new request, the same one however often this is called.

        Raises `UnknownRequest`, and `NotPossible` if the request is not final or none of its files failed.
        """
        self.require_failed(request_id)
        for retried in self.retry_matching(FailureFilter(request_id=request_id), by):
            return Accepted(retried.request_id, retried.is_new)
        before = self.page(FailureFilter(request_id=request_id, retried=True), most=1).failures
        return Accepted(before[0]["retried_by"] or "", is_new=False)

    def require_failed(self, request_id: str) -> None:
        """Return if a request is final and has failed files. Raises `UnknownRequest` and `NotPossible`."""
        report = self._client.status(request_id)
        if not State(report["state"]).is_final:
            raise NotPossible(f"request {request_id} is not final; its failed files can be retried once it is")
        if not report["failed"]:
            raise NotPossible(f"request {request_id} has no failed files; there is nothing to retry")

    def _retry(self, request: Failing, wanted: FailureFilter, by: str | None) -> Retried | None:
        """Enqueue a request's wanted files as a new one, and only then note for each that it was retried."""
        files, digest = 0, blake2b(request.request_id.encode())
        for file_id in self._ids(request, wanted):
            files += 1
            digest.update(b"\n" + file_id.encode())
        if not files:
            return None
        # The same files have the same request id, also if a crash left them without the note.
        name = request.request_id if files == request.failed else f"{request.request_id}\n{digest.hexdigest()}"
        new = NewRequest(
            str(uuid.uuid5(_NAMESPACE, name)),
            request.source,
            request.reason,
            origin=by,
            retry_of=request.request_id,
            purge=request.purge,
        )
        enqueued = self._client.accept(new, self._ids(request, wanted))
        self._note(request, new.request_id, self._ids(request, wanted))
        return Retried(new.request_id, request.request_id, files, enqueued.is_new)

    def _ids(self, request: Failing, wanted: FailureFilter) -> Iterator[str]:
        for failed in self._reader.files_of(request, wanted):
            yield from (file_id for _, file_id, _ in failed.files)

    def _note(self, request: Failing, retry_id: str, file_ids: Iterable[str]) -> None:
        """Note that files were retried, for as long as the request is kept."""
        about, retried = (self._keys.request(request.request_id, part) for part in ("about", "retried"))
        stream = iter(file_ids)
        while some := list(islice(stream, CHUNK_IDS)):
            with self._redis.pipeline() as pipe:
                pipe.hset(retried, mapping=dict.fromkeys(some, retry_id))
                pipe.pexpireat(retried, self._redis.pexpiretime(about))
                pipe.execute()
