"""The tokens of all accounts, in Redis: created, looked up, listed, revoked. Only their hashes are stored.

A token is 256 random bits, so it cannot be guessed, and a plain SHA-256 protects it: the slow hashes for passwords
defend secrets that can be guessed, and would cost every HTTP request some tenths of a second.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple, cast

from redis import Redis

from config.names import NAME_RULE, is_name
from worker.errors import NotPossible
from worker.store.keys import Keys
from worker.store.scripts import Scripts
from worker.times import iso

START = "ks_"
"""Start of every token, by which people and secret scanners recognize it."""
_RANDOM_BYTES = 32


class Scope(StrEnum):
    """What a token allows."""

    DELETE = "delete"
    """Create requests of the token's source, and cancel them."""
    READ = "read"
    APPROVE = "approve"
    """Approve and reject requests that a guard holds."""
    OPERATE = "operate"
    """Pause and resume, switch cleanup on and off, retry what failed."""


class Token(NamedTuple):
    """A token, without its secret."""

    name: str
    scopes: frozenset[Scope]
    source: str | None
    """The source of the requests it creates; only with the scope `delete`."""
    created_at: str
    """ISO 8601 in UTC."""
    created_by: str
    account: str | None = None
    """The only account that it may use; None: any."""


class Tokens:
    """The tokens of all accounts."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis, keys)

    def create(
        self, name: str, scopes: Iterable[Scope], source: str | None, by: str, account: str | None = None
    ) -> str:
        """Create a token and return it; it cannot be read again. Raises `NotPossible`, which says why."""
        wanted = sorted(set(scopes))
        _check(name, wanted, source)
        token = START + secrets.token_urlsafe(_RANDOM_BYTES)
        about = {"name": name, "scopes": wanted, "by": by, "source": source, "account": account}
        about = {name: value for name, value in about.items() if value}
        if not self._scripts.run("tokens/create", {"digest": digest_of(token), "about": about}):
            raise NotPossible(f"a token of the name {name} exists; revoke it, or choose another name")
        return token

    def find(self, token: str) -> Token | None:
        """Return what is known of a token; None if it does not exist.

        The look-up by hash reveals nothing about stored tokens to an attacker who measures time.
        """
        stored = cast("str | None", self._redis.hget(self._keys("tokens"), digest_of(token)))
        return _read(json.loads(stored)) if stored else None

    def open_session(self, token: str, seconds: int) -> str:
        """Start a session of a token, and return its secret: the dashboard's cookie."""
        secret = secrets.token_urlsafe(_RANDOM_BYTES)
        self._redis.set(self._keys.session(digest_of(secret)), digest_of(token), ex=seconds)
        return secret

    def of_session(self, secret: str) -> Token | None:
        """Return the token of a session; None if the session or its token has ended."""
        digest = cast("str | None", self._redis.get(self._keys.session(digest_of(secret))))
        stored = cast("str | None", self._redis.hget(self._keys("tokens"), digest)) if digest else None
        return _read(json.loads(stored)) if stored else None

    def end_session(self, secret: str) -> None:
        """End a session. Does nothing if there is none."""
        self._redis.delete(self._keys.session(digest_of(secret)))

    def all(self) -> list[Token]:
        """Return all tokens, the oldest first."""
        stored = cast("list[str]", self._redis.hvals(self._keys("tokens")))
        return sorted((_read(json.loads(each)) for each in stored), key=lambda token: (token.created_at, token.name))

    def revoke(self, name: str, by: str) -> bool:
        """Delete a token; return whether there was one."""
        return bool(self._scripts.run("tokens/revoke", {"name": name, "by": by}))

    def count_refusals(self, count: int) -> None:
        """Count HTTP requests that came with wrong credentials."""
        self._redis.incrby(self._keys("refusals"), count)

    def refusals(self) -> int:
        """Return how many HTTP requests came with wrong credentials, ever."""
        return int(cast("str | None", self._redis.get(self._keys("refusals"))) or 0)


def digest_of(token: str) -> str:
    """Return the hash under which a token is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def _check(name: str, scopes: list[Scope], source: str | None) -> None:
    for what, value in (("name", name), ("source", source)):
        if value is not None and not is_name(value):
            raise NotPossible(f"the {what} {NAME_RULE}")
    if not scopes:
        raise NotPossible(f"a token needs at least one scope: {', '.join(Scope)}")
    if (Scope.DELETE in scopes) != bool(source):
        raise NotPossible(
            "the scope delete needs a source, that of the requests that the token creates; no other scope does"
        )


def _read(about: dict[str, Any]) -> Token:
    scopes = frozenset(Scope(scope) for scope in about["scopes"])
    created_at = iso(int(about["created_at"])) or ""
    return Token(about["name"], scopes, about.get("source"), created_at, about["by"], about.get("account"))
