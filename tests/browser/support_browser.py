"""A real browser: Debian's Chromium, driven by its own driver."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.waiting import wait_until

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
AXE = Path(__file__).parent / "vendored" / "axe-core" / "axe.min.js"
_RUN_AXE = """\
const done = arguments[arguments.length - 1];
axe.run({resultTypes: ["violations"]}).then(found => done(found.violations), error => done([{id: String(error)}]));
"""
_REPLACED = "does not belong to the document"
"""What the driver says, as an unknown error, of an element that a new page has replaced."""
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en")
WIDE, NARROW, HUGE = (1280, 900), (360, 740), (3840, 2160)


class Browser:
    """One browser window at the dashboard of one server."""

    def __init__(self, url: str) -> None:
        os.environ["SE_OFFLINE"] = "true"
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for option in _OPTIONS:
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        self.url = url
        self.resize(*WIDE)

    def quit(self) -> None:
        """End it."""
        self.driver.quit()

    # Where it is, and what it shows

    def open(self, path: str = "") -> None:
        """Open a page of the dashboard."""
        self.driver.get(f"{self.url}/dashboard{path}")

    def log_in(self, token: str) -> None:
        """Log in, after forgetting who was logged in."""
        self.driver.delete_all_cookies()
        self.open("/login")
        self.one("#token").send_keys(token)
        self.click("main form button")
        self.one(".who")

    def one(self, selector: str) -> WebElement:
        """Return an element, once the page has it."""
        wait_until(lambda: self.has(selector), every=0.03)
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def has(self, selector: str) -> bool:
        """Whether the page has such an element."""
        return bool(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector: str = "main") -> str:
        """Return the text of an element; empty if there is none yet, or it has just been replaced."""
        try:
            return " ".join(self.driver.find_element(By.CSS_SELECTOR, selector).text.split())
        except (StaleElementReferenceException, NoSuchElementException):
            return ""
        except WebDriverException as error:
            if _REPLACED not in (error.msg or ""):
                raise
            return ""

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    # What it does

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.one(selector).click()

    def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.one(selector).send_keys(text)

    def wait_for(self, text: str, selector: str = "main", seconds: float = 10.0) -> None:
        """Wait until an element says something."""
        if not wait_until(lambda: text in self.text(selector), seconds, every=0.05, must=False):
            raise AssertionError(f"{text!r} is not in {self.text(selector)!r}")

    def resize(self, width: int, height: int) -> None:
        """Change the size of the window."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    @contextmanager
    def dark(self) -> Iterator[None]:
        """Prefer dark colours for a while."""
        self._prefer("dark")
        try:
            yield
        finally:
            self._prefer("light")

    @contextmanager
    def without_scripts(self) -> Iterator[None]:
        """Switch JavaScript off for a while."""
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

    def _prefer(self, scheme: str) -> None:
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})

    # What is wrong

    def complaints(self) -> list[str]:
        """Return errors of the console since the last look, violations of the policy among them."""
        log: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call] # selenium's
        return [entry["message"] for entry in log if entry["level"] in {"SEVERE", "WARNING"}]

    def barriers(self) -> list[str]:
        """Return what axe finds wrong."""
        self.run(AXE.read_text("utf-8"))
        found: list[dict[str, Any]] = self.driver.execute_async_script(_RUN_AXE)
        return [f"{each['id']}: {[node['html'][:120] for node in each.get('nodes', [])][:3]}" for each in found]

    def picture(self, path: Path) -> None:
        """Store a picture of the whole page."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 1100), "scale": 1}
        asked = {"format": "png", "clip": clip, "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)["data"]))
