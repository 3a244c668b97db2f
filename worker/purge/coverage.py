"""Finds out which wildcards cover no file that stays, by listing what they cover.

A wildcard saves quota, and the listing costs none. Files that we have deleted may still be listed, since the search
index lags; they do not stay. A file that is not listed yet is only fetched from the origin once more.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from worker.calls import Gate
from worker.imagekit.answers import Page
from worker.purge.lookup import ListApi
from worker.purge.planner import PurgeFile
from worker.purge.store import Purges
from worker.purge.wildcards import folder_of, may_purge_below, may_purge_variants
from worker.text import quoted_for_search

logger = logging.getLogger("kitsweep.purge")

MOST_FOLDERS = 20
"""Folders that are listed for one plan; the files of others are purged one by one."""
PATIENCE_MS = 2_000
"""The longest wait for a slot; without one, no wildcard is used."""
LISTED = 1000


@dataclass(frozen=True)
class Coverage:
    """Checks wildcards against the listing of one account."""

    purges: Purges
    gate: Gate
    """Of the list endpoint."""
    api: ListApi
    endpoints: Collection[str]
    """URL endpoints whose URLs are those of the library: only below them is it known what a wildcard covers."""

    def coverable_folders(self, files: Iterable[PurgeFile], allowed: Collection[str]) -> set[str]:
        """Return the URLs of folders in which no file stays, and those that are allowed anyway."""
        coverable = {folder for folder in allowed if may_purge_below(folder, self.endpoints)}
        counts = Counter(folder_of(file.url) for file in files)
        several = [folder for folder, count in counts.most_common(MOST_FOLDERS) if count > 1]
        return coverable | {each for each in several if each not in coverable and self._is_left(each)}

    def variants_of(self, url: str) -> bool:
        """Return whether a wildcard after the URL of a file covers only copies of that file."""
        path = self._path(url)
        if path is None or not may_purge_variants(url):
            return False
        folder, _, name = path.rpartition("/")
        query = f"path = {quoted_for_search(folder + '/')} AND name : {quoted_for_search(name)}"
        return self._holds_only_gone(query)

    def _is_left(self, folder: str) -> bool:
        path = self._path(folder) if may_purge_below(folder, self.endpoints) else None
        return path is not None and self._holds_only_gone(f"path : {quoted_for_search(path)}")

    def _path(self, url: str) -> str | None:
        """Return the path of a URL in the library; None if its endpoint is not known."""
        endpoint = max((each for each in self.endpoints if url.startswith(f"{each}/")), key=len, default=None)
        return None if endpoint is None else unquote(url.removeprefix(endpoint))

    def _holds_only_gone(self, query: str) -> bool:
        permit = self.gate.wait(PATIENCE_MS)
        if not permit.granted:
            return False
        search = {"searchQuery": f'type = "file" AND {query}'}
        answer, _ = self.gate.make(permit, lambda: self.api.list_files(search, 0, LISTED))
        if not isinstance(answer, Page):
            return False
        ids = [item.get("fileId") if isinstance(item, Mapping) else None for item in answer.objects]
        known = [file_id for file_id in ids if isinstance(file_id, str)]
        return len(known) == len(ids) < LISTED and self.purges.queue.gone(known) == {*known}
