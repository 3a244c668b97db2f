"""Each page of the dashboard: what it shows, and what its forms do."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from tasks.client import checked_request
from tasks.tokens import Scope
from tests.unit.support_dashboard import Browser, text_of
from tests.unit.support_queue import end_all, must_claim, queue_on
from tests.unit.support_web import context_on
from tests.waiting import wait_until
from web.context import Context
from worker.states import Outcome

GUARDS = '{"shop": {"max_files": 2}}'
LOCKED = "The file is <locked>."
RULES = '[rules.old-drafts]\npath = "/drafts/"\nolder_than = "30d"\nschedule = "0 3 * * *"\n'


@pytest.fixture
def context(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Context]:
    (tmp_path / "rules.toml").write_text(RULES, "utf-8")
    context = context_on(fake_redis, monkeypatch, guards=GUARDS, cleanup_file=str(tmp_path / "rules.toml"))
    yield context
    context.close()


@pytest.fixture
def ann(context: Context) -> Browser:
    return Browser(context)


def failed(context: Context, redis: Redis, *file_ids: str, error: str = LOCKED) -> str:
    """Return a request whose files have all failed."""
    queue, request_id = queue_on(redis), context.client.enqueue(file_ids, source="catalog", reason="old")
    end_all(queue, must_claim(queue, "t"), Outcome.FAILED, error)
    return request_id


def events(context: Context) -> list[tuple[str, str]]:
    """Return who did what."""
    return [(each["event"], each["by"]) for each in context.admin.audit(timedelta(days=1))]


def test_pausing_asks_is_done_and_audited(ann: Browser) -> None:
    """Under the name of the token, with the reason; the overview says so."""
    assert "Pause all calls to ImageKit?" in ann.text("/pause")
    assert ann.post("/pause", {"reason": "wrong list?"}).headers["location"] == "/dashboard?done=paused"
    assert "Paused by token ann" in ann.text("?done=paused")
    assert "“wrong list?”" in ann.text("")
    ann.post("/resume")
    assert [each for each in events(ann.context) if each[0] in {"paused", "resumed"}] == [
        ("paused", "token ann"),
        ("resumed", "token ann"),
    ]


def test_requests_are_listed_by_the_filter_of_the_url(ann: Browser, fake_redis: Redis) -> None:
    bad = failed(ann.context, fake_redis, "a", "b")
    good = ann.context.client.enqueue(["c"], source="editorial", reason="press pictures")
    for query, shown, hidden in (
        ("state=FAILURE", bad, good),
        ("source=editorial", good, bad),
        ("q=PRESS", good, bad),
        ("state=QUEUED&state=PROGRESS", good, bad),
    ):
        page = ann.get(f"/requests?{query}").text
        assert (shown in page, hidden in page) == (True, False), query
    assert "No request matches" in ann.text("/requests?until=2001-01-01T00:00")
    assert ann.get("/requests?since=yesterday").status_code == 422
    assert ann.get("/requests?state=NONE").status_code == 422


def test_requests_are_turned_page_by_page(ann: Browser) -> None:
    """Each request is on one page."""
    made = set(ann.context.client.enqueue_many([[f"f{number}"] for number in range(120)]))
    path, seen = "/requests", list[str]()
    while path:
        page = ann.get(path).text
        seen += [each for each in made if f'title="{each}"' in page]
        start, found, _ = page.partition('" rel="next"')
        path = "/requests" + start.rsplit('href="', 1)[1].replace("&amp;", "&") if found else ""
    assert (len(seen), set(seen)) == (120, made)


def test_a_request_shows_its_files_and_errors(ann: Browser, fake_redis: Redis) -> None:
    """And who asked for it; a download has all files."""
    request_id = failed(ann.context, fake_redis, "a", "b")
    text = ann.text(f"/requests/{request_id}")
    for told in ("incomplete", "2 of 2 files done", LOCKED, "First file done", "By "):
        assert told in text
    lines = ann.get(f"/requests/{request_id}/download?format=ndjson").text.splitlines()
    assert [json.loads(line)["file_id"] for line in lines] == ["a", "b"]
    answer = ann.get(f"/requests/{request_id}/download")
    assert f'filename="{request_id}.csv"' in answer.headers["content-disposition"]
    assert [row["error"] for row in csv.DictReader(answer.text.splitlines())] == [LOCKED, LOCKED]
    assert ann.get(f"/requests/{request_id}/download?format=xml").status_code == 422


def test_a_request_on_hold_is_undone(ann: Browser) -> None:
    request_id = ann.context.client.enqueue(["a", "b"], source="shop", hold_seconds=600)
    assert "Undo: 10 min left…" in ann.text(f"/requests/{request_id}")
    assert "Cancel 2 waiting files?" in ann.text(f"/requests/{request_id}/cancel")
    ann.post(f"/requests/{request_id}/cancel")
    assert ann.context.client.status(request_id)["cancelled"] == 2
    text = ann.text(f"/requests/{request_id}")
    assert "Cancelled" in text
    assert "by token ann" in text
    assert "Undo:" not in text


def test_a_deleter_cancels_requests_of_its_own_source_alone(context: Context) -> None:
    own, other = (context.client.enqueue(["a"], source=source) for source in ("catalog", "editorial"))
    token = context.tokens.create("catalog", [Scope.DELETE, Scope.READ], "catalog")
    browser = Browser(context)
    browser.cookie = browser.log_in(token).cookies["kitsweep_session"]
    assert browser.post(f"/requests/{other}/cancel").status_code == 403
    assert browser.post(f"/requests/{own}/cancel").status_code == 303
    assert [context.client.status(each)["cancelled"] for each in (own, other)] == [1, 0]


def test_the_number_of_files_must_be_typed_to_approve(ann: Browser) -> None:
    """The guard's measure stands beside what is usual, with a sample; the audit trail has the reason."""
    context = ann.context
    context.client.enqueue(["x"], source="shop")
    request_id = context.client.enqueue(["a", "b", "c"], source="shop", reason="last season")
    assert "3 files are more than max_files = 2" in ann.text("/approvals")
    text = ann.text(f"/approvals/{request_id}")
    for told in ("3 files of shop", "Usual for shop 1", "3 times", "“last season”", "a b c", "Delete 3 files"):
        assert told in text
    assert ann.get(f"/approvals/{request_id}/files").text == "a\nb\nc\n"
    wrong = ann.post(f"/approvals/{request_id}/approve", {"number": "2"})
    assert (wrong.status_code, "Type the number of files, 3" in text_of(wrong)) == (422, True)
    assert len(context.admin.held()) == 1
    ann.post(f"/approvals/{request_id}/approve", {"number": "3", "reason": "agreed"})
    entry = next(each for each in context.admin.audit(timedelta(days=1)) if each["event"] == "approved")
    assert (entry["by"], entry["detail"]) == ("token ann", {"reason": "agreed"})


