"""Renews the leases of this process's claims."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from worker.queue.operations import Queue

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews all claims of an account in one thread, which ends when there are none."""

    def __init__(self, queue: Queue, lease_seconds: float) -> None:
        self._queue = queue
        self._every = max(0.2, lease_seconds / 4)
        self._tokens: set[str] = set()
        self._lock = threading.Lock()
        self._is_started = False

    @contextmanager
    def renewed(self, token: str) -> Iterator[None]:
        """Renew the lease of `token` until the block ends."""
        with self._lock:
            self._tokens.add(token)
            if not self._is_started:
                self._is_started = True
                threading.Thread(target=self._renew_all, name="kitsweep-leases", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._tokens.discard(token)

    def _renew_all(self) -> None:
        pulse = threading.Event()
        while not pulse.wait(self._every):
            with self._lock:
                tokens = list(self._tokens)
                self._is_started = bool(tokens)
            if not tokens:
                return
            try:
                self._queue.renew(tokens)
            except RedisError as error:
                logger.warning(
                    "could not renew %d leases, retrying: %s", len(tokens), error, extra={"leases": len(tokens)}
                )
