"""The dashboard in a real browser. The tests share one stack and run in their order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tasks.client import checked_request, new_request_id
from tests.browser.conftest import ALICE, Stack
from tests.browser.support_browser import HUGE, NARROW, Browser
from tests.waiting import wait_until
from worker.states import Outcome

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WITH_PICTURES = bool(os.environ.get("PICTURES"))
PAGES = (
    *("", "/requests", "/approvals", "/failures", "/cleanup", "/cleanup/rules/old-drafts"),
    *("/find?q=nothing", "/audit", "/workers", "/settings", "/pause", "/cleanup/off"),
)
LOCKED = "The file is locked by a version."
_SELECT = """\
const link = document.querySelector("#sources th a");
link.focus();
getSelection().selectAllChildren(document.querySelector("#limit h2"));
"""
_KEPT = 'return [document.activeElement.closest("#sources") !== null, getSelection().toString()]'


@pytest.fixture(scope="module")
def failed(stack: Stack) -> str:
    """A request some of whose files failed."""
    files = stack.house.files(140)
    stack.house.simulator.set_behaviour(partial=dict.fromkeys(files[:30], LOCKED))
    request_id = stack.client.enqueue(files, source="catalog", reason="Old product pictures")
    assert stack.client.wait(request_id, 20)["failed"] == 30
    stack.house.simulator.set_behaviour(partial={})
    return request_id


@pytest.fixture(scope="module")
def held(stack: Stack) -> str:
    """A request that waits for approval."""
    return stack.client.enqueue(stack.house.files(1234), source="shop", reason="Everything from last season")


def pictured(browser: Browser, name: str) -> None:
    """Store a picture for the documents, if `make screenshots` asks for it."""
    if WITH_PICTURES:
        browser.picture(PICTURES / f"{name}.png")


def take_pictures_of_a_long_run(browser: Browser, stack: Stack) -> None:
    """Let the chart fill, which takes more than a minute, if pictures are wanted."""
    if not WITH_PICTURES:
        return
    files = stack.house.files(100_000)
    long = stack.client.enqueue(files[3000:], source="catalog", reason="Product line 4711 was withdrawn")
    stack.client.enqueue(files[:3000] + stack.house.no_files(900), source="editorial", reason="Press pictures, 2019")
    browser.open()
    wait_until(lambda: browser.run("return document.querySelectorAll('.chart rect').length") >= 20, 100, every=1)
    pictured(browser, "overview")
    with browser.dark():
        pictured(browser, "overview-dark")
    stack.client.cancel(long)


def test_a_live_run_is_watched(browser: Browser, stack: Stack, failed: str, held: str) -> None:
    """The figures change by themselves; focus and selection stay. The sentence says what limits it, and the end."""
    take_pictures_of_a_long_run(browser, stack)
    files = stack.house.files(5500)
    stack.client.enqueue(files[1500:], source="catalog", reason="Product line 4711 was withdrawn")
    stack.client.enqueue(files[:1500] + stack.house.no_files(60), source="editorial", reason="Press pictures, 2019")
    browser.open()
    browser.wait_for("files a second, as fast as the limit allows", "h1")
    browser.wait_for("Done in", "#figures")
    browser.run(_SELECT)
    before = browser.text("#figures")
    wait_until(lambda: browser.text("#figures") not in ("", before), every=0.05)
    assert browser.run(_KEPT) == [True, "Limit"]
    assert browser.run("return document.querySelectorAll('.chart rect').length") >= 1
    browser.wait_for("1 request waits for approval; nothing else waits", "h1", 20)
    assert browser.text("#state") == "Waiting"


def test_a_request_is_followed(browser: Browser, stack: Stack) -> None:
    """Its page says why it waits and when it will be done, and then that it is, by itself."""
    asked = checked_request(new_request_id(), "catalog", "Variants of product 815", 0)
    request_id = stack.client.submit(asked, stack.house.files(5000), "token catalog").request_id
    browser.open(f"/requests/{request_id}")
    browser.wait_for("It takes its turn", "#why")
    browser.wait_for("Done in about", "#why")
    pictured(browser, "request")
    browser.wait_for("all gone", "#progress", 15)
    browser.wait_for("deleted 5,000", "#files")
    assert not browser.has("#why")


def test_requests_are_filtered(browser: Browser, failed: str) -> None:
    """The filter is in the URL; a request leads to its files and their errors."""
    browser.open("/requests")
    browser.type("#q", "product pictures")
    browser.click('input[value="FAILURE"]')
    browser.click(".filter button")
    wait_until(lambda: "state=FAILURE" in browser.driver.current_url)
    assert len(browser.driver.find_elements("css selector", "tbody tr")) == 1
    browser.click("tbody th a")
    browser.wait_for(LOCKED, "#files")
    assert failed in browser.text("#head")


def test_a_file_is_found(browser: Browser, stack: Stack, failed: str) -> None:
    """With `/` from anywhere."""
    file_id = next(stack.client.outcomes(failed, [Outcome.FAILED])).file_id
    browser.open("/audit")
    browser.type("body", "/")
    browser.driver.switch_to.active_element.send_keys(file_id, Keys.ENTER)
    browser.wait_for(LOCKED)
    assert "failed" in browser.text("tbody")


def test_a_request_is_undone_in_time(browser: Browser, stack: Stack) -> None:
    """The countdown runs; nothing of it is deleted."""
    request_id = stack.client.enqueue(stack.house.files(3), source="catalog", hold_seconds=600)
    browser.open(f"/requests/{request_id}")
    browser.wait_for("left", "#cancel")
    before = browser.text("#cancel")
    wait_until(lambda: browser.text("#cancel") not in ("", before), every=0.05)
    browser.click("#cancel")
    browser.click("main .button.bad")
    browser.wait_for("Cancelled", ".done")
    browser.wait_for("by token alice", ".line")
    report = stack.client.status(request_id)
    assert (report["cancelled"], report["deleted"]) == (3, 0)


def test_a_number_is_typed_to_approve(browser: Browser, stack: Stack, held: str) -> None:
    """A wrong one approves nothing. Who decided, and why, is in the audit trail."""
    browser.open("/approvals")
    browser.click("tbody th a")
    pictured(browser, "approval")
    browser.type("#number", "12")
    browser.click("form .button.bad")
    browser.wait_for("Type the number of files, 1,234", "form .problem")
    assert stack.client.status(held)["waiting"] == 1234
    browser.complaints()  # The page with the problem is a 422, which the console notes.
    browser.type("#number", "1,234")
    browser.type("#approve-reason", "agreed with the shop")
    browser.click("form .button.bad")
    browser.wait_for("Approved", ".done")
    assert stack.client.wait(held, 20)["deleted"] == 1234
    browser.open("/audit?event=approved")
    assert "token alice shop 1,234" in browser.text("tbody")
    assert "agreed with the shop" in browser.text("tbody")


def test_failures_are_retried(browser: Browser, failed: str) -> None:
    """All that match, in one go; then none is left."""
    browser.open("/failures")
    assert LOCKED in browser.text("tbody")
    browser.click("#retry")
    browser.click("main .ask .button")
    browser.wait_for("Retried 30 files")
    browser.open("/failures")
    assert "No file has failed" in browser.text()


def test_cleanup_is_switched_off_and_on(browser: Browser, stack: Stack) -> None:
    for to, off_by in (("off", "token alice"), ("on", None)):
        browser.open("/cleanup")
        browser.click("#switch")
        browser.click("main .ask .button")
        browser.wait_for(f"Cleanup is {to}", ".done")
        assert stack.house.admin.off_by() == off_by


def test_who_may_only_read_sees_no_buttons_and_is_refused(browser: Browser, stack: Stack) -> None:
    """The server refuses the same form that alice may send."""
    browser.log_in(stack.bob)
    for path in ("", "/cleanup", "/failures", "/approvals"):
        browser.open(path)
        assert browser.text(".who em") == "read-only"
        buttons = browser.driver.find_elements("css selector", "main button, main a.button:not([download])")
        assert {button.text for button in buttons} <= {"Filter"}
    assert browser.run("return fetch('/dashboard/pause', {method: 'POST'}).then(answer => answer.status)") == 403
    assert stack.client.stats()["pause"] is None
    browser.complaints()  # The console notes the 403.


def test_keys_lead_everywhere(browser: Browser) -> None:
    """`?` lists them."""
    browser.open()
    browser.type("body", "?")
    browser.wait_for("Requests", "#keys[open]")
    browser.type("#keys", Keys.ESCAPE)
    browser.type("body", "r")
    wait_until(lambda: browser.driver.current_url.endswith("/requests"))
    browser.type("body", "j")
    assert browser.run("return document.activeElement.closest('tbody th') !== null")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_accessible_and_fits(browser: Browser, path: str) -> None:
    """axe finds nothing, in light and dark; nothing is cut off at 360 pixels or at 4K."""
    browser.open(path)
    assert browser.barriers() == []
    with browser.dark():
        assert browser.barriers() == []
    for width, height in (NARROW, HUGE):
        browser.resize(width, height)
        assert browser.run("return document.documentElement.scrollWidth") <= width


def test_it_works_without_scripts(browser: Browser, stack: Stack) -> None:
    """Log in, pause with a reason, resume; pages that change reload themselves."""
    with browser.without_scripts():
        browser.log_in(stack.alice)
        browser.click("#pause")
        browser.type("#reason", "wrong list?")
        browser.click("main .ask .button")
        browser.wait_for("Paused by token alice", "h1")
        assert "wrong list?" in browser.text("h1")
        browser.click("#resume")
        browser.click("main .ask .button")
        browser.wait_for("All is well", "h1")


def test_a_lost_connection_is_told(browser: Browser, stack: Stack) -> None:
    """Old figures never look live. The page reconnects, and a session that has ended leads to the login."""
    browser.open()
    browser.wait_for("Redis uses", "#workers")
    stack.web.kill()
    browser.wait_for("The connection is lost", "#stale")
    stack.web.restart()
    wait_until(lambda: not browser.text("#stale"), 20, every=0.1)
    browser.complaints()  # The console notes that it could not connect.
    stack.tokens.revoke("alice")
    browser.wait_for("Log in", "h1", 20)
    stack.alice = stack.tokens.create("alice", ALICE)
    browser.complaints()
