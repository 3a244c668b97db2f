"""Who calls: the account's own private key, or a token. Without either, only the health checks are answered."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import SecretStr

from tasks.tokens import Scope, Token, TokenAdmin
from worker.errors import KitsweepError
from worker.logs import add_log_fields

logger = logging.getLogger(__name__)

REMEMBERED_SECONDS = 5.0
"""How long a token is cached, and so accepted after it is revoked."""
MAX_REMEMBERED = 1000
REFUSAL_SECONDS = 1.0
"""How long a wrong credential waits for its answer."""
MAX_WAITING_REFUSALS = 100
"""How many may wait at a time; further wrong ones are told so at once."""
MAX_SECRET = 512


class MissingCredentials(KitsweepError):
    """The call carries no credential."""

    def __str__(self) -> str:
        return "No credential. Send a token (Bearer, or Basic with the token as user name) or the private key."


class WrongCredentials(KitsweepError):
    """The call carries neither the private key nor a token of this account."""

    def __str__(self) -> str:
        return "The credential is neither the account's private key nor a valid token."


class TooManyWrong(KitsweepError):
    """A wrong credential, while too many others wait for their answer."""

    def __str__(self) -> str:
        return "Too many calls with wrong credentials; try again."


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller, and what it may do."""

    name: str
    """For the audit trail, such as `token catalog`."""
    scopes: frozenset[Scope]
    source: str | None
    """The only source that the caller may create requests of; None: any."""
    is_account: bool
    """Whether the credential is the account's own private key."""


ACCOUNT = Caller("private key", frozenset(Scope), None, is_account=True)


class Run(Protocol):
    """Runs blocking code in a thread."""

    def __call__(self, act: Callable[..., Any], /, *args: Any) -> Awaitable[Any]:
        """Return what `act` returns."""


class Credentials:
    """Identifies callers. Caches tokens for some seconds."""

    def __init__(self, private_key: SecretStr | None, tokens: TokenAdmin, run: Run) -> None:
        self._key = private_key.get_secret_value().encode() if private_key else None
        self._tokens = tokens
        self._run = run
        self._seen: dict[str, tuple[Caller, float]] = {}
        self._looking: dict[str, asyncio.Future[Token | None]] = {}
        self._waiting = 0

    async def caller(self, authorization: str) -> Caller:
        """Return who sent an Authorization header.

        Raises `MissingCredentials`, `WrongCredentials`, `TooManyWrong`, and `RedisUnreachable`.
        """
        secret = secret_in(authorization)
        if not secret:
            raise MissingCredentials
        if self._key is not None and hmac.compare_digest(secret.encode(), self._key):
            caller = ACCOUNT
        else:
            caller = self._remembered(secret) or await self._looked_up(secret)
        add_log_fields(by=caller.name)
        return caller

    def _remembered(self, secret: str) -> Caller | None:
        caller, until = self._seen.get(secret, (None, 0.0))
        return caller if until > time.monotonic() else None

    async def _looked_up(self, secret: str) -> Caller:
        token = await self._found(secret)
        if token is None:
            await self._refuse()
            raise WrongCredentials
        if len(self._seen) >= MAX_REMEMBERED:
            self._seen.clear()
        caller = Caller(f"token {token.name}", token.scopes, token.source, is_account=False)
        self._seen[secret] = caller, time.monotonic() + REMEMBERED_SECONDS
        return caller

    async def _found(self, secret: str) -> Token | None:
        """Look up a token. Calls that come with the same one meanwhile share the look-up."""
        looking = self._looking.get(secret)
        if looking is None:
            looking = self._looking[secret] = asyncio.ensure_future(self._run(self._tokens.find, secret))
            looking.add_done_callback(lambda _: self._looking.pop(secret, None))
        token: Token | None = await asyncio.shield(looking)
        return token

    async def _refuse(self) -> None:
        """Count a wrong credential, and wait, so that guessing is slow."""
        if self._waiting >= MAX_WAITING_REFUSALS:
            raise TooManyWrong
        logger.warning("a call with a wrong credential was refused")
        self._waiting += 1
        try:
            await self._run(self._tokens.count_refusals, 1)
            await asyncio.sleep(REFUSAL_SECONDS)
        finally:
            self._waiting -= 1


def secret_in(authorization: str) -> str:
    """Return the token of a Bearer header, or the user name of a Basic one; empty if there is none."""
    scheme, _, rest = authorization.partition(" ")
    if len(rest) > MAX_SECRET:
        return ""
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
