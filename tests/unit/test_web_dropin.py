"""The drop-in: ImageKit's two deleting calls, in the vendor's shapes, words and status codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from redis import Redis

import web.credentials
from tasks.tokens import Scope
from tests.unit.support_queue import ids, raw, settings_for_tests
from tests.unit.support_web import StandInWorker, beat, context_on, until, with_app
from web.app import App
from web.context import Context
from worker.queue.operations import Queue
from worker.runtime.process import create_app

BULK = "/v1/files/batch/deleteByFileIds"
HELP = "For support kindly contact us at support@imagekit.io ."


@pytest.fixture
def context(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setattr(web.credentials, "REFUSAL_SECONDS", 0.01)
    context = context_on(redis_client, monkeypatch, web_wait_seconds=20)
    yield context
    context.close()


@pytest.fixture
def worker(queue: Queue) -> Iterator[StandInWorker]:
    with StandInWorker(queue) as worker:
        yield worker


def impatient(redis: Redis, monkeypatch: pytest.MonkeyPatch, **overrides: Any) -> Context:
    """A server that does not wait."""
    return context_on(redis, monkeypatch, web_wait_seconds=0, **overrides)


def bulk(context: Context, file_ids: object, path: str = BULK, **headers: str) -> httpx2.Response:
    body = json.dumps({"fileIds": file_ids})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return with_app(context, lambda client: client.post(path, content=body, headers=named))


def single(context: Context, file_id: str) -> httpx2.Response:
    return with_app(context, lambda client: client.delete(f"/v1/files/{file_id}"))


def requests_of(queue: Queue) -> list[str]:
    """The ids of all stored requests."""
    start = queue.keys.request("")
    return [key.removeprefix(start) for key in raw(queue).scan_iter("*request:about:*")]


# What became of the files


@pytest.mark.parametrize(
    ("file_ids", "status", "content"),
    [
        (["a1", "a2"], 200, {"successfullyDeletedFileIds": ["a1", "a2"]}),
        (["a1", "presumed1"], 200, {"successfullyDeletedFileIds": ["a1", "presumed1"]}),
        (
            ["a1", "missing1"],
            207,
            {
                "successfullyDeletedFileIds": ["a1"],
                "errors": [{"fileId": "missing1", "error": "The requested file(s) does not exist."}],
            },
        ),
        (
            ["bad1"],
            207,
            {
                "successfullyDeletedFileIds": [],
                "errors": [{"fileId": "bad1", "error": "Your request contains invalid fileId parameter."}],
            },
        ),
        (
            ["missing1", "missing2"],
            404,
            {
                "message": "The requested file(s) does not exist.",
                "help": HELP,
                "missingFileIds": ["missing1", "missing2"],
            },
        ),
    ],
)
def test_a_bulk_delete_is_answered_as_by_the_vendor(
    context: Context, worker: StandInWorker, file_ids: list[str], status: int, content: dict[str, Any]
) -> None:
    """Its status says whether all, some or none of the files are gone."""
    answer = bulk(context, file_ids)
    assert (answer.status_code, answer.json()) == (status, content)
    assert answer.content == json.dumps(content, separators=(",", ":")).encode()
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["X-Kitsweep-Request-Id"] in requests_of(worker.queue)


@pytest.mark.parametrize(
    ("file_id", "status", "content"),
    [
        ("a1", 204, None),
        ("presumed1", 204, None),
        ("missing1", 404, {"message": "The requested file does not exist.", "help": HELP}),
        ("bad1", 400, {"message": "Your request contains invalid fileId parameter.", "help": HELP}),
    ],
)
def test_a_single_delete_is_answered_as_by_the_vendor(
    context: Context, worker: StandInWorker, file_id: str, status: int, content: dict[str, str] | None
) -> None:
    """204 without a body, or why not."""
    answer = single(context, file_id)
    assert answer.status_code == status
    assert (answer.json() if answer.content else None) == content


@pytest.mark.parametrize("path", [BULK, BULK.lower(), BULK + "/", "/V1/FILES/Batch/deletebyfileids/"])
def test_paths_match_without_regard_to_case_and_a_trailing_slash(
    context: Context, worker: StandInWorker, path: str
) -> None:
    """SDKs differ in both."""
    assert bulk(context, ["a1"], path).status_code == 200


def test_a_file_id_in_the_path_keeps_its_case_and_is_decoded(context: Context, worker: StandInWorker) -> None:
    """Only the rest of the path is compared without regard to case."""
    assert with_app(context, lambda client: client.delete("/V1/Files/aBc%2Fd/")).status_code == 204
    assert worker.claims == [["aBc/d"]]


def test_a_cancelled_file_is_an_error(redis_client: Redis, monkeypatch: pytest.MonkeyPatch, queue: Queue) -> None:
    """It is neither deleted nor missing."""
    beat(queue)
    context = impatient(redis_client, monkeypatch)
    name = bulk(context, ["a1", "a2"]).headers["X-Kitsweep-Request-Id"]
    queue.cancel(name)
    answer = bulk(context, ["a1", "a2"])
    assert answer.status_code == 207
    assert answer.json()["errors"][0] == {"fileId": "a1", "error": "The deletion was cancelled."}


# What is refused


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", "fileIds parameter is missing."),
        ("", "fileIds parameter is missing."),
        ("null", "fileIds parameter is missing."),
        ("[]", "fileIds parameter is missing."),
        ('{"fileIds": null}', "fileIds parameter is missing."),
        ('{"fileIds": "a1"}', "fileIds should be an Array."),
        ('{"fileIds": []}', "fileIds is empty."),
        (json.dumps({"fileIds": ids("a", 101)}), "fileIds cannot have more than 100 items."),
        ('{"fileIds": ["a1", 2]}', "Your request contains invalid fileId parameter."),
        ('{"fileIds": ["a1", "b 2"]}', "Your request contains invalid fileId parameter."),
        ('{"fileIds": [[]]}', "Your request contains invalid fileId parameter."),
    ],
)
def test_the_vendors_checks_are_made(context: Context, queue: Queue, body: str, message: str) -> None:
    """With its words, before anything is enqueued; no worker is needed for that."""
    answer = with_app(context, lambda client: client.post(BULK, content=body))
    assert (answer.status_code, answer.json()) == (400, {"message": message, "help": HELP})
    assert requests_of(queue) == []


@pytest.mark.parametrize("body", ["{", "fileIds=a1", "\xff", "[" * 100_000])
def test_a_body_that_is_not_json_is_refused(context: Context, body: str) -> None:
    """The answer says so."""
    answer = with_app(context, lambda client: client.post(BULK, content=body.encode("latin-1")))
    assert (answer.status_code, answer.json()["message"]) == (400, "The body is not valid JSON.")


def test_a_body_that_is_too_large_is_refused(context: Context) -> None:
    """Before it is read to its end."""
    answer = with_app(context, lambda client: client.post(BULK, content=b"[" + b" " * 1024 * 1024))
    assert (answer.status_code, answer.headers["Connection"]) == (413, "close")


def test_without_a_credential_it_is_the_vendors_401(context: Context) -> None:
    """Of both calls, and of any other."""
    for path in (BULK, "/v1/files/purge"):
        answer = with_app(context, lambda client, path=path: client.post(path, auth=None, content="{}"))  # type: ignore[misc]
        assert answer.status_code == 401
        assert answer.json() == {"message": "Your request does not contain private API key.", "help": HELP}


def test_a_wrong_credential_is_the_vendors_403(context: Context) -> None:
    """As if ImageKit had been asked with a wrong key."""
    answer = with_app(context, lambda client: client.delete("/v1/files/a1", auth=("private_other", "")))
    assert answer.status_code == 403
    assert answer.json() == {"message": "Your account cannot be authenticated.", "help": HELP}


def test_a_token_deletes_under_its_source_and_its_name(context: Context, worker: StandInWorker) -> None:
    """The source cannot be chosen, and the audit trail has the name."""
    token = context.admin.tokens.create("catalog", [Scope.DELETE], "shop")
    auth = (token, "do_not_set")
    answer = with_app(context, lambda client: client.delete("/v1/files/a1", auth=auth))
    assert answer.status_code == 204
    report = context.client.status(answer.headers["X-Kitsweep-Request-Id"])
    assert report["source"] == "shop"
    accepted = next(each for each in context.admin._account.audit.entries() if each["event"] == "accepted")
    assert accepted["by"] == "token catalog"
    headers = {"X-Kitsweep-Source": "other"}
    answer = with_app(context, lambda client: client.delete("/v1/files/a2", headers=headers, auth=auth))
    assert (answer.status_code, "bound to the source shop" in answer.text) == (403, True)


def test_a_token_without_the_scope_deletes_nothing(context: Context, queue: Queue) -> None:
    """It is told which scope is missing."""
    token = context.admin.tokens.create("reader", [Scope.READ])
    answer = with_app(context, lambda client: client.delete("/v1/files/a1", auth=(token, "")))
    assert (answer.status_code, "scope delete" in answer.text) == (403, True)
    assert requests_of(queue) == []


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Kitsweep-Source", "two words"),
        ("X-Kitsweep-Hold-Seconds", "soon"),
        ("X-Kitsweep-Hold-Seconds", "nan"),
        ("X-Kitsweep-Hold-Seconds", "-1"),
        ("X-Kitsweep-Reason", "x" * 501),
        ("Idempotency-Key", "two words"),
        ("Idempotency-Key", "cleanup:x"),
    ],
)
def test_an_invalid_header_is_refused(context: Context, queue: Queue, header: str, value: str) -> None:
    """In the vendor's shape, with the rule; nothing is enqueued."""
    answer = bulk(context, ["a1"], **{header: value})
    assert answer.status_code == 400
    assert answer.json().keys() == {"message", "help"}
    assert requests_of(queue) == []


