"""Whose turn it is: threads that work for all accounts take them one after another, if something of theirs is due."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from worker.accounts import Accounts
from worker.runtime.process import Member


class AccountTurns:
    """Gives threads an account at a time. With several accounts, each has at most `most` of the threads."""

    def __init__(self, accounts: Accounts[Member], most: int, *due_sets: str, or_key: str | None = None) -> None:
        """Look for accounts with a due time (ms) in one of the sorted sets that has come, or with a key `or_key`."""
        self._accounts = accounts
        self._due = {"sets": due_sets, "key": or_key}
        self._most = most
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._last_turns: dict[str, int] = {}
        self._turn = 0

    @contextmanager
    def next(self) -> Iterator[Member | None]:
        """Take the account whose last turn is the longest ago; None if nothing is due."""
        served = self._accounts.served()
        if len(served) == 1:
            yield next(iter(served.values()))
            return
        name = self._take(self._accounts_due(list(served.values())))
        if name is None:
            yield None
            return
        try:
            yield served[name]
        finally:
            with self._lock:
                self._held[name] -= 1

    def _accounts_due(self, accounts: list[Member]) -> list[str]:
        prefixes = [each.keys.prefix for each in accounts]
        home = self._accounts.home.queue.scripts
        found = home.run("runtime/due", self._due, keys=prefixes) if accounts else []
        return [accounts[at - 1].settings.account for at in found]

    def _take(self, due: list[str]) -> str | None:
        with self._lock:
            free = [name for name in due if self._held[name] < self._most]
            if not free:
                return None
            name = min(free, key=lambda each: self._last_turns.get(each, 0))
            self._held[name] += 1
            self._turn += 1
            self._last_turns[name] = self._turn
            return name
