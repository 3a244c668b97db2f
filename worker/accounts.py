"""The accounts that an installation serves: those of the accounts file, and that of the environment, if it has a key.

The file is read again when it changes. A file with a problem changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from config.accounts import AccountsError, Stamp, read_accounts, stamp_of
from config.settings import Settings
from worker.errors import InvalidRequest
from worker.logs import hide_keys
from worker.text import quote

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Accounts(Generic[T]):
    """What a process has for each account, built by `make` from its settings. Safe to share among threads."""

    def __init__(self, settings: Settings, make: Callable[[Settings], T]) -> None:
        """Read the file. Raises `config.accounts.AccountsError`."""
        self._base = settings
        self._make = make
        self._lock = threading.Lock()
        self._stamp: Stamp = ()
        self._told = ""
        self._settings: dict[str, Settings] = {}
        self._served: dict[str, T] = {}
        self._read()
        own = settings.account
        self.home: T = self._served[own] if own in self._served else make(settings)
        """That of the environment, whose keys hold what all accounts share. It is served only if it has a key."""

    def served(self) -> Mapping[str, T]:
        """Return what there is for each account, by name. It never changes: `refresh` makes another one."""
        return self._served

    def of(self, name: str | None) -> T:
        """Return what there is for an account; without a name, for that of the environment.

        Raises `InvalidRequest`, which names the known accounts.
        """
        wanted = self._base.account if name is None else name
        if wanted not in self._served:
            self.refresh()
        served = self._served
        if wanted in served:
            return served[wanted]
        known = ", ".join(served) or "none"
        problem = "an account must be named" if name is None else f"there is no account {quote(name)}"
        raise InvalidRequest("account", None, f"{problem}; the accounts are: {known}")

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether the accounts have changed."""
        if not self._stamp:
            return False
        with self._lock:
            if stamp_of([name for name, *_ in self._stamp]) == self._stamp:
                return False
            try:
                return self._read()
            except AccountsError as error:
                self._tell(str(error))
                return False

    def _tell(self, problems: str) -> None:
        if problems != self._told:
            logger.error("the accounts file has problems, the accounts stay as they were:\n%s", problems)
        self._told = problems

    def _read(self) -> bool:
        wanted, stamp = _wanted(self._base)
        before, served = self._settings, self._served
        self._served = {
            name: served[name] if before.get(name) == each else self._make(each) for name, each in wanted.items()
        }
        hide_keys([*wanted.values(), *before.values()])
        self._settings, self._stamp, self._told = wanted, stamp, ""
        return wanted != before


def settings_of(base: Settings, name: str | None) -> Settings:
    """Return the settings of one account; without a name, of that of the environment.

    Raises `InvalidRequest`, which names the known accounts, and `config.accounts.AccountsError`.
    """
    if name is None and (base.accounts_file is None or base.is_of_accounts_file):
        return base
    return Accounts(base, lambda settings: settings).of(name)


def _wanted(base: Settings) -> tuple[dict[str, Settings], Stamp]:
    """Return the settings of all accounts, and the stamp of the file."""
    if base.accounts_file is None or base.is_of_accounts_file:
        return {base.account: base}, ()
    file = read_accounts(base)
    for problem in file.exposed:
        logger.warning("%s", problem)
    own = {base.account: base.of_account({})} if base.private_key and base.account not in file.accounts else {}
    return own | file.accounts, file.stamp
