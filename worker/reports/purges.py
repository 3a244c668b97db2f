"""Reads what became of the purge of single files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from redis import Redis

from worker.store.keys import Keys
from worker.times import iso


class FilePurge(NamedTuple):
    """The purge of one file of a request that asks for purge."""

    state: str
    """purge_pending (also while the file is not gone yet), purged, purge_failed or purge_skipped."""
    url: str
    """Empty if it is not known."""
    at: str | None = None
    """When it ended, ISO 8601 in UTC; None until then."""
    error: str = ""


def read_purges(redis: Redis, keys: Keys, files: Sequence[tuple[str, str]]) -> list[FilePurge | None]:
    """Return the purges of files, given as (request id, file id), in one round trip.

    None if the request did not ask for purge, or if the URL is not looked up yet.
    """
    with redis.pipeline(transaction=False) as pipe:
        for request_id, file_id in files:
            pipe.hget(keys.request(request_id, "purge"), file_id)
        return [None if text is None else _read(text) for text in pipe.execute()]


def _read(text: str) -> FilePurge:
    if not text.startswith("["):
        return FilePurge("purge_pending", text)
    state, at_ms, url, error = json.loads(text)
    return FilePurge(state, url, iso(at_ms), error)
