"""A simulator that runs in a thread of this process."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from simulator.api.account import SimulatedAccount
from simulator.control.interface import ControlInterface, RateWindowForm, read_rate_windows
from simulator.faults import Fault
from simulator.json_value import Json
from simulator.ledger import Call
from simulator.serving.server import Server

_WAIT_SECONDS = 30.0


class Simulator(ControlInterface):
    """A local ImageKit. It runs inside a `with` block, or from `start` to `stop`.

    `files`: how many to generate, or their ids. `limits`: rate windows for deletion (`["5/1s"]`, `[(5, 1000)]`), or a
    mapping from endpoint class to windows. `private_key`: None accepts any key. `port`: 0 takes a free one. `seed`
    makes ids and random faults reproducible. The ledger keeps the last `keep_calls` calls, with their ids if
    `keep_ids`.
    """

    def __init__(  # noqa: PLR0913 (each is a setting of its own)
        self,
        files: int | Iterable[str] = 0,
        *,
        limits: Sequence[RateWindowForm] | Mapping[str, Sequence[RateWindowForm]] = (),
        latency_ms: float = 0.0,
        jitter_ms: float = 0.0,
        private_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        faults: Iterable[Fault] = (),
        headers: str = "429",
        keep_calls: int = 10_000,
        keep_ids: bool = True,
        purge_ms: float = 500.0,
        purge_quota: int | None = None,
    ) -> None:
        self._account = account = SimulatedAccount(
            seed=seed, private_key=private_key, keep_calls=keep_calls, keep_ids=keep_ids
        )
        account.library.add_generated(files)
        for endpoint, windows in read_rate_windows(limits).items():
            account.limits[endpoint].windows = tuple(windows)
        for fault in faults:
            account.faults.add(fault)
        account.behaviour.latency_ms, account.behaviour.jitter_ms = latency_ms, jitter_ms
        account.behaviour.headers = headers
        account.behaviour.purge_ms, account.behaviour.purge_quota = purge_ms, purge_quota
        self._server = Server(account, host, port)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL to give to clients."""
        return self._server.url

    @property
    def control_url(self) -> str:
        """The URL of the control port, for `Control`."""
        return self._server.control_url

    def on_call(self, observer: Callable[[Call], None] | None) -> None:
        """Run `observer` for each call, after its effect and before its response. None removes it.

        It runs on the server's thread and may control the simulator.
        """
        self._account.on_call = observer

    def start(self) -> Self:
        """Open the port and serve in a thread. Raises OSError if the port is taken."""
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="imagekit-simulator", daemon=True)
        self._thread.start()
        try:
            _wait_for(self._server.start(), loop)
        except BaseException:
            self._end_thread()
            raise
        return self

    def stop(self) -> None:
        """Close the port and all connections. A second call does nothing."""
        if self._loop is not None:
            _wait_for(self._server.stop(), self._loop)
            self._end_thread()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve on the running event loop until cancelled; `ready` is called when the port is open."""
        await self._server.start()
        try:
            ready()
            await asyncio.Event().wait()
        finally:
            await self._server.stop()

    def _do(self, operation: str, **arguments: Json) -> Json:
        doing = self._server.operations.do(operation, arguments)
        if self._loop is None or threading.current_thread() is self._thread:
            return _run_at_once(doing)
        return _wait_for(doing, self._loop)

    def _end_thread(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def _run_at_once(work: Coroutine[Any, Any, Json]) -> Json:
    """Run a coroutine that never waits, outside any event loop or inside the server's own."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise RuntimeError("this operation waits, so it cannot run on the server's own thread or before the start")


def _wait_for(work: Coroutine[Any, Any, Json], loop: asyncio.AbstractEventLoop) -> Json:
    return asyncio.run_coroutine_threadsafe(work, loop).result(_WAIT_SECONDS)
