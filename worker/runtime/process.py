"""The Celery application: where settings, accounts and Celery meet."""

from __future__ import annotations

from celery import Celery
from redis import Redis

from config.settings import Settings
from worker.account import Account
from worker.accounts import Accounts
from worker.runtime import stopping
from worker.runtime.celery_settings import celery_settings
from worker.runtime.kombu_redis import patch_transports
from worker.runtime.publisher import Publisher
from worker.store.connection import connect
from worker.store.keys import Keys


class Member(Account):
    """An account in a process that publishes results."""

    publisher: Publisher


class App(Celery):
    """A Celery application with the accounts that it works for."""

    accounts: Accounts[Member]

    @property
    def account(self) -> Member:
        """The account of the environment."""
        return self.accounts.home

    @property
    def publisher(self) -> Publisher:
        """The publisher of the account of the environment."""
        return self.account.publisher


def create_app(settings: Settings, redis: Redis | None = None) -> App:
    """Build the application, on the given Redis client or its own. It connects when it is first used.

    Raises `config.accounts.AccountsError`.
    """
    patch_transports()
    app = App("kitsweep", set_as_current=False)
    app.config_from_object(celery_settings(settings))
    redis = redis or connect(settings)
    app.accounts = Accounts(settings, lambda each: _member(app, each, redis))
    return app


def _member(app: App, settings: Settings, redis: Redis) -> Member:
    publisher = Publisher(app, redis, Keys(settings.account), settings.result_ttl_seconds)
    calls_end = stopping.calls_end_at(settings.stop_seconds)
    member = Member(settings, redis, publish=publisher.publish, calls_end=calls_end)
    member.publisher = publisher
    return member
