"""Looks up the URLs of files before they are deleted: 100 ids a call, under the limit of list calls.

A deletion does not fail for want of a URL: after some failures its request goes on without, and reports the files as
not purged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from worker.calls import Gate
from worker.imagekit.answers import ListAnswer, Page, Refused, Throttled, Unanswered
from worker.imagekit.urls import endpoint_in
from worker.purge.store import LOOKUP_IDS, Lookup, Purges
from worker.queue.validation import Urls, check_file_url
from worker.text import quoted_for_search
from worker.times import backoff_ms

logger = logging.getLogger("kitsweep.purge")

MOST_FAILURES = 5
"""Failed calls in a row after which a request goes on without URLs."""
NAP_MS = 300
"""The longest wait for a slot."""
MOST_QUERY = 6_000
"""Characters of a query: servers refuse URLs that are much longer."""


class ListApi(Protocol):
    """The part of the ImageKit client that lookups use."""

    def list_files(self, search: Mapping[str, str], skip: int, limit: int) -> ListAnswer:
        """Make one list call."""
        ...


def look_up_some(purges: Purges, gate: Gate, api: ListApi) -> bool:
    """Look up the URLs of up to 100 files; return whether any were taken."""
    lookups = purges.take_lookups()
    if not lookups:
        return False
    wanted = dict.fromkeys(file_id for lookup in lookups for file_id in lookup.file_ids)
    urls: Urls = {}
    for ids in _portions(wanted):
        permit = gate.wait(NAP_MS)
        if not permit.granted:
            purges.postpone_lookups(lookups, permit.wait_ms, failed=False)
            return True
        search = {"searchQuery": f'type = "file" AND id IN [{ids}]'}
        answer, _ = gate.make(permit, lambda search=search: api.list_files(search, 0, LOOKUP_IDS))  # type: ignore[misc]
        if not isinstance(answer, Page):
            _after_failure(purges, lookups, answer)
            return True
        purges.learn_endpoints(each for item in answer.objects if (each := endpoint_in(item)))
        urls |= {file_id: url for file_id, url in _urls_in(answer.objects) if file_id in wanted}
    if lacking := len(wanted) - len(urls):
        logger.warning("lookup: no URL for %d files, which cannot be purged", lacking, extra={"files": lacking})
    purges.look_up(lookups, urls)
    return True


def _portions(ids: Iterable[str]) -> Iterator[str]:
    """Yield the ids, quoted and separated by commas, in texts that fit into a query."""
    text = ""
    for file_id in map(quoted_for_search, ids):
        if text and len(text) + len(file_id) > MOST_QUERY:
            yield text
            text = ""
        text = f"{text}, {file_id}" if text else file_id
    if text:
        yield text


def _urls_in(objects: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield the file ids and URLs of listed objects that have both."""
    for item in objects:
        if isinstance(item, Mapping) and isinstance(item.get("fileId"), str):
            try:
                yield item["fileId"], check_file_url(item.get("url"))
            except ValueError:
                continue


def _after_failure(purges: Purges, lookups: list[Lookup], answer: ListAnswer) -> None:
    if isinstance(answer, Throttled):
        purges.postpone_lookups(lookups, answer.meta.reset_ms or 1000, failed=False)
        return
    given_up = [each for each in lookups if each.failures + 1 >= MOST_FAILURES or isinstance(answer, Refused)]
    others = [each for each in lookups if each not in given_up]
    purges.look_up((each._replace(after=-1) for each in given_up), {})
    if others:
        delay_ms = backoff_ms(1 + max(each.failures for each in others))
        purges.postpone_lookups(others, delay_ms, failed=True)
    for each in given_up:
        logger.warning(
            "lookup: request %s goes on without URLs of its files, which cannot be purged: %s",
            each.request_id,
            answer.reason if isinstance(answer, Unanswered) else getattr(answer, "message", "no list"),
            extra={"request_id": each.request_id},
        )
