"""HTTP callers of several accounts: the drop-in goes by the credential, the REST API by a parameter or the token."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis

from simulator import Simulator
from tasks.tokens import Scope
from tests.unit.support_queue import raw
from tests.unit.support_web import KEY, StandInWorker, api_of, basic, call, context_on, with_app
from web.context import Context
from worker.accounts import settings_of
from worker.queue.operations import NewRequest, Queue

BULK = "/v1/files/batch/deleteByFileIds"
KEYS = {"default": KEY, "shop": "private_shop", "blog": "private_blog"}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """Give the API of the account blog."""
    with Simulator(3, private_key="private_blog") as sim:
        yield sim


@pytest.fixture
def context(redis_client: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sim: Simulator) -> Context:
    """Return the context of a server for three accounts."""
    path = tmp_path / "accounts.toml"
    path.write_text(
        f"[accounts.shop]\nkey = 'private_shop'\n[accounts.blog]\nkey = 'private_blog'\nbase_url = '{sim.url}'\n",
        "utf-8",
    )
    path.chmod(0o600)
    return context_on(redis_client, monkeypatch, accounts_file=str(path), web_wait_seconds=10)


@pytest.fixture
def queues(context: Context, redis_client: Redis) -> dict[str, Queue]:
    """Return the queue of each account."""
    return {name: Queue(redis_client, settings_of(context.settings, name)) for name in KEYS}


@pytest.fixture
def workers(queues: dict[str, Queue]) -> Iterator[dict[str, StandInWorker]]:
    """Give a worker of each account."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(StandInWorker(queue)) for name, queue in queues.items()}


def test_the_drop_in_goes_by_the_private_key(context: Context, workers: dict[str, StandInWorker]) -> None:
    """The same file ids at the same time are deleted in each account, by calls of its own."""

    async def delete_all(client: httpx2.AsyncClient) -> list[httpx2.Response]:
        calls = (client.post(BULK, json={"fileIds": ["a", "b"]}, auth=(key, "")) for key in KEYS.values())
        return await asyncio.gather(*calls)

    responses = with_app(context, delete_all)
    assert [each.json() for each in responses] == [{"successfullyDeletedFileIds": ["a", "b"]}] * 3
    assert len({each.headers["X-Kitsweep-Request-Id"] for each in responses}) == 3
    assert {name: worker.claims for name, worker in workers.items()} == {name: [["a", "b"]] for name in KEYS}


def test_the_drop_in_goes_by_the_account_of_a_token(context: Context, workers: dict[str, StandInWorker]) -> None:
    """A token without one is for the account of the environment, or for that in a header."""
    bound = context.tokens.create("bound", [Scope.DELETE], "s", account="shop")
    free = context.tokens.create("free", [Scope.DELETE], "s")

    def delete(token: str, account: str | None = None) -> httpx2.Response:
        headers = {"X-Kitsweep-Account": account} if account else {}
        return with_app(
            context, lambda client: client.post(BULK, json={"fileIds": ["a"]}, auth=(token, ""), headers=headers)
        )

    assert [delete(bound).status_code, delete(free).status_code, delete(free, "blog").status_code] == [200, 200, 200]
    assert {name: worker.claims for name, worker in workers.items()} == {name: [["a"]] for name in KEYS}
    refused = delete(bound, "blog")
    assert (refused.status_code, refused.json()["message"]) == (403, "The token bound is bound to the account shop.")
    unknown = delete(free, "nowhere")
    assert unknown.status_code == 400
    assert "there is no account 'nowhere'; the accounts are: default, shop, blog" in unknown.json()["message"]


def test_other_calls_are_passed_to_the_api_of_the_key(context: Context) -> None:
    """Each account may have a base URL of its own."""
    found = with_app(context, lambda client: client.get("/v1/files", auth=("private_blog", "")))
    assert len(found.json()) == 3


def test_the_rest_api_takes_the_account(context: Context, queues: dict[str, Queue]) -> None:
    """In the body or the query; a token that is bound needs none, and may name no other."""
    api = api_of(context)
    free = context.tokens.create("free", [Scope.DELETE, Scope.READ, Scope.OPERATE], "s")
    bound = context.tokens.create("bound", [Scope.DELETE, Scope.READ, Scope.OPERATE], "s", account="blog")

    def rest(method: str, path: str, token: str, **more: Any) -> httpx2.Response:
        return call(api, method, f"/api/v1{path}", headers={"Authorization": basic(token)}, **more)

    made = [
        rest("POST", "/requests", free, json={"file_ids": ["a"]}),
        rest("POST", "/requests", free, json={"file_ids": ["a"], "account": "shop"}),
        rest("POST", "/requests?account=shop", free, json={"file_ids": ["b", "c"]}),
        rest("POST", "/requests", bound, json={"file_ids": ["a"]}),
    ]
    assert [each.status_code for each in made] == [202] * 4
    waiting = {name: sum(map(int, raw(queue).hvals(queue.keys("waiting")))) for name, queue in queues.items()}
    assert waiting == {"default": 1, "shop": 3, "blog": 1}
    assert rest("GET", "/stats?account=shop", free).json()["waiting"] == 3
    assert rest("GET", "/stats", bound).json()["waiting"] == 1
    assert len(rest("GET", "/requests?account=shop", free).json()["requests"]) == 2
    of_shop = made[1].json()["request_id"]
    assert rest("GET", f"/requests/{of_shop}", free).status_code == 404
    assert rest("GET", f"/requests/{of_shop}?account=shop", free).json()["total"] == 1
    assert rest("POST", "/pause?account=blog", free).json()["pause"]["by"] == "operator"
    assert rest("GET", "/stats?account=shop", free).json()["pause"] is None
    for path in ("/stats?account=shop", "/requests?account=default"):
        assert rest("GET", path, bound).status_code == 403
    assert rest("POST", "/requests", bound, json={"file_ids": ["a"], "account": "shop"}).status_code == 403
    unknown = rest("GET", "/stats?account=nowhere", free)
    assert (unknown.status_code, "the accounts are: default, shop, blog" in unknown.json()["detail"]) == (422, True)


def test_the_server_is_ready_with_the_keys_of_the_file(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, context: Context
) -> None:
    """The environment needs no key then."""
    file = context.settings.accounts_file
    without = context_on(redis_client, monkeypatch, accounts_file=file, private_key=None)
    assert call(api_of(without), "GET", "/readyz").status_code == 200


def test_metrics_show_the_accounts_that_the_caller_may_use(context: Context, queues: dict[str, Queue]) -> None:
    """All to a token without an account, and one to a token or a private key that is bound to it."""
    queues["shop"].enqueue(NewRequest("r", "s"), ["a"])
    free = context.tokens.create("prometheus", [Scope.READ])
    bound = context.tokens.create("shop", [Scope.READ], account="shop")
    for secret, accounts in ((free, set(KEYS)), (bound, {"shop"}), (KEYS["blog"], {"blog"})):
        text = call(api_of(context), "GET", "/metrics", auth=(secret, "")).text
        assert set(re.findall(r'^kitsweep_workers\{account="(\w+)"\}', text, re.MULTILINE)) == accounts
        assert ('kitsweep_files_waiting{account="shop",source="s"} 1.0' in text) == ("shop" in accounts)
