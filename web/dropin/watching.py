"""Waits for the end of requests, for all callers together: one subscription, and one reader of reports."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Iterable

from tasks.submissions import RequestName, Submissions
from web.dropin.gathering import Gatherer
from worker.errors import QueueUnavailable
from worker.reports.report import Report
from worker.states import State

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often all awaited requests are read, in case a message was lost."""
RECONNECT_SECONDS = 1.0
CLOSE_SECONDS = 2.0
REPORTS_AT_ONCE = 200
REMEMBERED = 20_000
"""Recently ended requests: one may end after it is enqueued and before its caller starts to wait."""


class Watcher:
    """Wakes callers when their requests end."""

    def __init__(self, submissions: Submissions, address: str) -> None:
        self._submissions = submissions
        self._reader: Gatherer[RequestName, Report | None] = Gatherer(
            submissions.reports, REPORTS_AT_ONCE, "reports", address
        )
        self._waiting: dict[RequestName, set[asyncio.Future[None]]] = {}
        self._ended = _Recent(REMEMBERED)
        self._stopped = threading.Event()
        self._stopping = False
        self._listener: threading.Thread | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to listen, on the running event loop."""
        loop = asyncio.get_running_loop()
        self._listener = threading.Thread(target=self._listen, args=(loop,), name="finished", daemon=True)
        self._listener.start()
        self._looking = asyncio.create_task(self._look_now_and_then())

    def answer_all(self) -> None:
        """Wake all waiting callers, and later ones at once, because the server stops."""
        self._stopping = True
        self._wake(list(self._waiting))

    def close(self) -> None:
        """Stop listening."""
        self._stopped.set()
        if self._looking is not None:
            self._looking.cancel()
        if self._listener is not None:
            self._listener.join(CLOSE_SECONDS)
        self._reader.close()

    async def report(self, name: RequestName) -> Report | None:
        """Return the current report of a request; None if it is unknown."""
        return await self._reader.ask(name)

    async def wait(self, name: RequestName, seconds: float) -> Report | None:
        """Return the report of a request once it is final, after `seconds`, or when the server stops."""
        if name in self._ended or self._stopping:
            report = await self.report(name)
            if self._stopping or is_final(report):
                return report
        await self._until_woken(name, seconds)
        return await self.report(name)

    async def _until_woken(self, name: RequestName, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(name, set())
        waiting.add(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            pass
        finally:
            waiting.discard(future)
            if not waiting:
                self._waiting.pop(name, None)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopped.is_set():
            try:
                for ended in self._submissions.finished():
                    if self._stopped.is_set():
                        return
                    if ended:
                        loop.call_soon_threadsafe(self._note, ended)
            except QueueUnavailable as error:
                logger.warning("cannot listen for the end of requests, retrying: %s", error)
            except Exception:
                logger.exception("listening for the end of requests: unexpected error, retrying")
            self._stopped.wait(RECONNECT_SECONDS)

    def _note(self, ended: list[RequestName]) -> None:
        self._ended.add(ended)
        self._wake(ended)

    def _wake(self, names: Iterable[RequestName]) -> None:
        for name in names:
            for future in self._waiting.get(name, ()):
                if not future.done():
                    future.set_result(None)

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.gather(*map(self._look_at, list(self._waiting)))
            except QueueUnavailable as error:
                logger.warning("cannot read awaited requests, retrying: %s", error)

    async def _look_at(self, name: RequestName) -> None:
        if is_final(await self.report(name)):
            self._wake([name])


def is_final(report: Report | None) -> bool:
    """Whether a request is final or unknown."""
    return report is None or State(report["state"]).is_final


class _Recent:
    """The last ids that were added."""

    def __init__(self, most: int) -> None:
        self._order: deque[RequestName] = deque()
        self._known: set[RequestName] = set()
        self._most = most

    def add(self, ids: Iterable[RequestName]) -> None:
        for each in ids:
            if each not in self._known:
                self._known.add(each)
                self._order.append(each)
        while len(self._order) > self._most:
            self._known.discard(self._order.popleft())

    def __contains__(self, each: RequestName) -> bool:
        return each in self._known
