"""Who may call an operation of the REST API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tasks.tokens import Scope
from web.context import server_of
from web.credentials import Caller
from web.problems import Problem

# It only describes the scheme in the OpenAPI document; Basic is accepted as well.
_BEARER = HTTPBearer(auto_error=False, description="A token (`kitsweep token create`).")
_Described = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
Account = Annotated[
    str | None, Query(description="Account of the accounts file; default: that of the token, else of the environment.")
]


def require(*scopes: Scope) -> Callable[[Request, _Described], Awaitable[Caller]]:
    """Return a dependency that admits callers with any of the scopes, and returns who calls."""

    async def caller(request: Request, _: _Described, account: Account = None) -> Caller:
        found = await admit(request, *scopes)
        request.state.account = found.account_of(account)
        return found

    return caller


async def admit(request: Request, *scopes: Scope) -> Caller:
    """Return who calls, if it has any of the scopes. Raises `Problem`, and what `Credentials.caller` does."""
    found = await server_of(request).credentials.caller(request.headers.get("authorization", ""))
    if not found.scopes.intersection(scopes):
        needed = " or ".join(scopes)
        raise Problem(403, f"The {found.name} does not have the scope {needed}, which this operation needs.")
    return found
