"""What the whole web server shares: settings, client, admin, and the thread pool for blocking code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from fastapi import Request

from config.settings import Settings
from tasks.admin import Admin
from tasks.client import Client
from tasks.failures import Failures
from tasks.purges import PurgeAdmin
from tasks.search import Search
from web.credentials import Credentials
from web.long_calls import LongCalls, ServerBusy
from worker.errors import RedisUnreachable

__all__ = ["Context", "ServerBusy", "context_of"]

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8
MAX_PENDING = 200
"""How many calls may wait for a thread; more are refused at once."""
ANSWER_SECONDS = 12.0
"""How long a call may take: longer than the Redis client retries, shorter than callers wait."""


class Context:
    """The shared parts of one server. Close it at the end."""

    def __init__(self, settings: Settings, client: Client | None = None, admin: Admin | None = None) -> None:
        self.settings = settings
        self.client = client or Client(settings)
        self.admin = admin or Admin(settings)
        self.search = Search(settings)
        self.purges = PurgeAdmin(settings)
        self.failures = Failures(settings, self.client)
        self.credentials = Credentials(settings.private_key, self.admin.tokens, self.run)
        self.long_calls = LongCalls()
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
            doing = asyncio.get_running_loop().run_in_executor(self._pool, partial(act, *args, **kwargs))
            return await asyncio.wait_for(doing, ANSWER_SECONDS)
        except TimeoutError:
            raise RedisUnreachable(self.settings.redis_address, f"no answer in {ANSWER_SECONDS:g} s") from None
        finally:
            self._pending -= 1

    def link_to(self, path: str) -> str:
        """Return a URL of this server, with the host if `KITSWEEP_WEB_PUBLIC_URL` is set."""
        return f"{self.settings.web_public_url or ''}{path}"

    def close(self) -> None:
        """Let go of the threads."""
        self.long_calls.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def context_of(request: Request) -> Context:
    """Return the context of the server that a request reached."""
    context: Context = request.app.state.context
    return context
