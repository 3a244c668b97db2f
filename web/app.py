"""The application: routes each path. Closed by default: only the health checks need no credential.

FastAPI handles our paths. All others are ImageKit's: the drop-in handles the two that delete.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from web import health, problems
from web.api import routes
from web.context import Context
from web.dashboard.application import Dashboard
from web.dropin.endpoints import DropIn
from web.dropin.reading import call_of
from web.dropin.watching import Watcher
from web.exchange import Exchange, header_in
from web.metrics import endpoint
from web.passthrough import PassThrough
from worker.logs import add_log_fields
from worker.tracing import traceparent_in

OWN_PATHS = ("/api/v1/", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs")
UPLOAD_PATHS = ("/api/v1/files/upload", "/api/v2/files/upload")
"""ImageKit's, among paths that would be ours."""


def create_api(context: Context, watcher: Watcher) -> FastAPI:
    """Assemble the FastAPI application."""
    app = FastAPI(
        title=routes.TITLE,
        version=routes.VERSION,
        description=routes.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.context, app.state.watcher = context, watcher
    problems.add_handlers(app)
    app.include_router(health.router)
    app.include_router(endpoint.router)
    routes.add_routes(app)
    return app


class App:
    """The whole application. `start` it on the event loop that serves, and `close` it at the end."""

    def __init__(self, context: Context, api: ASGIApp | None = None, drop_in: DropIn | None = None) -> None:
        self._drop_in = drop_in or DropIn(context)
        self._api = api or create_api(context, self._drop_in.watcher)
        self._dashboard = Dashboard(context)
        self._pass_through = PassThrough(context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        method, path = scope["method"], scope["path"]
        if traceparent := traceparent_in(header_in(scope["headers"], b"traceparent")):
            add_log_fields(traceparent=traceparent)
        if is_page(method, path):
            await self._dashboard(scope, receive, send)
            return
        if is_own(method, path):
            await self._api(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        call = call_of(method, exchange.raw_path)
        if call is not None:
            await self._drop_in.answer(exchange, call)
        else:
            await self._pass_through.answer(exchange)

    def start(self) -> None:
        """Start to listen for the end of requests."""
        self._drop_in.watcher.start()

    def answer_all(self) -> None:
        """Answer all waiting callers with the current state, and end live pages, because the server stops."""
        self._dashboard.stop()
        self._drop_in.watcher.answer_all()

    async def close(self) -> None:
        """Close threads and connections."""
        self._drop_in.close()
        await self._pass_through.close()


def is_own(method: str, path: str) -> bool:
    """Whether a path is ours and not ImageKit's, whose uploads begin as our REST API does."""
    if method == "POST" and path.rstrip("/").lower() in UPLOAD_PATHS:
        return False
    return path.startswith(OWN_PATHS)


def is_page(method: str, path: str) -> bool:
    """Whether a path is one of the dashboard, or the server itself opened in a browser."""
    return path.split("/", 2)[1:2] == ["dashboard"] or (method == "GET" and path == "/")
