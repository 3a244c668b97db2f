"""The ground of the dashboard: login, sessions, scopes, other sites, escaping, and the headers of every page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pytest
from redis import Redis

import web.credentials
from tasks.tokens import Scope
from tests.unit.support_dashboard import Browser, text_of
from tests.unit.support_web import KEY, call, context_on
from web.context import Context
from web.dashboard import origin
from web.dashboard.application import PARTS
from web.dashboard.visits import COOKIE

EVIL = '<script>alert("&")</script>'
PUBLIC = "https://sweep.example.com"
QUESTIONS = {"/pause", "/resume", "/cleanup/on", "/cleanup/off", "/failures/retry"}
"""Pages that ask before a change."""


@pytest.fixture
def context(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setattr(web.credentials, "REFUSAL_SECONDS", 0.01)
    context = context_on(fake_redis, monkeypatch)
    yield context
    context.close()


@pytest.fixture
def browser(context: Context) -> Browser:
    return Browser(context)


def pages() -> list[str]:
    """Return the paths of all pages without a parameter."""
    found = {
        route.path.removeprefix("/dashboard")
        for part in PARTS
        for route in part.ROUTES
        if "GET" in (route.methods or ()) and "{" not in route.path
    }
    return sorted(found - {"/live", "/audit/download", "/failures/download"})


def test_a_session_is_a_strict_cookie_without_the_token(browser: Browser) -> None:
    """Scripts cannot read it, other sites cannot cause it to be sent, and Redis has only its hash."""
    answer = browser.log_in(browser.token)
    cookie = answer.headers["set-cookie"]
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert {"HttpOnly", "Path=/dashboard", "SameSite=strict"} <= set(cookie.split("; "))
    assert browser.token not in cookie
    secret = answer.cookies[COOKIE]
    keys = browser.context.admin._account.redis.keys("*session:*")
    assert any(hashlib.sha256(secret.encode()).hexdigest() in key for key in keys)
    assert not any(secret in key for key in keys)


def test_a_cookie_of_https_is_secure(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(context_on(fake_redis, monkeypatch, web_public_url=PUBLIC))
    assert "Secure" in browser.log_in(browser.token).headers["set-cookie"].split("; ")


def test_a_revoked_token_ends_its_sessions(browser: Browser) -> None:
    """At the next click."""
    browser.context.tokens.revoke("ann")
    answer = browser.get("/requests")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/login?next=%2Fdashboard%2Frequests")


def test_logging_out_ends_the_session(browser: Browser) -> None:
    """Also for who has copied the cookie."""
    assert browser.post("/logout").headers["location"] == "/dashboard/login"
    assert browser.get("").status_code == 303


@pytest.mark.parametrize(
    ("token", "told"),
    [("", "Enter a token"), ("ks_wrong", "no valid token"), (KEY, "is the account's private key")],
)
def test_a_wrong_token_is_refused(browser: Browser, token: str, told: str) -> None:
    """And the private key, which no browser needs to store."""
    answer = browser.log_in(token)
    assert answer.status_code == 403
    assert told in text_of(answer)
    assert "set-cookie" not in answer.headers


def test_a_token_that_may_not_read_is_refused(context: Context) -> None:
    token = context.tokens.create("deleter", [Scope.DELETE], "shop")
    answer = Browser(context).log_in(token)
    assert (answer.status_code, "scope read" in text_of(answer)) == (403, True)


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/docs", "/dashboard\\@evil"])
def test_a_login_leads_to_no_other_site(browser: Browser, target: str) -> None:
    answer = call(browser.app, "POST", "/dashboard/login", params={"next": target}, data={"token": browser.token})
    assert answer.headers["location"] == "/dashboard"


def test_a_link_from_another_site_finds_the_session(browser: Browser) -> None:
    """The strict cookie comes with the second load, which is our own."""
    answer = call(browser.app, "GET", "/dashboard/requests", headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, 'http-equiv="refresh"' in answer.text) == (200, True)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site", "origin": "https://other.example.com"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
        ({"origin": "http://kitsweep"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site", "origin": PUBLIC}, True),
        ({"origin": "http://sweep.example.com"}, False),
    ],
)
def test_changes_come_from_our_own_pages(headers: dict[str, str], allowed: bool) -> None:
    """By Sec-Fetch-Site, and where a browser does not send it, by Origin; behind a proxy by the public URL."""
    assert origin.is_allowed("POST", {"host": "kitsweep", **headers}, PUBLIC) is allowed
    assert origin.is_allowed("GET", {"host": "kitsweep", **headers}, PUBLIC)


def test_another_site_changes_nothing(browser: Browser) -> None:
    """Neither the account nor the session, even if the cookie came along."""
    for path in ("/pause", "/logout", "/login"):
        answer = browser.post(path, {}, **{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"})
        assert answer.status_code == 403, path
    assert browser.context.client.stats()["pause"] is None


@pytest.mark.parametrize("path", pages())
def test_every_page_has_a_strict_policy_and_keeps_to_it(browser: Browser, path: str) -> None:
    """No inline script, style or handler is in it; nothing of it is stored."""
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    assert "script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert not re.search(r"<style|<script(?! src=)|\sstyle=|\son\w+=|javascript:|hx-on", answer.text)


@pytest.mark.parametrize("path", [path for path in pages() if path != "/login"])
def test_who_may_only_read_sees_no_button_that_changes_anything(context: Context, path: str) -> None:
    """Logging out is the one form that is sent."""
    reader = Browser(context, Scope.READ)
    answer = reader.get(path)
    if path in QUESTIONS:
        assert answer.status_code == 403
        return
    forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', answer.text)
    assert forms == ["/dashboard/logout"]
    assert "read-only" in answer.text
    assert not [asked for asked in QUESTIONS if f'href="/dashboard{asked}"' in answer.text]


def test_who_may_only_read_is_refused_by_the_server(context: Context) -> None:
    """Whatever is sent."""
    request_id = context.client.enqueue(["a"], source="shop")
    reader = Browser(context, Scope.READ)
    for path in ("/pause", "/resume", f"/requests/{request_id}/cancel"):
        assert reader.post(path).status_code == 403, path
    assert context.client.status(request_id)["waiting"] == 1
    assert context.client.stats()["pause"] is None


def test_what_others_write_is_escaped(browser: Browser) -> None:
    """Reasons and sources of a request, and what is searched for."""
    context = browser.context
    request_id = context.client.enqueue(["a"], source="shop", reason=EVIL)
    context.admin.pause(EVIL)
    for path in ("", "/requests", f"/requests/{request_id}", f"/requests/{request_id}/cancel", f"/requests?q={EVIL}"):
        answer = browser.get(path)
        assert EVIL not in answer.text, path
        assert "&lt;script&gt;alert" in answer.text, path


def test_an_unknown_page_and_a_wrong_method_are_pages(browser: Browser) -> None:
    for answer, status in ((browser.get("/nothing"), 404), (browser.get("/logout"), 405)):
        assert (answer.status_code, "text/html" in answer.headers["content-type"]) == (status, True)


def test_an_unknown_request_is_a_page(browser: Browser) -> None:
    answer = browser.get("/requests/none")
    assert (answer.status_code, "unknown or expired" in text_of(answer)) == (404, True)


def test_a_form_is_bounded(browser: Browser) -> None:
    assert browser.post("/pause", {"reason": "x" * 70_000}).status_code == 413


def test_static_files_may_be_kept(browser: Browser) -> None:
    """Their URL changes with them; no other file is served."""
    href = re.findall(r'href="([^"]*style\.css)"', browser.get("").text)[0]
    answer = call(browser.app, "GET", href)
    assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True)
    assert call(browser.app, "GET", href.replace("style.css", "base.html")).status_code == 404


def test_a_browser_that_opens_the_server_comes_to_the_dashboard(browser: Browser) -> None:
    assert call(browser.app, "GET", "/").headers["location"] == "/dashboard"
