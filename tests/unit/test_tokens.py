"""Tokens: created once, stored as hashes, listed, revoked, and all of it in the audit trail."""

from __future__ import annotations

import pytest
from redis import Redis

from tasks.tokens import Scope
from tests.unit.support_queue import settings_for_tests
from worker.account import Account
from worker.errors import NotPossible
from worker.tokens.store import Tokens


@pytest.fixture
def account(redis_client: Redis) -> Account:
    return Account(settings_for_tests(), redis_client)


@pytest.fixture
def tokens(account: Account) -> Tokens:
    return account.tokens


def test_a_token_is_found_by_its_secret_alone(tokens: Tokens) -> None:
    """Everything but the secret can be read back."""
    secret = tokens.create("catalog", [Scope.READ, Scope.DELETE], "shop", "ann@desk")
    found = tokens.find(secret)
    assert found is not None
    assert (found.name, found.scopes, found.source) == ("catalog", frozenset({Scope.READ, Scope.DELETE}), "shop")
    assert tokens.all() == [found]
    assert tokens.find(secret[:-1]) is None
    assert tokens.find("catalog") is None


def test_no_token_is_stored(tokens: Tokens, redis_client: Redis) -> None:
    """Who reads Redis cannot use it: only a hash is there."""
    secret = tokens.create("catalog", [Scope.READ], None, "ann")
    everything = [str(redis_client.hgetall(key)) for key in redis_client.keys("*tokens")]
    assert everything
    assert secret not in "".join(everything)


def test_tokens_differ_and_have_256_random_bits(tokens: Tokens) -> None:
    """A token cannot be guessed."""
    secrets = {tokens.create(f"t{number}", [Scope.READ], None, "ann") for number in range(20)}
    assert len(secrets) == 20
    assert {len(secret) for secret in secrets} == {len("ks_") + 43}


def test_a_name_is_used_once(tokens: Tokens) -> None:
    """The audit trail names tokens: two with one name could not be distinguished. Once revoked, the name is free."""
    tokens.create("catalog", [Scope.READ], None, "ann")
    with pytest.raises(NotPossible, match="exists"):
        tokens.create("catalog", [Scope.OPERATE], None, "ann")
    assert tokens.revoke("catalog", "ann")
    tokens.create("catalog", [Scope.OPERATE], None, "ann")


def test_a_revoked_token_is_gone(tokens: Tokens) -> None:
    """And only that one."""
    kept, revoked = (tokens.create(name, [Scope.READ], None, "ann") for name in ("kept", "revoked"))
    assert tokens.revoke("revoked", "bob")
    assert not tokens.revoke("revoked", "bob")
    assert tokens.find(revoked) is None
    assert tokens.find(kept) is not None


@pytest.mark.parametrize(
    ("name", "scopes", "source", "problem"),
    [
        ("two words", [Scope.READ], None, "name"),
        ("x", [], None, "at least one scope"),
        ("x", [Scope.DELETE], None, "needs a source"),
        ("x", [Scope.READ], "shop", "no other scope"),
        ("x", [Scope.DELETE], "cleanup:x", "source"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(
    tokens: Tokens, name: str, scopes: list[Scope], source: str | None, problem: str
) -> None:
    """Nothing is stored."""
    with pytest.raises(NotPossible, match=problem):
        tokens.create(name, scopes, source, "ann")
    assert tokens.all() == []


def test_creating_and_revoking_are_in_the_audit_trail(account: Account) -> None:
    """With the token's name, its scopes, and who did it."""
    account.tokens.create("catalog", [Scope.DELETE], "shop", "ann@desk")
    account.tokens.revoke("catalog", "bob@desk")
    entries = [(each["event"], each["by"], each["source"], each["detail"]) for each in account.audit.entries()]
    detail = {"token": "catalog", "scopes": ["delete"]}
    assert entries == [
        ("token_created", "ann@desk", "shop", detail),
        ("token_revoked", "bob@desk", "shop", detail),
    ]


def test_tokens_belong_to_one_account(redis_client: Redis, tokens: Tokens) -> None:
    """Another account on the same server does not know them."""
    secret = tokens.create("catalog", [Scope.READ], None, "ann")
    assert Account(settings_for_tests(account="other"), redis_client).tokens.find(secret) is None


def test_refusals_are_counted(tokens: Tokens) -> None:
    """Over all servers."""
    tokens.count_refusals(2)
    tokens.count_refusals(1)
    assert tokens.refusals() == 3
