"""Sends webhooks: a few threads in each worker, if there is a secret to sign with."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from celery import bootsteps, signals

from worker.accounts import Accounts
from worker.runtime import stopping
from worker.runtime.process import Member
from worker.runtime.threads import start_thread
from worker.runtime.turns import AccountTurns

THREADS = 4
POLL_SECONDS = 1.0
"""How long a thread waits when there is nothing to send."""


class WebhookStep(bootsteps.StartStopStep):
    """Runs the threads while the worker's pool is up.

    A stopping worker waits for its receivers only as long as for calls to ImageKit. Then the lease of the webhook
    expires, and another worker sends it again.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accounts: Accounts[Member] = parent.app.accounts

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Start the threads."""
        if self._accounts.home.settings.webhook_secrets:
            send = partial(_send_one, AccountTurns(self._accounts, THREADS // 2, "webhooks:waiting"))
            self._threads += [start_thread(f"webhooks-{number}", send, self._stop) for number in range(THREADS)]
            signals.worker_shutdown.connect(self._finish)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Send no more."""
        self._stop.set()

    terminate = stop

    def _finish(self, **_: Any) -> None:
        stop_seconds = self._accounts.home.settings.stop_seconds
        give_up = min(stopping.calls_end_at(stop_seconds)(), time.monotonic() + stop_seconds)
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))


def _send_one(turns: AccountTurns) -> float:
    with turns.next() as account:
        return 0.0 if account and account.webhook_sender.send_next() else POLL_SECONDS
