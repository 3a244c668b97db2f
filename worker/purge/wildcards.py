"""Which wildcards the API allows in a purge (ImageKit documentation, "Cache purging").

A single `*` may end a URL whose path, below the URL endpoint of the account, has two levels (`/a/b*`) or 15 characters,
or is the whole path of a file (`/a.jpg*`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

LEVELS = 2
LENGTH = 15
NEVER = frozenset({"/media/catalog/", "/s/files/"})
"""Folders that the API never purges as a whole."""
_VENDOR_ENDPOINT = re.compile(r"https?://ik\.imagekit\.io/[^/]+", re.IGNORECASE)
_HOST = re.compile(r"https?://[^/]+", re.IGNORECASE)
_FILE = re.compile(r"[^/]+\.[A-Za-z0-9]{1,8}")


def path_in(url: str, endpoints: Collection[str] = ()) -> str:
    """Return the part of a URL after its endpoint: the longest known one, else the account's on the vendor's host."""
    known = max((each for each in endpoints if url.startswith(f"{each}/")), key=len, default="")
    guessed = known or next(found[0] for form in (_VENDOR_ENDPOINT, _HOST) if (found := form.match(url)))
    return url.removeprefix(guessed)


def may_purge_below(folder: str, endpoints: Collection[str] = ()) -> bool:
    """Return whether a wildcard may follow the URL of a folder, which ends with a slash."""
    path = path_in(folder, endpoints)
    levels = [part for part in path.split("/") if part]
    return path not in NEVER and bool(levels) and (len(levels) >= LEVELS or len(path) >= LENGTH)


def may_purge_variants(url: str) -> bool:
    """Return whether a wildcard may follow the URL of a file, so that its copies with a query are purged too."""
    return _FILE.fullmatch(url.rpartition("/")[2]) is not None


def folder_of(url: str) -> str:
    """Return the URL of a file's folder, with a slash at its end."""
    return url.rpartition("/")[0] + "/"


def folders_above(url: str) -> Iterator[str]:
    """Yield the URLs of all folders that a file is in, the outermost first."""
    at = url.index("/", url.index("://") + 3)
    while at >= 0:
        yield url[: at + 1]
        at = url.find("/", at + 1)
