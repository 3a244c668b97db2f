"""Log in with a token, and out."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tasks.tokens import Scope
from web.context import server_of
from web.credentials import Caller, MissingCredentials, TooManyWrong, WrongCredentials
from web.dashboard import rendering
from web.dashboard.visits import COOKIE, ROOT, SESSION_SECONDS, back_to, read_form, require_same_origin
from worker.errors import KitsweepError


async def form(request: Request) -> Response:
    """Show the form."""
    return _form(request, "", 200)


async def log_in(request: Request) -> Response:
    """Start a session, if the token may read."""
    server = server_of(request)
    require_same_origin(request, server)
    token = (await read_form(request)).get("token", "").strip()
    try:
        caller = await server.credentials.caller(f"Bearer {token}")
    except (MissingCredentials, WrongCredentials, TooManyWrong) as error:
        return _form(request, _explained(error), 429 if isinstance(error, TooManyWrong) else 403)
    if problem := _problem(caller):
        return _form(request, problem, 403)
    secret = await server.run(server.tokens.open_session, token, SESSION_SECONDS)
    response = RedirectResponse(_next(request), 303, rendering.HEADERS)
    is_https = (server.settings.web_public_url or str(request.url)).startswith("https:")
    options = {"path": ROOT, "httponly": True, "secure": is_https, "samesite": "strict"}
    response.set_cookie(COOKIE, secret, SESSION_SECONDS, **options)  # type: ignore[arg-type] # it takes these words
    return response


async def log_out(request: Request) -> Response:
    """End the session."""
    server = server_of(request)
    require_same_origin(request, server)
    await server.run(server.tokens.end_session, request.cookies.get(COOKIE, ""))
    response = back_to(request, "/login")
    response.delete_cookie(COOKIE, path=ROOT)
    return response


def _form(request: Request, problem: str, status: int) -> Response:
    return rendering.page("login.html", status, problem=problem, root=ROOT, next=_next(request))


def _next(request: Request) -> str:
    """Return the page to show after the login: one of ours, never another site's."""
    wanted = request.query_params.get("next", ROOT)
    parts = urlsplit(wanted)
    is_ours = not parts.scheme and not parts.netloc and (parts.path == ROOT or parts.path.startswith(f"{ROOT}/"))
    return wanted if is_ours and "\\" not in wanted else ROOT


def _problem(caller: Caller) -> str:
    if caller.is_account:
        return "That is the account's private key. Log in with a token; this is how to make one:"
    if Scope.READ not in caller.scopes:
        return f"The {caller.name} does not have the scope read, which the dashboard needs."
    return ""


def _explained(error: KitsweepError) -> str:
    match error:
        case MissingCredentials():
            return "Enter a token."
        case WrongCredentials():
            return "That is no valid token. It may have been revoked."
        case _:
            return str(error)


ROUTES = [
    Route(f"{ROOT}/login", form, methods=["GET"]),
    Route(f"{ROOT}/login", log_in, methods=["POST"]),
    Route(f"{ROOT}/logout", log_out, methods=["POST"]),
]
