"""A digest of what a request asks for, by which a second one with the same id is known to be the same."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from worker.queue.validation import Asked

_BYTES = 15


class Digest:
    """Of a request without its id, and of its file ids as they pass, in their order."""

    def __init__(self, asked: Asked) -> None:
        said = {name: value for name, value in asked.items() if value and name != "request_id"}
        self._hash = blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=_BYTES)

    def over(self, file_ids: Iterable[str]) -> Iterator[str]:
        """Yield the file ids, and take them in."""
        for file_id in file_ids:
            self._hash.update(b"\n" + file_id.encode())
            yield file_id

    def text(self) -> str:
        """Return the digest of what has passed so far: 20 characters."""
        return b64encode(self._hash.digest()).decode()
