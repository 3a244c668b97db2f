"""One call of a page: who is logged in, what they may do, and the account they look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qsl, quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from config.settings import API_URL
from tasks.admin import Admin
from tasks.client import Client, check_reason
from tasks.failures import Failures
from tasks.search import Search
from tasks.tokens import Scope, Token
from web.context import AccountContext, Context, context_of, server_of
from web.credentials import WrongAccount
from web.dashboard import origin, rendering
from web.dashboard.diagnosis import diagnose
from web.dashboard.sampler import Look, Sampler
from web.problems import Problem

ROOT = "/dashboard"
COOKIE, ZONE_COOKIE = "kitsweep_session", "kitsweep_zone"
MAX_FORM = 64 * 1024
SESSION_SECONDS = 12 * 3600
# The cookie is not sent when another site links here. A page of our own that loads the same address sends it.
_AGAIN = '<!doctype html><meta http-equiv="refresh" content="0"><title>Kitsweep</title>'
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Visit:
    """One call of a page, by a token that may read."""

    request: Request
    server: Context
    context: AccountContext
    sampler: Sampler
    token: Token
    form: Mapping[str, str]

    # All pages get the account's parts here.

    @property
    def client(self) -> Client:
        """The client of the account."""
        return self.context.client

    @property
    def admin(self) -> Admin:
        """The operator's view of the account."""
        return self.context.admin

    @property
    def search(self) -> Search:
        """The search of the account's requests."""
        return self.context.search

    @property
    def failures(self) -> Failures:
        """The failed files of the account."""
        return self.context.failures

    @property
    def root(self) -> str:
        """The start of the paths of this account's pages."""
        return root_of(self.request)

    @property
    def accounts(self) -> list[str]:
        """The names of the accounts that the token may use."""
        return [self.token.account] if self.token.account else list(self.server.accounts.served())

    @property
    def by(self) -> str:
        """Who acts, for the audit trail."""
        return f"token {self.token.name}"

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the viewer, which a script of ours put into a cookie; UTC without it."""
        try:
            return ZoneInfo(self.request.cookies.get(ZONE_COOKIE, "UTC").replace("%2F", "/"))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return ZoneInfo("UTC")

    def may(self, *scopes: Scope) -> bool:
        """Whether the token has any of the scopes."""
        return not self.token.scopes.isdisjoint(scopes)

    def may_cancel(self, source: str) -> bool:
        """Whether the token may cancel requests of a source."""
        return self.may(Scope.OPERATE) or (self.may(Scope.DELETE) and self.token.source == source)

    def reason(self) -> str | None:
        """Return the reason in the form. Raises `Problem`."""
        try:
            return check_reason(self.form.get("reason", "").strip() or None)
        except ValueError as error:
            raise Problem(422, str(error)) from None

    async def run(self, act: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking code in a thread."""
        return await self.context.run(act, *args, **kwargs)

    async def page(self, template: str, status: int = 200, /, **more: Any) -> Response:
        """Return a page."""
        look = await self.sampler.look()
        done = DONE.get(self.request.query_params.get("done", ""), "")
        return rendering.page(template, status, **self._values(look, done=done, **more))

    def rendered(self, template: str, look: Look, /, **more: Any) -> str:
        """Return a part of a page."""
        return rendering.rendered(template, self._values(look, **more))

    def _values(self, look: Look, /, **more: Any) -> dict[str, Any]:
        """Return what every template gets."""
        settings, url, stats = self.context.settings, self.request.url, look.sample.stats
        return {
            "visit": self,
            "root": self.root,
            "path": url.path.removeprefix(ROOT),
            "query": url.query,
            "zone": self.zone,
            "account": settings.account,
            "is_real": settings.base_url == API_URL,
            "diagnosis": diagnose(look, self.zone),
            "unapproved": stats["unapproved"] if stats else 0,
            "stats": stats,
            **more,
        }


DONE = {
    "paused": "Paused. No worker calls ImageKit until an operator resumes.",
    "resumed": "Resumed. Workers call ImageKit again.",
    "cancelled": "Cancelled. Calls that were in flight are finished; files that are deleted stay deleted.",
    "approved": "Approved. Its files are being deleted.",
    "rejected": "Rejected. Nothing of it was deleted.",
    "cleanup-on": "Cleanup is on.",
    "cleanup-off": "Cleanup is off. Runs stop at their next page.",
    "retried": "The failed files were enqueued as a new request: this one.",
}
"""What a page says after a change, by the parameter `done`."""

Act = Callable[[Visit], Awaitable[Response]]


def route(path: str, act: Act, *scopes: Scope, methods: tuple[str, ...] = ("GET",)) -> Route:
    """Return the route of a page, for tokens that may read and have one of the scopes, if there are any."""

    async def answer(request: Request) -> Response:
        server = server_of(request)
        require_same_origin(request, server)
        token = await server.run(server.tokens.of_session, request.cookies.get(COOKIE, ""))
        if token is None:
            return _to_login(request)
        request.state.account = _account_of(request, server, token)
        context, samplers = context_of(request), request.app.state.samplers
        visit = Visit(request, server, context, samplers.of(context), token, await read_form(request))
        if not visit.may(Scope.READ) or (scopes and not visit.may(*scopes)):
            raise Problem(403, f"The {visit.by} does not have the scope {' or '.join(scopes)}, which this needs.")
        response = await act(visit)
        if request.method == "POST":
            visit.sampler.expire()
        return response

    return Route(ROOT + path, answer, methods=list(methods), name=f"{path} {act.__name__}")


def root_of(request: Request) -> str:
    """Return the start of the paths of the account's pages: `/dashboard/@name`, if the URL names one."""
    named = request.scope.get("account")
    return f"{ROOT}/@{named}" if named else ROOT


def _account_of(request: Request, server: Context, token: Token) -> str | None:
    """Return the account of a call; None: that of the environment. Raises `WrongAccount`."""
    named = request.scope.get("account")
    if token.account and named not in (None, token.account):
        raise WrongAccount(f"token {token.name}", token.account)
    served = server.accounts.served()
    is_home_served = server.settings.account in served
    return token.account or named or (None if is_home_served else next(iter(served), None))


def require_same_origin(request: Request, server: Context) -> None:
    """Refuse a change that another site asks the browser for. Raises `Problem`."""
    if not origin.is_allowed(request.method, request.headers, server.settings.web_public_url):
        raise Problem(403, "This call comes from another site. Use the pages of the dashboard itself.")


def back_to(request: Request, path: str, done: str = "") -> Response:
    """Return the redirect to a page after a change; the page says what was done."""
    return RedirectResponse(f"{root_of(request)}{path}{f'?done={done}' if done else ''}", 303, rendering.HEADERS)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a submitted form; empty for other calls. Raises `Problem`."""
    if request.method != "POST":
        return {}
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise Problem(413, "The form is too large.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise Problem(400, "The form cannot be read.") from None


def _to_login(request: Request) -> Response:
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        return HTMLResponse(_AGAIN, headers=rendering.HEADERS)
    if "text/event-stream" in request.headers.get("accept", ""):
        return Response(status_code=401, headers=rendering.HEADERS)
    path = root_of(request) + request.url.path.removeprefix(ROOT)
    url = path + (f"?{request.url.query}" if request.url.query else "")
    after = f"?next={quote(url, safe='')}" if request.method == "GET" else ""
    return RedirectResponse(f"{ROOT}/login{after}", 303, rendering.HEADERS)
