"""The Celery application: `celery -A worker.app worker` and `celery -A worker.app beat`."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from config.celery_settings import celery_settings
from config.settings import ConfigError
from worker import account as engine
from worker.runtime import revoking, stopping
from worker.runtime.dispatcher import Dispatcher
from worker.runtime.kombu_redis import mend_transports
from worker.runtime.logs import configure_logging


def _create() -> Celery:
    try:
        settings = engine.settings()
    except ConfigError as error:
        sys.exit(f"kitsweep: {error}")
    celery = Celery("kitsweep")
    celery.config_from_object(celery_settings(settings))
    celery.steps["worker"].add(Dispatcher)
    return celery


mend_transports()
app = _create()
revoking.cancel_on_revoke()
stopping.watch()


@setup_logging.connect
def _configure_logging(loglevel: Any = None, logfile: str | None = None, **_: Any) -> None:
    """Let our own logging take the place of Celery's."""
    configure_logging(engine.settings(), loglevel if isinstance(loglevel, int) else None, logfile)
