"""The HTTP server: one port for the API, one for control, on one event loop.

Control answers on the API's port too, under `/_simulator/`; its own port is for the times when the API's port
is closed.
"""

import asyncio
import json
import time
import uuid
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from simulator.api.routes import announce, gate, perform, record, route
from simulator.api.state import State, Visit
from simulator.control.operations import Operations
from simulator.plain import Json
from simulator.serving.listener import Listener
from simulator.serving.wire import deliver

CONTROL_PREFIX = "/_simulator"
_MAX_BODY_BYTES = 1 << 30


class Server:
    """Serves one State. All methods belong to the event loop that `start` ran on."""

    def __init__(self, state: State, host: str, port: int) -> None:
        self.state = state
        self.operations = Operations(state, self.switch_outage)
        self.api = Listener(host, port)
        self.control = Listener(host, 0)
        self._web: web.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = 0
        self._request_id_start = f"{uuid.uuid4()}"[:24]

    @property
    def url(self) -> str:
        """The API's base URL."""
        return self._url_of(self.api)

    @property
    def control_url(self) -> str:
        """Where control answers whatever happens to the API's port."""
        return self._url_of(self.control)

    async def start(self) -> None:
        """Open both ports. Raises OSError where the API's port is taken."""
        self._web = web.Server(self._serve, access_log=None, request_factory=_request)
        await self.api.open(self._web)
        await self.control.open(self._web)

    async def stop(self) -> None:
        """Close the ports and all connections; calls in the air are cut off."""
        if self._timer is not None:
            self._timer.cancel()
        self.api.close()
        self.control.close()
        if self._web is not None:
            self._web.pre_shutdown()
            await self._web.shutdown(timeout=0.05)

    async def switch_outage(self, mode: str | None, seconds: float | None) -> None:
        """Start an outage or end it (None); with `seconds` it ends by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        was, self.state.outage = self.state.outage, mode
        if mode == "refuse" and was != "refuse":
            self.api.refuse()
        elif mode != "refuse" and was == "refuse" and self._web is not None:
            await self.api.open(self._web)
        if mode and seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._end_outage)

    def _end_outage(self) -> None:
        task = asyncio.ensure_future(self.switch_outage(None, None))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.read()
        except (ConnectionError, web.RequestPayloadError):
            return web.Response(status=400)
        path, _, query = request.raw_path.partition("?")
        if path.startswith(CONTROL_PREFIX):
            return await self._steer(path, body)
        state = self.state
        state.in_flight += 1
        state.max_in_flight = max(state.in_flight, state.max_in_flight)
        try:
            return await self._answer(request, path, query, body)
        finally:
            state.in_flight -= 1

    async def _answer(self, request: web.BaseRequest, path: str, query: str, body: bytes) -> web.StreamResponse:
        visit = self._visit(request.method, path, query, body)
        state = self.state
        answer = gate(state, visit, request.headers.get("Authorization"))
        await self._take_time(visit)
        if answer is None:
            answer = perform(state, visit)
        record(state, visit, answer)
        return await deliver(request, announce(state, visit, answer), visit.fault, visit.request_id)

    def _visit(self, method: str, path: str, query: str, body: bytes) -> Visit:
        self._calls += 1
        endpoint, limit, argument = route(method, path)
        return Visit(
            arrived=time.time(),
            endpoint=endpoint,
            limit=limit,
            argument=unquote(argument),
            parameters=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
            body=body,
            request_id=f"{self._request_id_start}{self._calls:012x}",
        )

    async def _take_time(self, visit: Visit) -> None:
        behaviour, fault = self.state.behaviour, visit.fault
        wait_ms = behaviour.latency_ms
        if behaviour.jitter_ms:
            wait_ms += self.state.dice.uniform(-behaviour.jitter_ms, behaviour.jitter_ms)
        if fault is not None and fault.kind == "slow_before":
            wait_ms += fault.delay_ms
        if wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000)

    async def _steer(self, path: str, body: bytes) -> web.StreamResponse:
        """GET or POST /_simulator/OPERATION, with the arguments as a JSON object in the body.

        Without an operation it tells where it is.
        """
        name = path.removeprefix(CONTROL_PREFIX).strip("/")
        if not name:
            return _json(200, {"url": self.url, "control_url": self.control_url})
        try:
            arguments = json.loads(body) if body else {}
            return _json(200, {"result": await self.operations.do(name, arguments)})
        except LookupError as error:
            return _json(404, {"error": str(error)})
        except (ValueError, TypeError) as error:
            return _json(400, {"error": str(error)})

    @staticmethod
    def _url_of(listener: Listener) -> str:
        host = f"[{listener.host}]" if ":" in listener.host else listener.host
        return f"http://{host}:{listener.port}"


def _json(status: int, content: Json) -> web.Response:
    return web.Response(status=status, body=json.dumps(content).encode(), content_type="application/json")


def _request(message: Json, payload: Json, protocol: Json, writer: Json, task: "asyncio.Task[None]") -> web.BaseRequest:
    """Make a request that may carry a list of millions of ids to the control endpoint."""
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=_MAX_BODY_BYTES
    )
