"""What the whole web server shares: settings, clients of each account, and the thread pool for blocking code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cached_property, partial
from typing import ParamSpec, TypeVar

from fastapi import Request

from config.settings import Settings
from tasks.accounts import Accounts
from tasks.admin import Admin
from tasks.client import Client
from tasks.failures import Failures
from tasks.figures import FigureReader
from tasks.purges import PurgeAdmin
from tasks.search import Search
from tasks.tokens import TokenAdmin
from web.credentials import Credentials
from web.figures import LatestFigures
from web.long_calls import LongCalls, ServerBusy
from worker.errors import RedisUnreachable

__all__ = ["AccountContext", "ServerBusy", "context_of", "server_of"]

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8
MAX_PENDING = 200
"""How many calls may wait for a thread; more are refused at once."""
ANSWER_SECONDS = 12.0
"""How long a call may take: longer than the Redis client retries, shorter than callers wait."""
REFRESH_SECONDS = 1.0
"""How often to look whether the accounts file has changed."""


class Blocking:
    """The bounded pool of threads for blocking code."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="web")
        self._pending = 0

    async def run(self, act: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking code in a thread of the pool, within `ANSWER_SECONDS`.

        Raises what it raises, `ServerBusy`, and `RedisUnreachable` after that time.
        """
        if self._pending >= MAX_PENDING:
            raise ServerBusy
        self._pending += 1
        try:
            doing = asyncio.get_running_loop().run_in_executor(
                self._pool, partial(copy_context().run, act, *args, **kwargs)
            )
            return await asyncio.wait_for(doing, ANSWER_SECONDS)
        except TimeoutError:
            raise RedisUnreachable(self._address, f"no answer in {ANSWER_SECONDS:g} s") from None
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class AccountContext:
    """What handlers use of one account. Its clients are built when they are first used."""

    def __init__(self, settings: Settings, blocking: Blocking, long_calls: LongCalls, credentials: Credentials) -> None:
        self.settings = settings
        self.run = blocking.run
        self.long_calls = long_calls
        self.credentials = credentials

    @cached_property
    def client(self) -> Client:
        """Enqueues and follows requests."""
        return Client(self.settings)

    @cached_property
    def admin(self) -> Admin:
        """What operators do."""
        return Admin(self.settings)

    @cached_property
    def search(self) -> Search:
        """Searches requests."""
        return Search(self.settings)

    @cached_property
    def failures(self) -> Failures:
        """Lists and retries failed files."""
        return Failures(self.settings, self.client)

    @cached_property
    def purges(self) -> PurgeAdmin:
        """Lists purges of cached copies."""
        return PurgeAdmin(self.settings)

    def link_to(self, path: str) -> str:
        """Return a URL of this server, with the host if `KITSWEEP_WEB_PUBLIC_URL` is set."""
        return f"{self.settings.web_public_url or ''}{path}"


class Context(AccountContext):
    """What one server shares: the context of each account, and who may call. Close it at the end."""

    def __init__(self, settings: Settings) -> None:
        self._blocking = Blocking(settings.redis_address)
        self.tokens = TokenAdmin.of(settings)
        credentials = Credentials(self._private_keys, self.tokens, self._blocking.run, settings.account)
        shared = self._blocking, LongCalls(), credentials
        super().__init__(settings, *shared)
        self._accounts = Accounts(settings, lambda each: AccountContext(each, *shared))
        self._refreshed_at = time.monotonic()
        self.figures = LatestFigures(FigureReader(settings, self._settings_of_accounts).read)

    @property
    def accounts(self) -> Accounts[AccountContext]:
        """The context of each account."""
        if time.monotonic() - self._refreshed_at > REFRESH_SECONDS:
            self._refreshed_at = time.monotonic()
            self._accounts.refresh()
        return self._accounts

    def ping(self) -> None:
        """Return if Redis answers. Raises `RedisUnreachable`."""
        self.tokens.refusals()

    def close(self) -> None:
        """Let go of the threads."""
        self.long_calls.close()
        self.figures.close()
        self._blocking.close()

    def _settings_of_accounts(self) -> list[Settings]:
        return [each.settings for each in self.accounts.served().values()]

    def _private_keys(self) -> dict[str, bytes]:
        """Return the private key of each account."""
        keys = {name: each.settings.private_key for name, each in self.accounts.served().items()}
        return {name: key.get_secret_value().encode() for name, key in keys.items() if key}


def server_of(request: Request) -> Context:
    """Return the context of the server that a request reached."""
    context: Context = request.app.state.context
    return context


def context_of(request: Request) -> AccountContext:
    """Return the context of the account that a request names or its caller is bound to. Raises `InvalidRequest`."""
    return server_of(request).accounts.of(getattr(request.state, "account", None))
