"""Processes that a chaos test starts, harms and always ends; each leads its own process group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until a condition holds, and return how many seconds that took. `what` is said when it does not."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - start


def say(text: str) -> None:
    """Print a figure: pytest shows it with -s or -rP, and with a failure."""
    sys.stdout.write(f"{text}\n")


class Proc:
    """One process and its log; it can be started again after it has died."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.command = list(command)
        self.log = folder / f"{name}.log"
        self._env = dict(env)
        self._folder = folder
        self._popen: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        assert self._popen is not None
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_status(self) -> int | None:
        """How it ended; minus the signal that killed it; None while it runs."""
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        """Start it (again); output is appended to its log."""
        assert not self.running
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.command,
                env=self._env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.starts += 1

    def signal(self, number: int) -> None:
        """Send a signal to the process alone, not to its children."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self, *, children: bool = True) -> None:
        """SIGKILL it, with all that it started unless `children` is false; returns when it is dead."""
        if self._popen is None:
            return
        self.signal(signal.SIGKILL) if not children else self._kill_group()
        self._popen.wait(30)

    def end(self) -> None:
        """Leave nothing of it behind."""
        self.kill()
        if self._popen is not None:
            self._kill_group()

    def wait(self, seconds: float) -> float:
        """Wait for its end; returns how many seconds that took."""
        return wait_until(lambda: not self.running, seconds, f"{self.name} ends; its log:\n{self.tail()}")

    def children(self) -> list[int]:
        """Return the pids of its children that are alive."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in text.split()]

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.text().splitlines()[-lines:])

    def text(self) -> str:
        """Return its whole log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
