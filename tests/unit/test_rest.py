"""The REST API: requests from their creation to their outcomes, over HTTP."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from redis import Redis

from tasks.tokens import Scope
from tests.unit import support_web
from tests.unit.support_queue import check_invariants, end_all, ids, must_claim, queue_on, settings_for_tests
from tests.unit.support_web import KEY, StandInWorker, context_on, with_app
from web.context import Context
from worker.queue.approvals import Approvals
from worker.queue.claims import end
from worker.queue.operations import CHUNK_IDS, NewRequest, Queue
from worker.states import Outcome

REQUESTS = "/api/v1/requests"
NDJSON = "application/x-ndjson"
GUARDS = {"guards": '{"guarded": {"max_files": 1}}'}


@pytest.fixture
def context(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    context = context_on(redis_client, monkeypatch, **GUARDS)
    yield context
    context.close()


@pytest.fixture
def queue(redis_client: Redis) -> Queue:
    return queue_on(redis_client, **GUARDS)


def call(context: Context, method: str, path: str, **more: Any) -> httpx2.Response:
    """Make a call with the account's own key, or with the token given."""
    auth = (more.pop("token", None) or KEY, "")
    return support_web.call(app_of(context), method, _path(path), **{"auth": auth, **more})


def call_and_wait(context: Context, path: str, prefer: str) -> httpx2.Response:
    """Read a request on a server that listens for the end of requests."""
    return with_app(context, lambda client: client.get(_path(path), headers={"Prefer": prefer}))


def _path(path: str) -> str:
    return path if path.startswith("/") else f"{REQUESTS}/{path}"


@lru_cache(maxsize=1)
def app_of(context: Context) -> FastAPI:
    """Build the application of a test once: it takes a tenth of a second."""
    return support_web.api_of(context)


def create(context: Context, file_ids: list[str], **more: Any) -> httpx2.Response:
    headers, token = more.pop("headers", {}), more.pop("token", None)
    return call(context, "POST", REQUESTS, json={"file_ids": file_ids, **more}, headers=headers, token=token)


def stream(context: Context, body: Any, content_type: str = "text/plain", **more: Any) -> httpx2.Response:
    headers = {"Content-Type": content_type, **more.pop("headers", {})}
    return call(context, "POST", REQUESTS, content=body, headers=headers, params=more)


# Creating


def test_a_request_is_created_from_json(context: Context, queue: Queue) -> None:
    """202, where to look, and the report so far."""
    answer = create(context, ["a", "b", "a"], source="shop", reason="old", hold_seconds=60)
    report = answer.json()
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
    assert answer.headers["Location"] == f"{REQUESTS}/{report['request_id']}"
    assert (report["state"], report["total"], report["source"], report["reason"]) == ("QUEUED", 2, "shop", "old")
    check_invariants(queue, {report["request_id"]: {"a", "b"}})
    assert queue.claim("t") is None, "it is on hold"
    (entry,) = call(context, "GET", "/api/v1/audit").json()["entries"]
    assert (entry["by"], entry["detail"]["hold_ms"]) == ("private key", 60_000)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", "a\nb\n# a comment\n\nc\n"),
        ("text/plain; charset=utf-8", "a\r\nb\r\nc"),
        ("text/csv", "fileId,name\na,x\nb,y\nc,z\n"),
        (NDJSON, '"a"\n{"fileId": "b"}\n{"file_id": "c", "outcome": "failed"}\n'),
    ],
)
def test_a_request_is_created_from_a_stream(context: Context, queue: Queue, content_type: str, body: str) -> None:
    """In the formats of the command line; source, reason and hold are query parameters."""
    answer = stream(context, body, content_type, source="shop", reason="old")
    report = answer.json()
    assert (answer.status_code, report["total"], report["source"], report["reason"]) == (202, 3, "shop", "old")
    check_invariants(queue, {report["request_id"]: {"a", "b", "c"}})