def test_nobody_approves_an_own_request(ann: Browser) -> None:
    """The page has no form for it, and the server refuses it."""
    asked = checked_request("mine", "shop", None, 0)
    ann.context.client.submit(asked, ["a", "b", "c"], "token ann")
    assert "another token has to approve it" in ann.text("/approvals/mine")
    assert ann.post("/approvals/mine/approve", {"number": "3"}).status_code == 403
    assert len(ann.context.admin.held()) == 1


def test_a_held_request_is_rejected(ann: Browser) -> None:
    request_id = ann.context.client.enqueue(["a", "b", "c"], source="shop")
    ann.post(f"/approvals/{request_id}/reject", {"reason": "no"})
    assert ann.context.client.status(request_id)["state"] == "REVOKED"
    assert ("rejected", "token ann") in events(ann.context)
    assert "Nothing waits for approval" in ann.text("/approvals")
    assert ann.get(f"/approvals/{request_id}").status_code == 409


def test_failures_are_grouped_filtered_and_exported(ann: Browser, fake_redis: Redis) -> None:
    failed(ann.context, fake_redis, "a", "b")
    failed(ann.context, fake_redis, "c", error="invalid id")
    text = ann.text("/failures")
    for told in ("Retry all 3…", f"{LOCKED} catalog 2", "invalid id catalog 1"):
        assert told in text
    assert "Retry all 2…" in ann.text("/failures?error=locked")
    assert LOCKED not in ann.get("/failures").text
    rows = list(csv.DictReader(ann.get("/failures/download?error=invalid").text.splitlines()))
    assert [(row["file_id"], row["error"]) for row in rows] == [("c", "invalid id")]


def test_all_failures_that_match_are_retried(ann: Browser, fake_redis: Redis) -> None:
    """The server does it, and shows how far it is."""
    failed(ann.context, fake_redis, "a", "b")
    failed(ann.context, fake_redis, "c", error="invalid id")
    assert "Retry 2 failed files?" in ann.text("/failures/retry?error=locked")
    path = ann.post("/failures/retry?error=locked").headers["location"].removeprefix("/dashboard")
    wait_until(lambda: "Retried 2 files" in ann.text(path))
    assert "Retry all 1…" in ann.text("/failures")
    assert ann.get("/failures/retries/none").status_code == 404