# Waiting


def test_what_is_not_final_in_time_is_202_with_what_is_known(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, queue: Queue
) -> None:
    """The same call again tells how it ended."""
    beat(queue)
    context = impatient(redis_client, monkeypatch, web_public_url="https://sweep.example")
    answer = bulk(context, ["a1", "a2"], X_Kitsweep_Source="shop", X_Kitsweep_Reason="tidy up")
    name = answer.headers["X-Kitsweep-Request-Id"]
    content = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"https://sweep.example/api/v1/requests/{name}"
    assert content["successfullyDeletedFileIds"] == []
    assert content["pendingFileIds"] == ["a1", "a2"]
    assert content["requestId"] == name
    assert content["message"].startswith("2 of 2 files are still to be deleted.")
    report = context.client.status(name)
    assert (report["source"], report["reason"]) == ("shop", "tidy up")
    with StandInWorker(queue):
        again = bulk(context_on(redis_client, monkeypatch), ["a1", "a2"])
    assert (again.status_code, again.headers["X-Kitsweep-Request-Id"]) == (200, name)


def test_a_hold_is_answered_at_once(context: Context, worker: StandInWorker) -> None:
    """Also when the call is repeated: the wait would be in vain."""
    for _ in range(2):
        answer = bulk(context, ["a1"], X_Kitsweep_Hold_Seconds="60")
        assert answer.status_code == 202
        assert "end of its hold" in answer.json()["message"]


