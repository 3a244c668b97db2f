"""Sends webhooks: a few threads in each worker, if there is a secret to sign with."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from celery import bootsteps

from worker.account import Account
from worker.runtime.threads import start_thread
from worker.webhooks.sender import Sender

THREADS = 4
POLL_SECONDS = 1.0
"""How long a thread waits when there is nothing to send."""


class WebhookStep(bootsteps.StartStopStep):
    """Runs the threads while the worker's pool is up.

    A stopping worker does not wait for a receiver. The lease of the webhook expires, and another worker sends it.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()

    def start(self, parent: Any) -> None:
        """Start the threads."""
        account: Account = parent.app.account
        if account.settings.webhook_secrets:
            for number in range(THREADS):
                start_thread(f"webhooks-{number}", partial(_send_one, account.webhook_sender), self._stop)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Send no more."""
        self._stop.set()

    terminate = stop


def _send_one(sender: Sender) -> float:
    return 0.0 if sender.send_next() else POLL_SECONDS
