"""Who calls: the private key of an account, or a token. Without either, only the health checks are answered."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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
    """The call carries neither the private key of an account nor a token."""

    def __str__(self) -> str:
        return "The credential is neither the private key of an account nor a valid token."


class TooManyWrong(KitsweepError):
    """A wrong credential, while too many others wait for their answer."""

    def __str__(self) -> str:
        return "Too many calls with wrong credentials; try again."


class WrongAccount(KitsweepError):
    """The caller may not use the account that it names."""

    def __init__(self, caller: str, account: str) -> None:
        super().__init__(caller, account)
        self.caller, self.account = caller, account

    def __str__(self) -> str:
        return f"The {self.caller} is bound to the account {self.account}."


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller, and what it may do."""

    name: str
    """For the audit trail, such as `token catalog`."""
    scopes: frozenset[Scope]
    source: str | None
    """The only source that the caller may create requests of; None: any."""
    is_account: bool
    """Whether the credential is the private key of an account."""
    account: str | None = None
    """The only account that the caller may use; None: any."""

    def account_of(self, wanted: str | None) -> str | None:
        """Return the account of a call that names `wanted`; None: that of the environment. Raises `WrongAccount`."""
        if self.account is not None and wanted not in (None, self.account):
            raise WrongAccount(self.name, self.account)
        return self.account or wanted


def _owner_of(account: str, home: str) -> Caller:
    name = "private key" if account == home else f"private key of {account}"
    return Caller(name, frozenset(Scope), None, is_account=True, account=account)


class Run(Protocol):
    """Runs blocking code in a thread."""

    def __call__(self, act: Callable[..., Any], /, *args: Any) -> Awaitable[Any]:
        """Return what `act` returns."""


class Credentials:
    """Identifies callers. Caches tokens for some seconds."""

    def __init__(
        self, private_keys: Callable[[], Mapping[str, bytes]], tokens: TokenAdmin, run: Run, home: str
    ) -> None:
        """`private_keys` returns the key of each account; `home` is that of the environment."""
        self._home = home
        self._private_keys = private_keys
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
        caller = self._owner(secret) or self._remembered(secret) or await self._looked_up(secret)
        add_log_fields(by=caller.name)
        return caller

    def _owner(self, secret: str) -> Caller | None:
        """Return the account whose private key a secret is, after as many comparisons for any secret."""
        given = secret.encode()
        owners = [name for name, key in self._private_keys().items() if hmac.compare_digest(given, key)]
        return _owner_of(owners[0], self._home) if owners else None

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
        caller = Caller(f"token {token.name}", token.scopes, token.source, is_account=False, account=token.account)
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