def test_a_request_that_needs_approval_is_answered_at_once(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, worker: StandInWorker
) -> None:
    """With the guard's reason."""
    context = context_on(redis_client, monkeypatch, guards='{"http": {"max_files": 1}}')
    for _ in range(2):
        answer = bulk(context, ["a1", "a2"])
        assert answer.status_code == 202
        assert "waits for approval" in answer.json()["message"]


def test_a_server_that_stops_answers_with_what_is_known(context: Context, queue: Queue) -> None:
    """Those who wait get a 202, and can ask the next server."""
    beat(queue)

    async def stop_while_waiting() -> httpx2.Response:
        app = App(context)
        app.start()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://kitsweep", auth=("private_test", "")
        ) as client:
            waiting = asyncio.create_task(client.delete("/v1/files/a1"))
            await until(lambda: app._drop_in.watcher._waiting)
            app.answer_all()
            answer = await waiting
        await app.close()
        return answer

    answer = asyncio.run(asyncio.wait_for(stop_while_waiting(), 10))
    assert (answer.status_code, answer.json()["pendingFileIds"]) == (202, ["a1"])


# Repeats


def test_a_repeat_joins_the_open_request_and_the_one_that_just_ended(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, queue: Queue
) -> None:
    """In any order of the ids, and with duplicates: the set counts."""
    beat(queue)
    context = impatient(redis_client, monkeypatch)
    names = {bulk(context, each).headers["X-Kitsweep-Request-Id"] for each in (["a", "b"], ["b", "a", "b"])}
    with StandInWorker(queue):
        names.add(bulk(context_on(redis_client, monkeypatch), ["a", "b"]).headers["X-Kitsweep-Request-Id"])
    answer = bulk(context, ["b", "a"])
    assert answer.status_code == 200
    assert {*names, answer.headers["X-Kitsweep-Request-Id"]} == set(requests_of(queue))
    assert len(requests_of(queue)) == 1


def test_a_repeat_after_five_minutes_is_a_new_request(context: Context, worker: StandInWorker) -> None:
    """The file may exist again. Further repeats join the new one."""
    first = single(context, "a1").headers["X-Kitsweep-Request-Id"]
    raw(worker.queue).hincrby(worker.queue.keys.request(first), "finished_at", -300_001)
    second = single(context, "a1").headers["X-Kitsweep-Request-Id"]
    assert single(context, "a1").headers["X-Kitsweep-Request-Id"] == second != first
    raw(worker.queue).hincrby(worker.queue.keys.request(second), "finished_at", -300_001)
    third = single(context, "a1").headers["X-Kitsweep-Request-Id"]
    assert third not in {first, second}


