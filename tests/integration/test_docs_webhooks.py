"""The receivers in docs/webhooks.md work: they accept our webhooks, and refuse forged ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from local.ports import free_port
from tests.integration.support_house import ROOT
from tests.integration.support_waiting import wait_until
from tests.unit.support_webhooks import SECRET, Hooks
from worker.webhooks.sender import Sender

DOCUMENT = (ROOT / "docs" / "webhooks.md").read_text("utf-8")


def program(language: str, folder: Path) -> list[str]:
    """Write the receiver in a language to a file, and return how to run it."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    path = folder / f"receiver.{language}"
    path.write_text(text, encoding="utf-8")
    if language == "python":
        return [sys.executable, str(path)]
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs node")
        pytest.skip("node is missing")
    return [node, str(path)]


@pytest.fixture(params=["python", "js"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Run a receiver of the document; gives its URL and its output."""
    port, output = free_port(), tmp_path / "output"
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "KITSWEEP_WEBHOOK_SECRET": SECRET}
    with output.open("wb") as stream:
        process = subprocess.Popen(
            program(request.param, tmp_path), env=environment, stdout=stream, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_until(lambda: status_of(url) == 401 or process.poll() is not None, "the receiver answers")
        yield url, output
    finally:
        process.kill()
        process.wait(10)


def status_of(url: str) -> int:
    """Post something that is not signed; return the status, or 0 without a response."""
    headers = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
    call = urllib.request.Request(url, b"{}", headers)
    try:
        with urllib.request.urlopen(call, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)
    except OSError:
        return 0


def test_a_receiver_of_the_document(fake_redis: Redis, receiver: tuple[str, Path]) -> None:
    """It takes ours, and shows the request; what is not signed, or signed with another secret, gets 401."""
    url, output = receiver
    for secret, status in ((SECRET, 204), ("whsec_" + "C" * 44, 401)):
        hooks = Hooks(fake_redis, webhook_secret=secret)
        webhook_id = hooks.finish(f"request-{status}", url)
        assert Sender(hooks.store, hooks.settings).send_next()
        assert {each["status"] for each in hooks.seen() if each["id"] == webhook_id} == {status}
        hooks.make_due()
    assert status_of(url) == 401
    wait_until(lambda: "request-204 SUCCESS" in output.read_text(), "the receiver shows the request")
    assert "request-401" not in output.read_text()
