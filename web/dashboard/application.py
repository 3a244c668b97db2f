"""The pages of the dashboard, put together; errors are pages as well."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from web.context import Context
from web.dashboard import (
    about,
    approvals,
    audit,
    cleanup,
    failures,
    finding,
    login,
    overview,
    rendering,
    request,
    requests,
)
from web.dashboard.sampler import Samplers
from web.dashboard.visits import ROOT
from web.problems import Problem, status_of
from worker.errors import KitsweepError

logger = logging.getLogger(__name__)

_OF_AN_ACCOUNT = re.compile(rf"{ROOT}/@([^/]+)(|/.*)")
PARTS = (login, overview, requests, request, approvals, failures, cleanup, finding, audit, about)


class Dashboard:
    """The dashboard as an ASGI application. Stop it before the server waits for open connections."""

    def __init__(self, context: Context) -> None:
        self._samplers = Samplers(context.figures)
        home = Route("/", to_overview)
        static = Route(f"{ROOT}/static/{{version}}/{{name}}", static_file)
        routes = [home, static, *(route for part in PARTS for route in part.ROUTES)]
        handlers = {Problem: _problem, KitsweepError: _failure, HTTPException: _http, Exception: _bug}
        self._app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type] # each takes its own
        self._app.state.context, self._app.state.samplers = context, self._samplers
        self._app.state.retries, self._app.state.tasks = {}, set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request. `/dashboard/@name/…` is a page of the account with that name."""
        if found := _OF_AN_ACCOUNT.fullmatch(scope["path"]):
            path = ROOT + found[2]
            scope = {**scope, "path": path, "raw_path": path.encode(), "account": found[1]}
        await self._app(scope, receive, send)

    def stop(self) -> None:
        """Stop sampling, and end live pages."""
        self._samplers.stop()


async def to_overview(_: Request) -> Response:
    """Send a browser that opens the server itself to the overview."""
    return RedirectResponse(ROOT, 303)


async def static_file(request: Request) -> Response:
    """Send a file that pages load."""
    try:
        return rendering.static_file(request.path_params["name"])
    except KeyError:
        raise HTTPException(404) from None


def _error(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    response = rendering.page("error.html", status, title=title, detail=detail, status_code=status, root=ROOT)
    response.headers.update(headers or {})
    return response


async def _problem(_: Request, error: Problem) -> Response:
    return _error(error.status, error.detail, error.headers)


async def _failure(_: Request, error: KitsweepError) -> Response:
    status, headers = status_of(error)
    text = str(error)
    return _error(status, f"{text[:1].upper()}{text[1:].rstrip('.')}.", headers)


async def _http(_: Request, error: HTTPException) -> Response:
    details = {404: "There is no page at this address.", 405: "This address does not take this method."}
    return _error(error.status_code, details.get(error.status_code, error.detail), error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    logger.error("%s %s: unexpected error", request.method, request.url.path, exc_info=error)
    return _error(500, "An unexpected error. It is in the server's log.")
