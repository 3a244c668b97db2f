"""Runs the web server: its socket, its signals, and a graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from config.settings import Settings
from web.app import App
from web.connection import Connection
from web.context import Context

# Its own start and stop messages have another format than our log.
logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
MAX_CONNECTIONS = 10_000
"""More are answered 503."""
MIN_FILES = 16_384
"""Limit of open files that the process requests: each connection is one."""


def run(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` gets the URL once the port is open. Raises `OSError` if it is taken."""
    _raise_file_limit()
    with listen(settings.web_host, settings.web_port) as listener:
        asyncio.run(_serve(settings, listener, ready))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address; port 0 takes a free one."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # asyncio sets TCP_NODELAY only on sockets whose protocol is named. Without it a response takes 40 ms: Nagle's
    # algorithm waits for the caller's delayed acknowledgement.
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server, with a stop that answers waiting callers and ends within the settings' time."""

    def __init__(self, app: App, stop_seconds: float, ready: Callable[[], None]) -> None:
        self._app = app
        self._ready = ready
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, int(stop_seconds)),
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM, and end as a success: uvicorn would raise them again at the end."""
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port."""
        self._app.start()
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer waiting callers with the current state, then end."""
        self._app.answer_all()
        await super().shutdown(sockets)


async def _serve(settings: Settings, listener: socket.socket, ready: Callable[[str], None]) -> None:
    context = Context(settings)
    app, url = App(context), url_of(listener)
    try:
        await Server(app, settings.stop_seconds, lambda: ready(url)).serve([listener])
    finally:
        await app.close()
        context.close()


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MIN_FILES:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(MIN_FILES, hard), hard))