def test_rules_are_shown_and_switched_off(ann: Browser) -> None:
    text = ann.text("/cleanup")
    assert "old-drafts" in text
    assert "files in /drafts/" in text
    assert "It has never run" in ann.text("/cleanup/rules/old-drafts")
    assert ann.get("/cleanup/rules/none").status_code == 404
    assert "Switch all cleanup rules off?" in ann.text("/cleanup/off")
    ann.post("/cleanup/off")
    assert "switched off by token ann" in ann.text("/cleanup")
    ann.post("/cleanup/on")
    assert ann.context.admin.off_by() is None


def test_a_file_and_a_request_are_found_by_id(ann: Browser, fake_redis: Redis) -> None:
    request_id = failed(ann.context, fake_redis, "file-a")
    text = ann.text("/find?q=file-a")
    assert "failed" in text
    assert LOCKED in text
    assert ann.get(f"/find?q={request_id}").headers["location"] == f"/dashboard/requests/{request_id}"
    assert "No request that is still kept has this id" in ann.text("/find?q=file-b")
    assert ann.get("/find?q=a%20b").status_code == 422


def test_the_audit_trail_is_newest_first_filtered_and_exported(ann: Browser, fake_redis: Redis) -> None:
    failed(ann.context, fake_redis, "a")
    ann.context.admin.pause("noon", by="token bob")
    rows = [json.loads(line) for line in ann.get("/audit/download?format=ndjson").text.splitlines()]
    # What happened in the same millisecond: a request ends last.
    assert {rows[0]["event"], rows[1]["event"]} == {"paused", "ended"}
    assert [each["event"] for each in rows[2:]] == ["accepted", "token_created"]
    assert "noon" in ann.text("/audit?event=paused")
    assert "noon" not in ann.text("/audit?event=ended")
    assert "noon" in ann.text("/audit?q=BOB")
    assert "No entry matches" in ann.text("/audit?q=nothing")


def test_the_audit_trail_is_turned_page_by_page(ann: Browser) -> None:
    """Entries that share a stored one, and those of the same millisecond, are each on one page."""
    made = ann.context.client.enqueue_many([[f"f{number}"] for number in range(230)])
    path, seen = "/audit?event=accepted", list[str]()
    while path:
        page = ann.get(path).text
        seen += [each for each in made if f'title="{each}"' in page]
        start, found, _ = page.partition('">Older')
        path = "/audit" + start.rsplit('href="', 1)[1].replace("&amp;", "&") if found else ""
    assert (len(seen), set(seen)) == (230, set(made))


def test_settings_hide_secrets(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "whsec_" + "c2VjcmV0" * 6
    urls = '{"shop": "https://example.com/hook?token=geheim"}'
    more = {"redis_url": "redis://user:geheim@127.0.0.1:1/0", "webhook_secret": secret, "callbacks": urls}
    page = Browser(context_on(fake_redis, monkeypatch, **more)).get("/settings").text
    for hidden in ("private_test", "geheim", secret):
        assert hidden not in page
    assert "KITSWEEP_REDIS_URL" in page


def test_the_url_names_the_account(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its pages link to its pages, what they change is its own, and a token of another account sees nothing of it."""
    file = tmp_path / "accounts.toml"
    file.write_text('[accounts.north]\nkey = "private_n"\n[accounts.south]\nkey = "private_s"\n', "utf-8")
    file.chmod(0o600)
    context = context_on(fake_redis, monkeypatch, accounts_file=str(file), private_key=None)
    ann = Browser(context)
    assert 'href="/dashboard/@south"' in ann.get("/@north").text
    assert ann.post("/@south/pause", {"reason": "noon"}).headers["location"] == "/dashboard/@south?done=paused"
    page = ann.get("/@south/requests").text
    assert 'href="/dashboard/@south/audit"' in page
    assert 'href="/dashboard/audit"' not in page
    paused = {name: each.client.stats()["pause"] is not None for name, each in context.accounts.served().items()}
    assert paused == {"north": False, "south": True}
    assert ann.get("/@west").status_code == 422
    bound = context.tokens.create("bob", [Scope.READ], account="north")
    bob = Browser(context, name="bo")
    bob.cookie = bob.log_in(bound).cookies["kitsweep_session"]
    assert "account north" in bob.text("")
    assert bob.get("/@south").status_code == 403
    context.close()
