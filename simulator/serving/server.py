"""The HTTP server: one port for the API, one for control, on one event loop.

The control operations are served under `/_simulator/` on both ports. The control port stays open when an outage
closes the API's.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qsl, unquote

from uvicorn import Config
from uvicorn.server import ServerState

from simulator.api.account import PendingCall, SimulatedAccount
from simulator.api.routes import add_rate_headers, admit, perform, record, route
from simulator.control.operations import Operations
from simulator.json_value import Json
from simulator.serving.listener import Listener
from simulator.serving.wire import Connection, Exchange, close_all

CONTROL_PREFIX = "/_simulator"
KEEP_ALIVE_SECONDS = 75


class Server:
    """Serves one account. All methods belong to the event loop that `start` ran on."""

    def __init__(self, account: SimulatedAccount, host: str, port: int) -> None:
        self.account = account
        self.operations = Operations(account, self.switch_outage)
        self.api = Listener(host, port)
        self.control = Listener(host, 0)
        self._config = Config(
            self._serve,
            http=Connection,
            ws="none",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._running: ServerState | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = 0
        self._request_id_start = f"{uuid.uuid4()}"[:24]

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return self._url_of(self.api)

    @property
    def control_url(self) -> str:
        """The base URL of the control port, which no outage closes."""
        return self._url_of(self.control)

    async def start(self) -> None:
        """Open both ports. Raises OSError if the API's port is taken."""
        self._running = ServerState()
        await self.api.open(self._connection)
        await self.control.open(self._connection)

    async def stop(self) -> None:
        """Close the ports and reset all connections."""
        if self._timer is not None:
            self._timer.cancel()
        self.api.close()
        self.control.close()
        if self._running is not None:
            await close_all(self._running)

    async def switch_outage(self, mode: str | None, seconds: float | None) -> None:
        """Start an outage, or end it (None); with `seconds` it ends by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        was, self.account.outage = self.account.outage, mode
        if mode == "refuse" and was != "refuse":
            self.api.refuse()
        elif mode != "refuse" and was == "refuse" and self._running is not None:
            await self.api.open(self._connection)
        if mode and seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._end_outage)

    def _end_outage(self) -> None:
        task = asyncio.ensure_future(self.switch_outage(None, None))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _connection(self) -> Connection:
        return Connection(self._config, self._running or ServerState(), {})

    async def _serve(self, scope: Json, receive: Json, send: Json) -> None:
        exchange = Exchange(scope, receive, send)
        with suppress(asyncio.CancelledError):
            body = await exchange.read_body()
            if body is None:
                return
            if exchange.path.startswith(CONTROL_PREFIX):
                status, content = await self._control(exchange.path, body)
                await exchange.respond(status, json.dumps(content).encode(), {"Content-Type": "application/json"})
                return
            with self._in_flight():
                await self._answer(exchange, body)

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        account = self.account
        account.in_flight += 1
        account.max_in_flight = max(account.in_flight, account.max_in_flight)
        try:
            yield
        finally:
            account.in_flight -= 1

    async def _answer(self, exchange: Exchange, body: bytes) -> None:
        account = self.account
        call = self._pending_call(exchange, body)
        response = admit(account, call, exchange.authorization)
        await self._wait_for_latency(call)
        if response is None:
            response = perform(account, call)
        record(account, call, response)
        await exchange.deliver(add_rate_headers(account, call, response), call.fault, call.request_id)

    def _pending_call(self, exchange: Exchange, body: bytes) -> PendingCall:
        self._calls += 1
        endpoint, limit, argument = route(exchange.method, exchange.path)
        return PendingCall(
            arrived=time.time(),
            endpoint=endpoint,
            limit=limit,
            argument=unquote(argument),
            parameters=dict(parse_qsl(exchange.query, keep_blank_values=True)),
            body=body,
            request_id=f"{self._request_id_start}{self._calls:012x}",
        )

    async def _wait_for_latency(self, call: PendingCall) -> None:
        behaviour, fault = self.account.behaviour, call.fault
        wait_ms = behaviour.latency_ms
        if behaviour.jitter_ms:
            wait_ms += self.account.rng.uniform(-behaviour.jitter_ms, behaviour.jitter_ms)
        if fault is not None and fault.kind == "slow_before":
            wait_ms += fault.delay_ms
        if wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000)

    async def _control(self, path: str, body: bytes) -> tuple[int, Json]:
        """GET or POST /_simulator/OPERATION, with the arguments as a JSON object in the body.

        Without an operation it returns both base URLs.
        """
        name = path.removeprefix(CONTROL_PREFIX).strip("/")
        if not name:
            return (200, {"url": self.url, "control_url": self.control_url})
        try:
            arguments = json.loads(body) if body else {}
            return (200, {"result": await self.operations.do(name, arguments)})
        except LookupError as error:
            return (404, {"error": str(error)})
        except (ValueError, TypeError) as error:
            return (400, {"error": str(error)})

    @staticmethod
    def _url_of(listener: Listener) -> str:
        host = f"[{listener.host}]" if ":" in listener.host else listener.host
        return f"http://{host}:{listener.port}"
