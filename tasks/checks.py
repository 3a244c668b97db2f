"""The checks of `kitsweep check`: Redis and ImageKit. They change nothing."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from enum import StrEnum
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from config.accounts import AccountsError, read_accounts
from config.settings import Settings
from worker.accounts import Accounts
from worker.errors import KitsweepError
from worker.imagekit.answers import KeyRefused, ListAnswer, Page, Refused, Throttled, Unanswered
from worker.imagekit.client import ImageKit
from worker.store.connection import connect, explained
from worker.store.durability import eviction_problem
from worker.store.keys import Keys


class Grade(StrEnum):
    """How serious a finding is; only FAILED fails the check."""

    OK = "ok"
    REMARK = "remark"
    WARNING = "warning"
    FAILED = "failed"


class Finding(NamedTuple):
    """The result of one check."""

    name: str
    grade: Grade
    detail: str
    """What was found and, where something is wrong, how to fix it."""


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Check that the server can be reached and is suitable for the queue."""
    try:
        with explained(settings), connect(settings) as redis:
            redis.ping()
            about = _info(redis)
            yield _server(about, settings.redis_address)
            yield eviction(_policy(redis, about))
            yield durability(about)
    except KitsweepError as error:
        yield Finding("redis", Grade.FAILED, str(error))
    except RedisError as error:
        yield Finding("redis", Grade.FAILED, f"Redis at {settings.redis_address} refused: {error}")


def _info(redis: Redis) -> dict[str, Any]:
    """Return the reply to INFO; empty if the user may not run it."""
    try:
        return dict(redis.info())
    except ResponseError:
        return {}


def _server(about: Mapping[str, Any], address: str) -> Finding:
    name = "Valkey" if about.get("valkey_version") else "Redis"
    version = about.get("valkey_version") or about.get("redis_version") or "of unknown version"
    if about.get("role") == "slave":
        fix = "it is a replica and accepts no writes; name the master in KITSWEEP_REDIS_URL, or use sentinel://"
        return Finding("redis", Grade.FAILED, f"{name} {version} at {address}: {fix}")
    return Finding("redis", Grade.OK, f"{name} {version} answers at {address}")


def _policy(redis: Redis, about: Mapping[str, Any]) -> str | None:
    if policy := about.get("maxmemory_policy"):
        return str(policy)
    try:
        return redis.config_get("maxmemory-policy").get("maxmemory-policy")
    except ResponseError:
        return None


def eviction(policy: str | None) -> Finding:
    """Check the eviction policy (None: unknown): every policy but one may drop our keys when memory is full."""
    if policy is None:
        detail = "the server does not report its maxmemory-policy; make sure that it is noeviction, or ids may be lost"
        return Finding("eviction", Grade.WARNING, detail)
    if problem := eviction_problem(policy):
        return Finding("eviction", Grade.FAILED, problem)
    return Finding("eviction", Grade.OK, f"maxmemory-policy is {policy}: no key is ever dropped")


def durability(about: Mapping[str, Any]) -> Finding:
    """Check whether requests survive a restart of the server."""
    enabled = about.get("aof_enabled")
    if enabled is None:
        return Finding("durability", Grade.REMARK, "the server does not report whether it has an append-only file")
    if int(enabled):
        return Finding("durability", Grade.OK, "the append-only file is on: requests survive a restart of the server")
    off = "the append-only file is off: a restart of the server may lose the last requests; `appendonly yes` keeps them"
    return Finding("durability", Grade.REMARK, off)


def check_accounts(settings: Settings) -> tuple[dict[str, Settings], list[Finding]]:
    """Check the accounts file, if there is one; return the settings of each account."""
    if settings.accounts_file is None:
        return {settings.account: settings}, []
    try:
        exposed = read_accounts(settings).exposed
        accounts = dict(Accounts(settings, lambda each: each).served())
    except AccountsError as error:
        return {}, [Finding("accounts", Grade.FAILED, problem) for problem in error.problems]
    found = [Finding("accounts", Grade.FAILED, problem) for problem in exposed]
    return accounts, found or [Finding("accounts", Grade.OK, ", ".join(accounts) or "none")]


def check_removed_accounts(settings: Settings, served: Collection[str]) -> Iterator[Finding]:
    """Yield the accounts that workers have served before, and of which ids still wait."""
    with explained(settings), connect(settings) as redis:
        known = cast("set[str]", redis.smembers(Keys(settings.home_account)("accounts")))
        for name in sorted(known - set(served)):
            waiting = sum(map(int, cast("list[str]", redis.hvals(Keys(name)("waiting")))))
            if waiting:
                detail = f"{name} is not in the accounts file, and {waiting} of its ids wait until it is"
                yield Finding("accounts", Grade.WARNING, detail)


def check_imagekit(settings: Settings, name: str = "imagekit") -> Finding:
    """List one file with the private key; without a key, only check that the API can be reached."""
    with closing(ImageKit(settings)) as api:
        if settings.private_key is not None:
            grade, detail = _judge(api.list_files({}, skip=0, limit=1))
        elif problem := api.why_unreachable():
            grade, detail = Grade.FAILED, f"cannot be reached: {problem}"
        else:
            grade, detail = Grade.WARNING, "answers, but no private key is set: workers need IMAGEKIT_PRIVATE_KEY"
    return Finding(name, grade, f"{settings.base_url} {detail}")


def _judge(answer: ListAnswer) -> tuple[Grade, str]:
    match answer:
        case Page():
            return Grade.OK, "answers and accepts the private key"
        case Throttled():
            return Grade.WARNING, "answers, but throttles at the moment (429)"
        case KeyRefused(message=message, meta=meta):
            why = f"refuses the private key ({meta.status}); is IMAGEKIT_PRIVATE_KEY right? It says: {message}"
            return Grade.FAILED, why
        case Unanswered(sent=False, reason=reason):
            return Grade.FAILED, f"cannot be reached: {reason}"
        case Unanswered(reason=problem) | Refused(message=problem):
            return Grade.FAILED, f"does not answer as ImageKit does; is IMAGE_KIT_BASE_URL right? {problem}"
