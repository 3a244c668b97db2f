"""A CDN for tests of purging: answers purge and list calls as told, and records what it was asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from tests.unit.support_queue import LONG_AGO_MS, end_all, must_claim, raw, settings_for_tests
from worker.account import Account
from worker.imagekit.answers import ListAnswer, Page, PurgeAccepted, PurgeAnswer, PurgeStatus
from worker.queue.operations import NewRequest
from worker.reports.report import Report
from worker.states import Outcome

SITE = "https://ik.imagekit.io/demo"


@dataclass
class Cdn:
    """Accepts and completes every purge at once, unless it is told otherwise."""

    answers: list[PurgeAnswer] = field(default_factory=list)
    """The next answers, first to come."""
    lists: list[ListAnswer] = field(default_factory=list)
    library: list[str] = field(default_factory=list)
    """Files that exist: a query finds those whose id it names, or that lie in its folder."""
    purged: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)

    def purge(self, url: str) -> PurgeAnswer:
        self.purged.append(url)
        return self.answers.pop(0) if self.answers else PurgeAccepted(f"p{len(self.purged)}")

    def purge_status(self, purge_id: str) -> PurgeAnswer:
        self.asked.append(purge_id)
        return self.answers.pop(0) if self.answers else PurgeStatus(is_completed=True)

    def list_files(self, search: Mapping[str, str], skip: int, limit: int) -> ListAnswer:
        self.queries.append(search["searchQuery"])
        return self.lists.pop(0) if self.lists else Page(tuple(self._found(search["searchQuery"])))

    def _found(self, query: str) -> Iterator[Mapping[str, Any]]:
        folder = re.search(r'path [:=] "([^"]*)"', query)
        name = re.search(r'name : "([^"]*)"', query)
        for file_id in self.library:
            path = url_of(file_id).removeprefix(SITE)
            is_there = folder and path.startswith(folder[1]) and (not name or path.endswith(f"/{name[1]}"))
            if is_there or f'"{file_id}"' in query:
                yield {"fileId": file_id, "url": url_of(file_id), "filePath": path}


class Stand:
    """An account whose purges go to a `Cdn`, and whose time is moved by hand."""

    def __init__(self, redis: Redis, **overrides: Any) -> None:
        self.cdn = Cdn()
        self.published: list[str] = []
        settings = settings_for_tests(**{"purge_window_seconds": 0, **overrides})
        self.account = Account(settings, redis, publish=self.published.extend)
        self.queue = self.account.queue
        self.purger = self.account.purger
        self.purger.api = self.cdn

    def enqueue(self, request: str, files: Iterable[str], purge: str | None = "true", **about: Any) -> None:
        """Enqueue files; their URLs are known unless their name starts with `unknown`."""
        names = list(files)
        urls = {name: url_of(name) for name in names if not name.startswith("unknown")}
        self.queue.enqueue(NewRequest(request, about.pop("source", "s"), purge=purge, **about), names, urls)

    def delete(self, outcome: Outcome = Outcome.DELETED) -> list[str]:
        """Delete all that waits; return the requests that are final."""
        final = []
        while (claim := self.queue.claim("t")) is not None:
            final += end_all(self.queue, claim, outcome)
        return final

    def purge(self, most: int = 100) -> None:
        """Do all that is due, and let time pass until nothing is open any more."""
        for _ in range(most):
            if not self.purger.step() and not self.let_time_pass():
                return

    def let_time_pass(self) -> bool:
        """Make open purges and lookups due; return whether there are any."""
        any_open = False
        raw(self.queue).delete(*(self.queue.keys.limits(endpoint) for endpoint in ("list", "purge")))
        for name in ("purges:open", "lookups"):
            key = self.queue.keys(name)
            for member in raw(self.queue).zrange(key, 0, -1):
                raw(self.queue).zadd(key, {member: LONG_AGO_MS})
                any_open = True
        return any_open

    def report(self, request: str) -> Report:
        """Return the report of a request."""
        report = self.account.reports.read([request])[0]
        assert report is not None
        return report


def url_of(name: str) -> str:
    """Return the URL of a file; a name such as `a.b.c` lies in the folders a and b."""
    return f"{SITE}/{name.replace('.', '/')}.jpg"


__all__ = ["SITE", "Cdn", "Stand", "must_claim", "url_of"]