@pytest.mark.parametrize(("age_ms", "joins"), [(0, True), (200_000, True), (301_000, False), (86_400_000 * 40, False)])
def test_a_repeat_joins_a_request_of_which_only_the_result_is_left(
    context: Context, worker: StandInWorker, age_ms: int, joins: bool
) -> None:
    """Once published, most requests have no other key; the result says when they ended."""
    first = single(context, "a1").headers["X-Kitsweep-Request-Id"]
    create_app(context.settings, worker.queue.redis).publisher.publish([first])
    assert requests_of(worker.queue) == []
    client, key = raw(worker.queue), worker.queue.keys.result(first)
    ended = context.client.status(first)["finished_at"]
    client.set(key, client.get(key).replace(f'"finished_at":"{ended}"', f'"finished_at":"{older(ended, age_ms)}"'))
    again = single(context, "a1")
    assert again.status_code == 204
    assert (again.headers["X-Kitsweep-Request-Id"] == first) == joins


def older(moment: str | None, age_ms: int) -> str:
    assert moment is not None
    return (datetime.fromisoformat(moment) - timedelta(milliseconds=age_ms)).isoformat(timespec="milliseconds")


def test_another_credential_does_not_join(context: Context, worker: StandInWorker) -> None:
    """It asks on its own account, and is listed so in the audit trail."""
    token = context.admin.tokens.create("catalog", [Scope.DELETE], "shop")
    ours = single(context, "a1").headers["X-Kitsweep-Request-Id"]
    theirs = with_app(context, lambda client: client.delete("/v1/files/a1", auth=(token, "")))
    assert theirs.status_code == 204
    assert theirs.headers["X-Kitsweep-Request-Id"] != ours


def test_an_idempotency_key_names_the_request(context: Context, worker: StandInWorker) -> None:
    """The same key with the same ids is the same request; with others it is refused."""
    for _ in range(2):
        answer = bulk(context, ["a1"], Idempotency_Key="order-17")
        assert (answer.status_code, answer.headers["X-Kitsweep-Request-Id"]) == (200, "order-17")
    assert bulk(context, ["a2"], Idempotency_Key="order-17").status_code == 422
    assert bulk(context, ["a1"]).headers["X-Kitsweep-Request-Id"] != "order-17"
    assert [claim for claim in worker.claims if "a2" in claim] == []


# Company


def test_single_deletes_of_many_callers_share_trips_and_batches(
    context: Context, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred at once are enqueued in a few scripts, and claimed in one or two batches."""
    beat(queue)
    worker = StandInWorker(queue)

    async def delete_all(client: httpx2.AsyncClient) -> list[int]:
        calls = [asyncio.create_task(client.delete(f"/v1/files/{file_id}")) for file_id in ids("a", 100)]
        await until(lambda: raw(queue).hget(queue.keys("waiting"), "http") == "100")
        with worker:
            return [(await call).status_code for call in calls]

    assert with_app(context, delete_all) == [204] * 100
    assert len(worker.claims) <= 2


# Trouble


def test_without_a_worker_nothing_is_enqueued(context: Context, queue: Queue) -> None:
    """The answer says what is missing, and when to come back."""
    for answer in (bulk(context, ["a1"]), single(context, "a1")):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "No worker is running" in answer.json()["message"]
    assert requests_of(queue) == []


def test_without_redis_it_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with the time to come back."""
    from web.context import Context as RealContext  # noqa: PLC0415

    context = RealContext(settings_for_tests(redis_url="redis://127.0.0.1:1/0"))
    answer = single(context, "a1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    context.close()


def test_the_header_asks_for_purge(redis_client: Redis, monkeypatch: pytest.MonkeyPatch, queue: Queue) -> None:
    """A call with it is another request than one without; a wrong value is refused."""
    context = impatient(redis_client, monkeypatch)
    beat(queue)
    plain, purging = (bulk(context, ["a"], **headers).json() for headers in ({}, {"X_Kitsweep_Purge": "wait"}))
    assert plain["requestId"] != purging["requestId"]
    assert raw(queue).hget(queue.keys.request(purging["requestId"]), "purge") == "wait"
    assert bulk(context, ["a"], X_Kitsweep_Purge="soon").status_code == 400
    context.close()
