"""The Celery application: `celery -A worker.app worker` and `celery -A worker.app beat`."""

from __future__ import annotations

import sys
from typing import Any

from celery.signals import setup_logging

from config.settings import ConfigError, load_settings
from worker.logs import configure_logging
from worker.runtime import revoking, stopping
from worker.runtime.intake import IntakeStep
from worker.runtime.process import App, create_app
from worker.runtime.step import WorkStep
from worker.runtime.webhooks import WebhookStep


def _create() -> App:
    try:
        settings = load_settings()
    except ConfigError as error:
        sys.exit(f"kitsweep: {error}")
    celery = create_app(settings)
    celery.set_current()
    celery.steps["worker"].update((WorkStep, IntakeStep, WebhookStep))
    return celery


app = _create()
revoking.cancel_on_revoke()
stopping.watch()


@setup_logging.connect
def _configure_logging(loglevel: Any = None, logfile: str | None = None, **_: Any) -> None:
    """Replace Celery's logging by ours."""
    configure_logging(app.account.settings, loglevel if isinstance(loglevel, int) else None, logfile)
