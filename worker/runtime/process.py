"""The Celery application of one account: where settings, account and Celery meet."""

from __future__ import annotations

from celery import Celery
from redis import Redis

from config.settings import Settings
from worker.account import Account
from worker.runtime import stopping
from worker.runtime.celery_settings import celery_settings
from worker.runtime.kombu_redis import patch_transports
from worker.runtime.publisher import Publisher
from worker.store.connection import connect
from worker.store.keys import Keys


class App(Celery):
    """A Celery application with the account it works for."""

    account: Account
    publisher: Publisher


def create_app(settings: Settings, redis: Redis | None = None) -> App:
    """Build the application, on the given Redis client or its own. It connects when it is first used."""
    patch_transports()
    app = App("kitsweep", set_as_current=False)
    app.config_from_object(celery_settings(settings))
    redis = redis or connect(settings)
    app.publisher = Publisher(app, redis, Keys(settings.account), settings.result_ttl_seconds)
    app.account = Account(
        settings,
        redis,
        publish=app.publisher.publish,
        calls_end=stopping.calls_end_at(settings.stop_seconds),
    )
    return app
