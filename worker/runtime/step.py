"""The work of a worker besides Celery tasks: dispatcher, batches and cleanup, while its pool is up.

It runs in threads of the worker's main process, with any pool. The pool runs only Celery tasks.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from functools import partial
from typing import Any

from celery import bootsteps, signals
from redis.exceptions import RedisError

from worker.account import Account
from worker.accounts import Accounts
from worker.cleanup.rules.file import RulesError
from worker.cleanup.runs.slice import run_slice
from worker.runtime import stopping
from worker.runtime.batches import BatchThreads
from worker.runtime.dispatcher import Dispatcher
from worker.runtime.process import App, Member
from worker.runtime.threads import start_thread
from worker.runtime.turns import AccountTurns
from worker.store.durability import eviction_policy, eviction_problem

logger = logging.getLogger(__name__)

MOST_THREADS = 32
"""For each account: the concurrency of a gevent pool may be hundreds."""
CLEANUP_SECONDS = 1.0
"""How often a worker looks for cleanup runs that are due."""
CLEANUP_THREADS = 2
"""Two, so that a hanging list call does not delay every other run; of several accounts, each has one at most."""
PURGE_SECONDS = 1.0
"""How often a worker looks for purges and lookups that are due."""
PURGE_THREADS = 2
"""Two, so that a hanging call does not delay every other purge and lookup."""


class WorkStep(bootsteps.StartStopStep):
    """Runs the threads while the pool is up."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._batches = BatchThreads(min(int(parent.concurrency or 1), MOST_THREADS))

    def start(self, parent: Any) -> None:
        """Start the threads, unless the server may evict our keys."""
        app: App = parent.app
        stopping.enforce()
        _refuse_unsafe_server(app.account)
        for account in app.accounts.served().values():
            for line in _problems_of_rules(account):
                logger.error("cleanup does not run in this worker until the rules are fixed: %s", line)
            with suppress(RedisError):
                account.limiter.probe_soon()
        dispatcher = Dispatcher(parent.app, parent.hostname, self._batches)
        self._threads.append(start_thread("dispatcher", dispatcher.tick, self._stop))
        turns = AccountTurns(app.accounts, CLEANUP_THREADS // 2, "cleanup:runs")
        for number in range(CLEANUP_THREADS):
            self._threads.append(start_thread(f"cleanup-{number}", partial(_continue_a_run, turns), self._stop))
        turns = AccountTurns(app.accounts, PURGE_THREADS // 2, "lookups", "purges:open", or_key="purges:waiting")
        for number in range(PURGE_THREADS):
            self._threads.append(start_thread(f"purge-{number}", partial(_purge, app.accounts, turns), self._stop))
        # The pool stops at the same time, which takes a prefork pool seconds.
        signals.worker_shutdown.connect(self._finish)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Start no more work."""
        self._stop.set()

    terminate = stop

    def _finish(self, **_: Any) -> None:
        """Wait for running work. Calls end by the deadline of the stop."""
        for thread in self._threads:
            thread.join()
        self._batches.join()


def _refuse_unsafe_server(account: Account) -> None:
    """Exit with a message if the server may evict our keys. A server that is down is handled by Celery's retries."""
    try:
        problem = eviction_problem(eviction_policy(account.redis))
    except RedisError:
        return
    if problem:
        logger.critical("refusing to start on Redis at %s: %s", account.settings.redis_address, problem)
        raise SystemExit(1)


def _problems_of_rules(account: Account) -> list[str]:
    try:
        account.rules.rules()
    except RulesError as error:
        return str(error).splitlines()
    return []


def _purge(accounts: Accounts[Member], turns: AccountTurns) -> float:
    """Do one step of purging; return how many seconds to pause."""
    with turns.next() as account:
        if account is None:
            return PURGE_SECONDS
        # What waits for the quota is due, and nothing can be done for it: another account may have its turn soon.
        return 0.0 if account.purger.step() else PURGE_SECONDS / len(accounts.served())


def _continue_a_run(turns: AccountTurns) -> float:
    """Run one slice of a due cleanup run; return how many seconds to pause."""
    with turns.next() as account:
        run_id = account.runs.next_due() if account else None
        if account is None or run_id is None:
            return CLEANUP_SECONDS
        return min(CLEANUP_SECONDS, (run_slice(account.cleaner, run_id) or 0) / 1000)
