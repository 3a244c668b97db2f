"""The tokens of HTTP callers, for the command line and the web server.

Every method raises `worker.errors.RedisUnreachable` when Redis does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from config.settings import Settings, load_settings
from tasks.accounts import settings_of
from worker.account import Account
from worker.identity import whoami
from worker.store.connection import explained
from worker.tokens.store import Scope, Token

__all__ = ["Scope", "Token", "TokenAdmin"]


class TokenAdmin:
    """Creates, looks up, lists and revokes tokens, of all accounts. `by` is who does it, for the audit trail."""

    def __init__(self, account: Account) -> None:
        self._settings = account.settings
        self._tokens = account.tokens

    @classmethod
    def of(cls, settings: Settings | None = None) -> TokenAdmin:
        """Return that of an installation, by its settings."""
        return cls(Account(settings or load_settings()))

    def create(
        self,
        name: str,
        scopes: Iterable[Scope],
        source: str | None = None,
        by: str | None = None,
        account: str | None = None,
    ) -> str:
        """Create a token and return it; it cannot be read again. With an account, it is for that one alone.

        Raises `NotPossible`, which says why, and `InvalidRequest` for an unknown account.
        """
        if account is not None:
            settings_of(self._settings, account)
        with explained(self._settings):
            return self._tokens.create(name, scopes, source, by or whoami(), account)

    def find(self, token: str) -> Token | None:
        """Return what is known of a token; None if it does not exist."""
        with explained(self._settings):
            return self._tokens.find(token)

    def open_session(self, token: str, seconds: int) -> str:
        """Start a session of a token, and return its secret: the dashboard's cookie."""
        with explained(self._settings):
            return self._tokens.open_session(token, seconds)

    def of_session(self, secret: str) -> Token | None:
        """Return the token of a session; None if the session has ended, or its token was revoked."""
        with explained(self._settings):
            return self._tokens.of_session(secret)

    def end_session(self, secret: str) -> None:
        """End a session. Does nothing if there is none."""
        with explained(self._settings):
            self._tokens.end_session(secret)

    def all(self) -> list[Token]:
        """Return all tokens, the oldest first."""
        with explained(self._settings):
            return self._tokens.all()

    def revoke(self, name: str, by: str | None = None) -> bool:
        """Delete a token; return whether there was one. Web servers accept it for up to five seconds more."""
        with explained(self._settings):
            return self._tokens.revoke(name, by or whoami())

    def count_refusals(self, count: int) -> None:
        """Count HTTP requests that came with wrong credentials."""
        with explained(self._settings):
            self._tokens.count_refusals(count)

    def refusals(self) -> int:
        """Return how many HTTP requests came with wrong credentials, ever."""
        with explained(self._settings):
            return self._tokens.refusals()
