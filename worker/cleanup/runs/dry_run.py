"""Shows what a rule would delete, and changes nothing.

It lists and checks as a run does, under the same limit, and collects nothing.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from worker.cleanup.listing.matching import Match, Matcher
from worker.cleanup.listing.paging import START, Cursor, step
from worker.cleanup.listing.query import search_for
from worker.cleanup.rules.rule import Rule
from worker.cleanup.runs.slice import Cleaner
from worker.errors import KitsweepError
from worker.imagekit.answers import KeyRefused, Page, Refused, Throttled, Unanswered
from worker.times import backoff_ms

REMEMBERED = 20_000
"""How many file ids are remembered, so that those of overlapping pages count once."""
FIRST_PATHS = 10
MOST_FAILURES = 5


class ListingRefused(KitsweepError):
    """The files cannot be listed; the text says why."""


@dataclass
class Summary:
    """What a dry run found."""

    files: int = 0
    bytes: int = 0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    first_paths: list[str] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)
    """Objects that the search returned and our own check excluded: why → number."""
    pages: int = 0

    def add(self, file: Match) -> None:
        """Count one file."""
        self.files += 1
        self.bytes += file.size
        if file.created_ms:
            self.oldest_ms = min(self.oldest_ms or file.created_ms, file.created_ms)
            self.newest_ms = max(self.newest_ms or 0, file.created_ms)
        if len(self.first_paths) < FIRST_PATHS:
            self.first_paths.append(file.path)


def dry_run(
    cleaner: Cleaner, rule: Rule, summary: Summary, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Match]:
    """Yield every file that a run would delete now, and count it in `summary`. Memory is constant.

    Raises:
        ListingRefused: the API refuses the search or the key, or does not answer.
        worker.cleanup.listing.paging.ListingError: the listing does not advance.
    """
    matcher = Matcher(rule, cleaner.runs.queue.now_ms())
    seen: deque[str] = deque(maxlen=REMEMBERED)
    known: set[str] = set()
    cursor: Cursor | None = START
    search = search_for(rule)
    while cursor is not None:
        page = patient_page(cleaner, search, cursor.skip, cleaner.page, sleep)
        summary.pages += 1
        objects, cursor = step(cursor, page.objects, cleaner.page)
        for found in map(matcher.match, objects):
            if not isinstance(found, Match):
                summary.excluded[found.why] += 1
            elif found.file_id not in known:
                _remember(found.file_id, seen, known)
                summary.add(found)
                yield found


def _remember(file_id: str, seen: deque[str], known: set[str]) -> None:
    if len(seen) == seen.maxlen:
        known.discard(seen[0])
    seen.append(file_id)
    known.add(file_id)


def patient_page(
    cleaner: Cleaner, search: Mapping[str, str], skip: int, limit: int, sleep: Callable[[float], None] = time.sleep
) -> Page:
    """Make one list call under the limit; wait for a slot, and retry failures. Raises `ListingRefused`."""
    failures = 0
    while True:
        permit = cleaner.gate.wait(math.inf, sleep)
        answer, _ = cleaner.gate.make(permit, lambda: cleaner.api.list_files(search, skip, limit))
        match answer:
            case Page():
                return answer
            case Throttled():
                continue
            case Refused(message=message):
                raise ListingRefused(f"ImageKit refuses the search: {message}")
            case KeyRefused(message=message):
                raise ListingRefused(f"ImageKit refuses the private key: {message}")
            case Unanswered(reason=reason):
                failures += 1
                if failures >= MOST_FAILURES:
                    raise ListingRefused(f"{failures} list calls in a row failed: {reason}")
                sleep(backoff_ms(failures) / 1000)
