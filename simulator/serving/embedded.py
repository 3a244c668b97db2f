"""A simulator in a thread of this process."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from simulator.api.state import State
from simulator.control.steering import Steering, WindowForm, read_windows
from simulator.faults import Fault
from simulator.ledger import Call
from simulator.plain import Json
from simulator.serving.server import Server

_WAIT_SECONDS = 30.0


class Simulator(Steering):
    """A local ImageKit, running from `with` (or `start`) to the end of the block (or `stop`).

    `files`: how many to generate, or their ids. `limits`: windows for delete (`["5/1s"]`, `[(5, 1000)]`), or
    a mapping from endpoint class to windows. `private_key`: None accepts any key. `port` 0 takes a free one.
    `seed` makes ids and dice reproducible. The ledger keeps the last `keep_calls` calls, with their ids if
    `keep_ids`.
    """

    def __init__(  # noqa: PLR0913 (each is a setting of its own)
        self,
        files: int | Iterable[str] = 0,
        *,
        limits: Sequence[WindowForm] | Mapping[str, Sequence[WindowForm]] = (),
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
    ) -> None:
        self._state = state = State(seed=seed, private_key=private_key, keep_calls=keep_calls, keep_ids=keep_ids)
        state.library.add_generated(files)
        for endpoint, windows in read_windows(limits).items():
            state.limits[endpoint].windows = tuple(windows)
        for fault in faults:
            state.faults.add(fault)
        state.behaviour.latency_ms, state.behaviour.jitter_ms = latency_ms, jitter_ms
        state.behaviour.headers = headers
        self._server = Server(state, host, port)
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
        """Let `observer` see each call, on the server's thread; it may steer the simulator.

        It comes after the call's effect and before its answer. None ends it.
        """
        self._state.on_call = observer

    def start(self) -> Self:
        """Open the port and serve in a thread. Raises OSError where the port is taken."""
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
        """Close the port and all connections. Stopping twice does no harm."""
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
        """Serve on the running loop until cancelled; `ready` is called once the port is open."""
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
    """Run work that never waits, outside any loop or inside the server's own."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise RuntimeError("this operation cannot be carried out from here")


def _wait_for(work: Coroutine[Any, Any, Json], loop: asyncio.AbstractEventLoop) -> Json:
    return asyncio.run_coroutine_threadsafe(work, loop).result(_WAIT_SECONDS)
