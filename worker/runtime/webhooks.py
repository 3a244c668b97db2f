"""Sends webhooks: a few threads in each worker, if there is a secret to sign with."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import bootsteps
from redis.exceptions import RedisError

from worker.runtime import stopping
from worker.runtime.process import App
from worker.webhooks.sender import Sender

logger = logging.getLogger(__name__)

THREADS = 4
POLL_SECONDS = 1.0
"""How long a thread waits when there is nothing to send, or Redis is unavailable."""


class WebhookStep(bootsteps.StartStopStep):
    """Runs the threads while the worker's pool is up.

    A stopping worker does not wait for a receiver. The lease of the webhook expires, and another worker sends it.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._app: App = parent.app
        self._stop = threading.Event()

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Start the threads."""
        if not self._app.account.settings.webhook_secrets:
            return
        sender = self._app.account.webhook_sender
        for number in range(THREADS):
            name = f"kitsweep-webhooks-{number}"
            threading.Thread(target=self._run, args=(sender,), name=name, daemon=True).start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Send no more."""
        self._stop.set()

    terminate = stop

    def _run(self, sender: Sender) -> None:
        while not self._stop.is_set() and not stopping.has_begun():
            try:
                sent = sender.send_next()
            except (RedisError, OSError) as error:
                logger.warning("webhooks: Redis is unavailable, retrying in %g s: %s", POLL_SECONDS, error)
                sent = False
            except Exception:
                logger.exception("webhooks: unexpected error, continuing")
                sent = False
            if not sent:
                self._stop.wait(POLL_SECONDS)
