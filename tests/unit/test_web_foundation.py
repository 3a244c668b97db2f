"""The web server's ground: who is let in, what errors look like, and the health checks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from redis import Redis

import web.credentials
from tasks.tokens import Scope, Token
from tests.unit.support_web import KEY, api_of, basic, call, context_on
from web.context import Context
from web.credentials import Caller
from web.permissions import require
from web.problems import Problem
from worker.errors import InvalidRequest, NotPossible, QueueFull, UnknownRequest


@pytest.fixture
def context(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setattr(web.credentials, "REFUSAL_SECONDS", 0.01)
    context = context_on(redis_client, monkeypatch)
    yield context
    context.close()


@pytest.fixture
def app(context: Context) -> FastAPI:
    """The application, with an operation for callers that may read."""
    app = api_of(context)

    @app.get("/api/v1/who")
    def who(caller: Annotated[Caller, Depends(require(Scope.READ))]) -> dict[str, str | None]:
        return {"name": caller.name, "source": caller.source}

    return app


def who(app: FastAPI, authorization: str | None) -> tuple[int, dict[str, object]]:
    headers = {"Authorization": authorization} if authorization is not None else {}
    answer = call(app, "GET", "/api/v1/who", headers=headers)
    return answer.status_code, answer.json()


def test_the_private_key_is_let_in(app: FastAPI) -> None:
    """As the user name of Basic, with any password: SDKs send fillers."""
    for password in ("", "do_not_set"):
        assert who(app, basic(KEY, password)) == (200, {"name": "private key", "source": None})


def test_a_token_is_let_in_as_bearer_and_as_user_name(app: FastAPI, context: Context) -> None:
    """With what its scopes allow, under its own name."""
    token = context.admin.tokens.create("catalog", [Scope.READ, Scope.DELETE], "shop")
    for header in (f"Bearer {token}", basic(token, "any")):
        assert who(app, header) == (200, {"name": "token catalog", "source": "shop"})


def test_a_scope_that_is_missing_is_refused(app: FastAPI, context: Context) -> None:
    """The answer names it."""
    token = context.admin.tokens.create("ops", [Scope.OPERATE])
    status, problem = who(app, f"Bearer {token}")
    assert status == 403
    assert "scope read" in str(problem["detail"])


@pytest.mark.parametrize("header", [None, "", "Basic", "Basic !!!", "Digest x", basic("")])
def test_without_a_credential_it_is_401_with_a_challenge(app: FastAPI, header: str | None) -> None:
    """Also where the header cannot be read."""
    answer = call(app, "GET", "/api/v1/who", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert "Basic" in answer.headers["WWW-Authenticate"]
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("secret", ["private_other", "ks_unknown", KEY + "x", "ü"])
def test_a_wrong_credential_is_403_slowed_and_counted(app: FastAPI, context: Context, secret: str) -> None:
    """Nothing of it is in the answer."""
    status, problem = who(app, basic(secret))
    assert status == 403
    assert secret not in str(problem)
    assert context.admin.tokens.refusals() == 1


def test_a_flood_of_wrong_credentials_is_sent_away(
    app: FastAPI, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, while the private key and valid tokens are still let in."""
    token = context.admin.tokens.create("reader", [Scope.READ])
    monkeypatch.setattr(web.credentials, "MAX_WAITING_REFUSALS", 0)
    answer = call(app, "GET", "/api/v1/who", headers={"Authorization": basic("ks_unknown")})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    for secret in (KEY, token):
        assert who(app, basic(secret))[0] == 200


def test_calls_with_the_same_token_share_its_look_up(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand connections that start at once are not too many."""
    tokens, header = context.tokens, f"Bearer {context.admin.tokens.create('reader', [Scope.READ])}"
    looked_up: list[str] = []
    find = tokens.find

    def counting_find(secret: str) -> Token | None:
        looked_up.append(secret)
        return find(secret)

    monkeypatch.setattr(tokens, "find", counting_find)

    async def call_all() -> set[str]:
        return {each.name for each in await asyncio.gather(*(context.credentials.caller(header) for _ in range(1000)))}

    assert asyncio.run(call_all()) == {"token reader"}
    assert len(looked_up) == 1


@pytest.mark.parametrize(("remembered_seconds", "status"), [(60, 200), (0, 403)])
def test_a_revoked_token_is_let_in_for_seconds_only(
    app: FastAPI, context: Context, monkeypatch: pytest.MonkeyPatch, remembered_seconds: float, status: int
) -> None:
    """It is remembered for so long that a call costs no trip to Redis."""
    monkeypatch.setattr(web.credentials, "REMEMBERED_SECONDS", remembered_seconds)
    token = context.admin.tokens.create("reader", [Scope.READ])
    assert who(app, f"Bearer {token}")[0] == 200
    assert context.admin.tokens.revoke("reader")
    assert who(app, f"Bearer {token}")[0] == status


def test_without_a_private_key_only_tokens_are_let_in(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty key matches nothing."""
    monkeypatch.setattr(web.credentials, "REFUSAL_SECONDS", 0)
    context = context_on(redis_client, monkeypatch, private_key=None)
    app = api_of(context)

    @app.get("/api/v1/who", dependencies=[Depends(require(Scope.READ))])
    def who() -> None:
        return None

    for header, status in ((basic(""), 401), (basic("None"), 403)):
        assert call(app, "GET", "/api/v1/who", headers={"Authorization": header}).status_code == status
    context.close()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownRequest("r1"), 404),
        (InvalidRequest("source", None, "must be a name"), 422),
        (NotPossible("it was approved before"), 409),
        (QueueFull("redis:6379/0"), 503),
        (Problem(418, "I am a teapot", leaf="green"), 418),
    ],
)
def test_our_errors_become_problems(app: FastAPI, error: Exception, status: int) -> None:
    """With the same status everywhere, and what the error says."""

    @app.get("/api/v1/fails")
    def fails() -> None:
        raise error

    answer = call(app, "GET", "/api/v1/fails")
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert problem["detail"] == getattr(error, "detail", str(error))
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert problem.get("leaf") == getattr(error, "more", {}).get("leaf")


def test_a_bug_is_500_without_its_details(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    """They are in the log."""

    @app.get("/api/v1/fails")
    def fails() -> None:
        raise RuntimeError("the secret is 42")

    answer = call(app, "GET", "/api/v1/fails")
    assert answer.status_code == 500
    assert "42" not in answer.text
    assert "42" in caplog.text


def test_invalid_parameters_are_named(app: FastAPI) -> None:
    """Each with its place."""

    @app.get("/api/v1/number")
    def number(value: int) -> int:
        return value

    answer = call(app, "GET", "/api/v1/number", params={"value": "x"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["at"] == "query.value"


def test_health_needs_no_credential(app: FastAPI) -> None:
    """Probes have none."""
    assert call(app, "GET", "/livez").json() == {"status": "alive"}
    assert call(app, "GET", "/readyz").json() == {"status": "ready"}


def test_readiness_says_what_is_missing(clean_environment: pytest.MonkeyPatch) -> None:
    """The process lives on without Redis and without a key, and is not ready."""
    from config.settings import load_settings  # noqa: PLC0415 - settings of this test alone

    context = Context(load_settings(redis_url="redis://127.0.0.1:1/0"))
    app = api_of(context)
    assert call(app, "GET", "/livez").status_code == 200
    answer = call(app, "GET", "/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["IMAGEKIT_PRIVATE_KEY is not set", "Redis does not answer"]
    context.close()
