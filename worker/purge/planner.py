"""Plans purges: the fewest calls that cover all URLs. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from worker.purge.wildcards import folders_above, may_purge_variants


class PurgeFile(NamedTuple):
    """A deleted file whose cached copies are to be purged."""

    url: str
    entry: str
    """How it is stored: "<file id> <request id>"."""


class Purge(NamedTuple):
    """One purge call."""

    url: str
    """Of one file, or with a `*` at its end."""
    entries: list[str]
    """The files that it covers."""


def plan(files: Iterable[PurgeFile], coverable: Collection[str]) -> list[Purge]:
    """Return the fewest calls that purge all files, in the order of their first file.

    `coverable`: URLs of folders, with a slash at the end, that one wildcard may cover: the API allows it, and it covers
    no file that stays, or the caller does not mind. The outermost of them covers most; a folder that holds one file
    needs none, but a wildcard after the file itself then covers its copies with a query too.
    """
    groups: dict[str, list[PurgeFile]] = {}
    for file in files:
        folder = next((each for each in folders_above(file.url) if each in coverable), None)
        groups.setdefault(folder or file.url, []).append(file)
    return [Purge(_url_for(cover, group), [file.entry for file in group]) for cover, group in groups.items()]


def _url_for(cover: str, group: list[PurgeFile]) -> str:
    url = group[0].url
    if cover == url:
        return url
    if any(file.url != url for file in group):
        return f"{cover}*"
    return f"{url}*" if may_purge_variants(url) else url
