"""Operator functions for webhooks: list them, and send one again."""

from __future__ import annotations

from collections.abc import Iterator

from config.settings import Settings
from tasks.accounts import settings_of
from worker.account import Account
from worker.errors import NotPossible
from worker.identity import whoami
from worker.store.connection import explained
from worker.webhooks.store import Webhook, WebhookState

__all__ = ["Webhook", "WebhookAdmin"]

_WHY_NOT_SENT = {"sending": "is being sent just now", "unknown": "is unknown or expired"}


class WebhookAdmin:
    """The webhooks of one account. Every method raises `worker.errors.RedisUnreachable` when Redis does not answer."""

    def __init__(self, settings: Settings | None = None, account: str | None = None) -> None:
        """Use an account of the accounts file, by default that of the environment. Raises `InvalidRequest`."""
        self._settings = settings_of(settings, account)
        self._webhooks = Account(self._settings).webhooks

    def webhooks(self, *, failed_only: bool = False) -> Iterator[Webhook]:
        """Yield the webhooks that wait, failed, or were delivered, the newest of each first, in constant memory."""
        with explained(self._settings):
            yield from self._webhooks.all_in([WebhookState.FAILED] if failed_only else WebhookState)

    def send(self, webhook_id: str, by: str | None = None) -> None:
        """Send a webhook again, or now instead of later. Raises `NotPossible`.

        `by` is recorded in the audit trail; the default is the user of this process.
        """
        with explained(self._settings):
            answer = self._webhooks.send_again(webhook_id, by or whoami())
        if why := _WHY_NOT_SENT.get(answer):
            raise NotPossible(f"webhook {webhook_id} {why}")
