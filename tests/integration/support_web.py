"""A web server as a process, and ImageKit's SDKs and cURL as its callers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import imagekitio
import pytest

from local.ports import LOOPBACK, free_port
from tests.integration.support_house import KEY, ROOT, STOP_SECONDS, House
from tests.integration.support_waiting import wait_until

BULK = "/v1/files/batch/deleteByFileIds"
PYTHON4 = Path(sys.prefix) / "imagekitio4"
"""Where `make setup` installs version 4 of the SDK: two versions cannot share an environment."""
NODE = ROOT / "tests" / "node"
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

Seen = dict[str, Any]
"""What the caller of an SDK gets: `{"value": …}`, or `{"error": class, "body": …}`."""
Sdk = Callable[..., Seen]
"""Deletes with base URL, key, "bulk" or "single", and file ids; `retries` is what the SDK does by itself."""


class WebServer:
    """One `kitsweep web`. It keeps its port over restarts."""

    def __init__(self, house: House, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._environment = {**house.environment, "KITSWEEP_WEB_PORT": str(self.port), **environment}
        self._folder = house.folder
        self.process = self._start()

    def restart(self) -> None:
        """Start again after `kill` or `stop`."""
        self.process = self._start()

    def stop(self) -> int:
        """Ask it to stop, and return its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "web.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", "web"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "the web server answers", 30)
        return process

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/livez", timeout=2).is_success
        except httpx2.HTTPError:
            return False


def python5(base_url: str, key: str, call: str, file_ids: list[str], retries: int = 2) -> Seen:
    """Delete with `imagekitio` 5."""
    with imagekitio.ImageKit(private_key=key, base_url=base_url, max_retries=retries) as client:
        try:
            if call == "single":
                client.files.delete(file_ids[0])
                return {"value": None}
            return {"value": client.files.bulk.delete(file_ids=file_ids).to_dict()}
        except imagekitio.APIStatusError as error:
            return {"error": type(error).__name__, "body": error.body}


def python4(base_url: str, key: str, call: str, file_ids: list[str]) -> Seen:
    """Delete with `imagekitio` 4."""
    _need(PYTHON4.exists(), "imagekitio 4 is not installed; run make setup")
    program = Path(__file__).with_name("support_python4.py")
    return _printed([sys.executable, "-W", "ignore", str(program), str(PYTHON4), base_url, key, call, *file_ids])


def node7(base_url: str, key: str, call: str, file_ids: list[str], retries: int = 2) -> Seen:
    """Delete with `@imagekit/nodejs` 7."""
    return _node(f"7:{retries}", base_url, key, call, *file_ids)


def node6(base_url: str, key: str, call: str, file_ids: list[str]) -> Seen:
    """Delete with `imagekit` 6."""
    return _node("6", base_url, key, call, *file_ids)


def _node(*arguments: str) -> Seen:
    ready = shutil.which("node") and (NODE / "node_modules").exists()
    _need(bool(ready), "node or the SDKs in tests/node are missing; install Node.js and run make setup")
    return _printed(["node", str(NODE / "sdk.mjs"), *arguments])


def _printed(command: list[str]) -> Seen:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    seen: Seen = json.loads(done.stdout)
    return seen


def _need(condition: bool, what: str) -> None:
    if not condition:
        assert not IN_CI, what
        pytest.skip(what)


def curl(base_url: str, *arguments: str) -> tuple[int, Any]:
    """Call with cURL and the account's key; return status and JSON body."""
    command = ["curl", "--silent", "--show-error", "--user", f"{KEY}:", "--write-out", "\n%{http_code}", *arguments]
    command[-1] = base_url + command[-1]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=90)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else None
