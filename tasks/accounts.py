"""The accounts that this installation serves, for the command line and the web server."""

from __future__ import annotations

from config.settings import Settings, load_settings
from tasks.chosen import chosen_account
from worker import accounts
from worker.accounts import Accounts

__all__ = ["Accounts", "account_names", "settings_of"]


def settings_of(settings: Settings | None = None, account: str | None = None) -> Settings:
    """Return the settings of an account.

    Raises `InvalidRequest`, which names the known accounts, and `config.accounts.AccountsError`.
    """
    return accounts.settings_of(settings or load_settings(), account or chosen_account.get())


def account_names(settings: Settings | None = None) -> list[str]:
    """Return the names of all accounts. Raises `config.accounts.AccountsError`."""
    return list(Accounts(settings or load_settings(), lambda each: each).served())
