"""One browser and one stack for all tests of this folder: Redis, simulator, worker and web server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import load_settings
from tasks.client import Client
from tasks.tokens import Scope, TokenAdmin
from tests.browser.support_browser import CHROMIUM, DRIVER, WIDE, Browser
from tests.conftest import IN_CI
from tests.integration.support_house import KEY, House
from tests.integration.support_web import WebServer
from tests.redis_server import RedisServer

GUARDS = '{"shop": {"max_files": 500}}'
ENVIRONMENT = {"KITSWEEP_RATE_LIMITS": '["10/1s"]', "KITSWEEP_GUARDS": GUARDS, "KITSWEEP_MAX_ATTEMPTS": "1"}
ALICE = (Scope.READ, Scope.OPERATE, Scope.APPROVE)
RULES = """\
[rules.old-drafts]
path = "/drafts/"
recursive = true
older_than = "30d"
schedule = "0 3 * * *"
"""


class Stack:
    """Everything, and the tokens of two people."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.house = House(redis_url, folder, **ENVIRONMENT)
        (folder / "cleanup.toml").write_text(RULES, "utf-8")
        self.house.simulator.set_limits((10, 1000))
        self.client = Client(load_settings(redis_url=redis_url, private_key=KEY, rate_limits="[]", guards=GUARDS))
        self.house.start_worker("w0", "--without-mingle")
        self.house.wait_for_workers()
        self.web = WebServer(self.house)
        self.tokens = TokenAdmin.of(load_settings(redis_url=redis_url, private_key=KEY))
        self.alice = self.tokens.create("alice", ALICE)
        self.bob = self.tokens.create("bob", [Scope.READ])

    def stop(self) -> None:
        """End everything."""
        self.web.kill()
        self.house.stop()


@pytest.fixture(scope="session")
def stack(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start everything. Without a browser, tests are skipped at home, and fail in CI."""
    if not (CHROMIUM.exists() and DRIVER.exists()):
        told = "no browser; install one: apt-get install chromium chromium-driver"
        pytest.fail(told) if IN_CI else pytest.skip(told)
    with RedisServer(redis_binary, tmp_path_factory.mktemp("redis")) as server:
        stack = Stack(server.url, tmp_path_factory.mktemp("house"))
        try:
            yield stack
        finally:
            stack.stop()


@pytest.fixture(scope="session")
def window(stack: Stack) -> Iterator[Browser]:
    browser = Browser(stack.web.url)
    yield browser
    browser.quit()


@pytest.fixture
def browser(window: Browser, stack: Stack) -> Iterator[Browser]:
    """A browser in which alice is logged in. After each test its console has no error."""
    window.resize(*WIDE)
    window.log_in(stack.alice)
    window.complaints()
    yield window
    assert window.complaints() == []
