"""The accounts that this installation serves, for the command line and the web server."""

from __future__ import annotations

from config.settings import Settings, load_settings
from worker.accounts import Accounts, settings_of

__all__ = ["Accounts", "account_names", "settings_of"]


def account_names(settings: Settings | None = None) -> list[str]:
    """Return the names of all accounts. Raises `config.accounts.AccountsError`."""
    return list(Accounts(settings or load_settings(), lambda each: each).served())