def test_a_long_stream_is_one_request(context: Context, queue: Queue) -> None:
    """However it is cut into pieces on its way."""

    async def pieces() -> Any:
        text = "\n".join(ids("a", 3 * CHUNK_IDS)).encode()
        for start in range(0, len(text), 7001):
            yield text[start : start + 7001]

    report = stream(context, pieces()).json()
    check_invariants(queue, {report["request_id"]: {*ids("a", 3 * CHUNK_IDS)}})


@pytest.mark.parametrize("line", [1, CHUNK_IDS + 1, 2 * CHUNK_IDS])
def test_a_mistake_anywhere_enqueues_nothing(context: Context, queue: Queue, line: int) -> None:
    """The problem names the line, and what a file id is."""
    lines = ids("a", 2 * CHUNK_IDS)
    lines[line - 1] = "not good"
    answer = stream(context, "\n".join(lines))
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(f"line {line}: a file id is ")
    assert queue.redis.keys("*request:*") == []


def test_a_body_that_is_cut_off_enqueues_nothing(context: Context, queue: Queue) -> None:
    """All or nothing."""

    async def pieces() -> Any:
        yield "\n".join(ids("a", CHUNK_IDS + 10)).encode()
        raise OSError("the caller went away")

    assert stream(context, pieces()).status_code == 500
    assert queue.claim("t") is None


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("{", "body: Invalid JSON"),
        ("[]", "body: "),
        ("{}", "file_ids: Field required"),
        ('{"file_ids": []}', "file_ids: must contain at least one file id"),
        ('{"file_ids": "a"}', "file_ids: Input should be a valid array"),
        ('{"file_ids": ["a", 1]}', "file_ids.1: Input should be a valid string"),
        ('{"file_ids": ["a", "a b"]}', "file_ids[1]: a file id is"),
        ('{"file_ids": ["a"], "source": "a b"}', "source: a source is"),
        ('{"file_ids": ["a"], "reason": "a\\u0000"}', "reason: a reason is"),
        ('{"file_ids": ["a"], "hold_seconds": -1}', "hold_seconds: a hold is"),
        ('{"file_ids": ["a"], "fileIds": []}', "fileIds: Extra inputs are not permitted"),
    ],
)
def test_invalid_json_is_refused(context: Context, queue: Queue, body: str, detail: str) -> None:
    """The problem says what, and where."""
    answer = call(context, "POST", REQUESTS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(detail)
    assert queue.redis.keys("*request:*") == []


@pytest.mark.parametrize(
    ("headers", "status", "detail"),
    [
        ({"Content-Type": "application/xml"}, 415, "Content-Type: send application/json,"),
        ({"Content-Type": "text/plain", "Content-Encoding": "gzip"}, 415, "Content-Encoding: "),
        ({"Content-Type": "text/plain", "Idempotency-Key": "a b"}, 422, "Idempotency-Key: a request id is"),
        ({"Content-Type": "text/plain", "Idempotency-Key": "cleanup:x"}, 422, "Idempotency-Key: ids that start"),
    ],
)
def test_headers_that_cannot_be_used_are_refused(
    context: Context, headers: dict[str, str], status: int, detail: str
) -> None:
    """They are named."""
    answer = call(context, "POST", REQUESTS, content="a\n", headers=headers)
    assert (answer.status_code, answer.json()["detail"][: len(detail)]) == (status, detail)


def test_json_that_is_too_large_is_refused(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream has no bound."""
    monkeypatch.setattr("web.api.bodies.MAX_JSON_BYTES", 1000)
    answer = create(context, ids("a", 200))
    assert (answer.status_code, "send a stream" in answer.json()["detail"]) == (413, True)


@pytest.mark.parametrize("count", [1, CHUNK_IDS + 1])
def test_the_idempotency_key_is_the_request_id(context: Context, queue: Queue, count: int) -> None:
    """The same again changes nothing; something else with the same key is refused."""
    headers = {"Idempotency-Key": "key-1"}
    first, again = (create(context, ids("a", count), headers=headers) for _ in range(2))
    quoted = create(context, ids("a", count), headers={"Idempotency-Key": '"key-1"'})
    assert [first.status_code, again.status_code, quoted.status_code] == [202, 200, 200]
    assert first.json() == again.json() == quoted.json()
    assert again.headers["Location"] == f"{REQUESTS}/key-1"
    streamed = stream(context, "\n".join(ids("a", count)), source="http", headers=headers)
    assert streamed.status_code == 200, "the same content in another form is the same"
    other = create(context, ids("b", count), headers=headers)
    assert (other.status_code, "key-1 was used before" in other.json()["detail"]) == (422, True)
    check_invariants(queue, {"key-1": {*ids("a", count)}})


def test_a_token_creates_requests_of_its_source_alone(context: Context) -> None:
    """It sees, waits for and cancels these, and no others."""
    token = context.admin.tokens.create("shop", [Scope.DELETE], "shop")
    assert create(context, ["a"], source="blog", token=token).status_code == 403
    own = create(context, ["a"], token=token).json()
    other = create(context, ["a"], source="blog").json()
    assert own["source"] == "shop"
    for path, status in ((own["request_id"], 200), (other["request_id"], 404)):
        assert call(context, "GET", path, token=token).status_code == status
        assert call(context, "GET", f"{path}/outcomes", token=token).status_code == status
    assert call(context, "POST", f"{other['request_id']}/cancel", token=token).status_code == 403
    assert call(context, "POST", f"{own['request_id']}/cancel", token=token).json()["state"] == "REVOKED"
    assert call(context, "GET", REQUESTS, token=token).status_code == 403


# Reading


def test_a_caller_may_wait_for_the_end(context: Context, queue: Queue) -> None:
    """It is answered as soon as the request is final, and told for how long it would have waited."""
    context.client.enqueue(["a"], request_id="r")
    with StandInWorker(queue):
        answer = call_and_wait(context, "r", "respond-async, wait=20")
    assert (answer.json()["state"], answer.headers["Preference-Applied"]) == ("SUCCESS", "wait=20")
    assert call(context, "GET", "r", headers={"Prefer": "wait=0"}).json()["successfully_deleted_file_ids"] == ["a"]


@pytest.mark.parametrize(
    ("prefer", "applied"), [("wait=1", "wait=1"), ("wait=999999", "wait=2"), ("", None), ("x", None)]
)
def test_waiting_has_an_end(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, prefer: str, applied: str | None
) -> None:
    """After the time asked for, or that of the settings, the report is as it is."""
    context = context_on(redis_client, monkeypatch, web_wait_seconds=2)
    context.client.enqueue(["a"], request_id="r")
    answer = call_and_wait(context, "r", prefer)
    assert (answer.json()["state"], answer.headers.get("Preference-Applied")) == ("QUEUED", applied)
    context.close()


@pytest.mark.parametrize("path", ["nobody", "nobody/outcomes"])
def test_an_unknown_request_is_404(context: Context, path: str) -> None:
    """Also once it has expired; what cannot be an id is told so."""
    answer = call(context, "GET", path)
    assert (answer.status_code, answer.json()["detail"]) == (404, "request nobody: unknown or expired")
    assert call(context, "GET", path.replace("nobody", "no%20body")).status_code == 422


def mixed(queue: Queue) -> list[str]:
    """A request of 2500 ids, of which every outcome has some."""
    files = [*ids("a", 2499), 'we"ird,id']
    queue.enqueue(NewRequest("r", "s"), files)
    outcomes = [Outcome.DELETED, Outcome.NOT_FOUND, Outcome.PRESUMED_DELETED, Outcome.FAILED]
    for number in range(25):
        end_all(queue, must_claim(queue, f"t{number}"), outcomes[number % 4], 'said "no"\nür')
    return files


@pytest.mark.parametrize("as_csv", [False, True])
@pytest.mark.parametrize("by_accept", [False, True])
def test_outcomes_are_streamed_in_both_formats(context: Context, queue: Queue, as_csv: bool, by_accept: bool) -> None:
    """Chosen by Accept or by a parameter; one line per file."""
    files = mixed(queue)
    content_type = "text/csv" if as_csv else NDJSON
    asked: dict[str, Any] = (
        {"headers": {"Accept": content_type}} if by_accept else {"params": {"format": "csv" if as_csv else "ndjson"}}
    )
    answer = call(context, "GET", "r/outcomes", **asked)
    assert answer.headers["Content-Type"].startswith(content_type)
    rows = (
        list(csv.DictReader(io.StringIO(answer.text)))
        if as_csv
        else [json.loads(line) for line in answer.text.splitlines()]
    )
    assert sorted(row["file_id"] for row in rows) == sorted(files)
    assert rows[0].keys() == {"file_id", "outcome", "error", "attempts", "at"}
    assert {row["error"] for row in rows} == {'said "no"\nür'}


def test_some_outcomes_alone(context: Context, queue: Queue) -> None:
    """Repeatable; what is no outcome is refused."""
    mixed(queue)
    answer = call(context, "GET", "r/outcomes", params={"outcome": ["failed", "not_found"]})
    assert {json.loads(line)["outcome"] for line in answer.text.splitlines()} == {"failed", "not_found"}
    assert call(context, "GET", "r/outcomes", params={"outcome": "x"}).status_code == 422


def test_requests_are_listed_page_by_page(context: Context) -> None:
    """By opaque cursors, which Link carries as well, with the filters."""
    for number in range(5):
        context.client.enqueue(["a"], request_id=f"r{number}", reason="Old drafts")
    context.client.enqueue(["a"], request_id="other", source="blog")
    first = call(context, "GET", REQUESTS, params={"limit": 2, "q": "drafts", "state": ["QUEUED", "PROGRESS"]})
    pages = [first]
    while "next" in pages[-1].links:
        pages.append(call(context, "GET", str(pages[-1].links["next"]["url"])))
    found = [[report["request_id"] for report in page.json()["requests"]] for page in pages]
    assert found == [["r4", "r3"], ["r2", "r1"], ["r0"]]
    assert first.json()["next"] in first.links["next"]["url"]
    assert pages[-1].json()["next"] is None
    names = call(
        context, "GET", REQUESTS, params={"source": "blog", "since": "2020-01-01", "until": "2100-01-01T00:00Z"}
    )
    assert [report["request_id"] for report in names.json()["requests"]] == ["other"]


@pytest.mark.parametrize(
    "params",
    [
        {"after": "x"},
        {"after": "ü"},
        {"after": "YXVkaXQueA"},
        {"limit": 0},
        {"limit": 1001},
        {"state": "OPEN"},
        {"x": 1},
        {"since": "x"},
    ],
)
def test_filters_that_cannot_be_used_are_refused(context: Context, params: dict[str, Any]) -> None:
    """With the name of the parameter."""
    answer = call(context, "GET", REQUESTS, params=params)
    assert answer.status_code == 422
    assert next(iter(params)) in answer.json()["detail"]


# Deciding


def test_a_request_is_cancelled_once(context: Context, queue: Queue) -> None:
    """Again changes nothing; what was done already is 409."""
    context.client.enqueue(["a"], request_id="r")
    token = context.admin.tokens.create("ops", [Scope.OPERATE])
    for _ in range(2):
        answer = call(context, "POST", "r/cancel", token=token)
        assert (answer.status_code, answer.json()["state"]) == (200, "REVOKED")
    context.client.enqueue(["b"], request_id="done")
    end_all(queue, must_claim(queue, "t"))
    assert call(context, "POST", "done/cancel").status_code == 409
    assert call(context, "POST", "nobody/cancel").status_code == 404
    events = call(context, "GET", "/api/v1/audit").json()["entries"]
    assert [entry["by"] for entry in events if entry["event"] == "cancelled"] == ["token ops"]


def test_failed_files_are_retried(context: Context, queue: Queue) -> None:
    """As a new request that names the old one; asking again gives the same one."""
    queue.enqueue(NewRequest("r", "shop"), ["a", "b"])
    claim = must_claim(queue, "t")
    assert call(context, "POST", "r/retry").status_code == 409
    queue.settle("t", end(claim.items[:1], Outcome.FAILED) + end(claim.items[1:], Outcome.DELETED))
    first, again = (call(context, "POST", "r/retry") for _ in range(2))
    assert [first.status_code, again.status_code] == [202, 200]
    assert first.json() == again.json()
    report = call(context, "GET", str(first.headers["Location"])).json()
    assert (report["retry_of"], report["total"], report["source"]) == ("r", 1, "shop")
    assert call(context, "POST", "nobody/retry").status_code == 404


def test_what_a_guard_holds_is_approved_or_rejected(context: Context, queue: Queue) -> None:
    """By somebody who may, once; both stand in the audit trail."""
    for name in ("yes", "no"):
        context.client.enqueue(["a", "b"], source="guarded", request_id=name)
    token = context.admin.tokens.create("boss", [Scope.APPROVE])
    held = call(context, "GET", "/api/v1/approvals", token=token).json()["requests"]
    assert {each["request_id"] for each in held} == {"yes", "no"}
    assert held[0]["why"] == "2 files are more than max_files = 1"
    assert call(context, "POST", "yes/approve", token=token).json()["state"] == "QUEUED"
    assert call(context, "POST", "no/reject", token=token).json()["state"] == "REVOKED"
    assert call(context, "POST", "no/approve", token=token).status_code == 409
    assert call(context, "POST", "nobody/approve").status_code == 404
    assert call(context, "POST", "yes/reject").status_code == 409
    entries = call(context, "GET", "/api/v1/audit").json()["entries"]
    decided = [(entry["event"], entry["by"]) for entry in entries if entry["event"] in {"approved", "rejected"}]
    assert decided == [("approved", "token boss"), ("rejected", "token boss")]
    assert len(must_claim(queue, "t").items) == 2


def test_nobody_approves_an_own_request_but_may_cancel_it(context: Context, queue: Queue) -> None:
    """The requester gets a 403, also by the private key; another caller's approval stands in the trail."""
    both = context.admin.tokens.create("both", [Scope.DELETE, Scope.APPROVE], "guarded")
    boss = context.admin.tokens.create("boss", [Scope.APPROVE])
    for name, token in (("a", both), ("b", both), ("c", None)):
        body = {"file_ids": ["1", "2"], "source": "guarded"}
        assert (
            call(context, "POST", REQUESTS, json=body, headers={"Idempotency-Key": name}, token=token).status_code
            == 202
        )
    for name, token in (("a", both), ("c", None)):
        refused = call(context, "POST", f"{name}/approve", token=token)
        assert (refused.status_code, "your own" in refused.json()["detail"]) == (403, True)
    assert call(context, "POST", "a/cancel", token=both).json()["state"] == "REVOKED"
    assert call(context, "POST", "b/approve", token=boss).status_code == 200
    entries = call(context, "GET", "/api/v1/audit").json()["entries"]
    who = [(each["event"], each["by"]) for each in entries if each["request"] == "b"]
    assert who == [("held", "token both"), ("approved", "token boss")]
    own = Approvals(queue, allow_own=True)
    assert own.approve("c", "private key") == "approved"


# The account


def test_calls_are_paused_and_resumed(context: Context) -> None:
    """With a reason, and who did it."""
    token = context.admin.tokens.create("ops", [Scope.OPERATE])
    paused = call(context, "POST", "/api/v1/pause", params={"reason": "maintenance"}, token=token).json()
    assert (paused["pause"]["by"], paused["pause"]["reason"]) == ("operator", "maintenance")
    assert call(context, "GET", "/api/v1/stats").json()["pause"] == paused["pause"]
    assert call(context, "POST", "/api/v1/resume", token=token).json()["pause"] is None
    entries = call(context, "GET", "/api/v1/audit").json()["entries"]
    assert [entry["event"] for entry in entries if entry["by"] == "token ops"] == ["paused", "resumed"]


def test_the_audit_trail_is_read_page_by_page(context: Context) -> None:
    """Oldest first, between two times."""
    for number in range(5):
        context.client.enqueue(["a"], request_id=f"r{number}")
    page = call(context, "GET", "/api/v1/audit", params={"limit": 2})
    names = []
    while True:
        names += [entry["request"] for entry in page.json()["entries"]]
        if "next" not in page.links:
            break
        page = call(context, "GET", str(page.links["next"]["url"]))
    assert names == [f"r{number}" for number in range(5)]
    for moment in ("2020-01-01", "0235-11-30T20:53:46Z", "0001-01-01T00:00:00+14:00"):
        assert call(context, "GET", "/api/v1/audit", params={"until": moment}).json()["entries"] == []
        assert call(context, "GET", REQUESTS, params={"since": moment}).status_code == 200


def test_what_became_of_a_file_is_found(context: Context, queue: Queue) -> None:
    """In each of its requests, and whether a call of ours has deleted it lately."""
    context.client.enqueue(["a", "b"], request_id="r", source="shop")
    end_all(queue, must_claim(queue, "t"))
    answer = call(context, "GET", "/api/v1/files/a").json()
    (trace,) = answer["requests"]
    assert (answer["file_id"], answer["deleted_lately"], answer["next"]) == ("a", True, None)
    assert (trace["request_id"], trace["source"], trace["state"], trace["attempts"]) == ("r", "shop", "deleted", 1)
    nobody = call(context, "GET", "/api/v1/files/nobody").json()
    assert (nobody["requests"], nobody["deleted_lately"]) == ([], False)
    assert call(context, "GET", "/api/v1/files/a%20b").status_code == 422


# Trouble


@pytest.mark.real_server
@pytest.mark.parametrize("count", [1, CHUNK_IDS + 10])
def test_a_full_redis_is_503_with_retry_after(real_redis: Redis, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Nothing was enqueued, and the same call works once there is room."""
    context = context_on(real_redis, monkeypatch)
    assert call(context, "GET", "/api/v1/stats").status_code == 200
    real_redis.config_set("maxmemory", "1mb")
    try:
        for answer in (create(context, ids("a", count)), stream(context, "\n".join(ids("a", count)))):
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert "Nothing was enqueued" in answer.json()["detail"]
        assert queue_on(real_redis).claim("t") is None
    finally:
        real_redis.config_set("maxmemory", "0")
    assert create(context, ids("a", count)).status_code == 202
    context.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", REQUESTS),
        ("GET", REQUESTS),
        ("GET", "r"),
        ("GET", "r/outcomes"),
        ("POST", "r/cancel"),
        ("POST", "r/retry"),
        ("GET", "/api/v1/stats"),
        ("POST", "/api/v1/pause"),
        ("GET", "/api/v1/audit"),
        ("GET", "/api/v1/files/a"),
        ("POST", "/api/v1/cleanup/off"),
    ],
)
def test_without_redis_it_is_503_with_retry_after(method: str, path: str) -> None:
    """Not an error of ours, and it says where Redis was looked for."""
    context = Context(settings_for_tests())
    body = {"json": {"file_ids": ["a"]}} if path == REQUESTS and method == "POST" else {}
    answer = call(context, method, path, **body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "127.0.0.1:1/0" in answer.json()["detail"]
    context.close()


def test_a_stream_that_falls_silent_is_dropped(context: Context, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds no thread for ever, and nothing of it is enqueued."""
    monkeypatch.setattr("web.api.bodies.SILENT_SECONDS", 0.1)

    async def pieces() -> Any:
        yield "\n".join(ids("a", CHUNK_IDS + 10)).encode()
        await asyncio.sleep(60)

    answer = stream(context, pieces())
    assert (answer.status_code, "Nothing was enqueued" in answer.json()["detail"]) == (408, True)
    assert queue.claim("t") is None


# Who may


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", REQUESTS, {Scope.DELETE}),
        ("GET", REQUESTS, {Scope.READ}),
        ("GET", "r", {Scope.READ, Scope.DELETE}),
        ("GET", "r/outcomes", {Scope.READ, Scope.DELETE}),
        ("POST", "r/cancel", {Scope.DELETE, Scope.OPERATE}),
        ("POST", "r/retry", {Scope.OPERATE}),
        ("GET", "/api/v1/failures", {Scope.READ}),
        ("GET", "/api/v1/failures/files", {Scope.READ}),
        ("POST", "/api/v1/failures/retry", {Scope.OPERATE}),
        ("POST", "r/approve", {Scope.APPROVE}),
        ("POST", "r/reject", {Scope.APPROVE}),
        ("GET", "/api/v1/approvals", {Scope.READ, Scope.APPROVE}),
        ("GET", "/api/v1/stats", {Scope.READ}),
        ("POST", "/api/v1/pause", {Scope.OPERATE}),
        ("POST", "/api/v1/resume", {Scope.OPERATE}),
        ("GET", "/api/v1/audit", {Scope.READ}),
        ("GET", "/api/v1/files/a", {Scope.READ}),
        ("GET", "/api/v1/cleanup/rules", {Scope.READ}),
        ("POST", "/api/v1/cleanup/rules/x/dry-run", {Scope.READ, Scope.OPERATE}),
        ("POST", "/api/v1/cleanup/on", {Scope.OPERATE}),
        ("POST", "/api/v1/cleanup/off", {Scope.OPERATE}),
        ("GET", "/openapi.json", {*Scope}),
        ("GET", "/docs", {*Scope}),
    ],
)
def test_every_operation_needs_a_scope(
    fake_redis: Redis, monkeypatch: pytest.MonkeyPatch, method: str, path: str, needed: set[Scope]
) -> None:
    """One of some; without a credential nothing is answered."""
    context = context_on(fake_redis, monkeypatch)
    context.client.enqueue(["a"], request_id="r")
    assert call(context, method, path, headers={"Authorization": "Bearer"}, auth=None).status_code == 401
    for scope in Scope:
        token = context.admin.tokens.create(f"only-{scope}", [scope], "default" if scope is Scope.DELETE else None)
        assert (call(context, method, path, token=token).status_code == 403) == (scope not in needed), scope
    context.close()


def test_a_request_may_ask_for_purge(context: Context, queue: Queue) -> None:
    """In JSON and in a stream; URLs that come along are kept, the others are looked up first."""
    files = [{"fileId": "a", "url": "https://h/a.jpg?x"}, "b"]
    whole = call(context, "POST", REQUESTS, json={"file_ids": files, "purge": True})
    assert (whole.status_code, whole.json()["purge_pending"]) == (202, 0)
    line = '{"fileId": "c", "url": "https://h/c.jpg"}'
    streamed = call(context, "POST", f"{REQUESTS}?purge=wait", content=line, headers={"Content-Type": NDJSON})
    assert streamed.status_code == 202
    keys, redis = queue.keys, queue.redis
    assert redis.hgetall(keys.request(whole.json()["request_id"], "purge")) == {"a": "https://h/a.jpg"}
    assert redis.zrange(keys("lookups"), 0, -1) == [whole.json()["request_id"]]
    assert must_claim(queue, "t").request_ids() == [streamed.json()["request_id"]]
    refused = call(context, "POST", REQUESTS, json={"file_ids": ["a"], "purge": "yes"})
    assert (refused.status_code, "purge" in refused.json()["detail"]) == (422, True)
    assert call(context, "GET", "/api/v1/purges").json()["lookups"] == 1
