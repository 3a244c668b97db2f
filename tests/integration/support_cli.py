"""The command line as others meet it: a program with arguments, two streams and an exit status, or a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

from tests.integration.support_house import ROOT

SECONDS = 30.0
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Ran(NamedTuple):
    """How a run of the program ended."""

    status: int
    out: str
    err: str


def kitsweep(environment: Mapping[str, str], *arguments: str, given: str | bytes = "") -> Ran:
    """Run the program in pipes, to its end."""
    ran = subprocess.run(
        command(*arguments),
        env=dict(environment),
        input=given if isinstance(given, bytes) else given.encode(),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


def command(*arguments: str) -> list[str]:
    """Return how the program is started."""
    return [sys.executable, "-m", "cli", *arguments]


def environment_of(redis_url: str, **more: str) -> dict[str, str]:
    """Return an environment in which nothing real can be reached."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "IMAGE_KIT_BASE_URL": "http://127.0.0.1:9",
        "KITSWEEP_REDIS_URL": redis_url,
        **more,
    }


class Terminal:
    """The program at a separate terminal, as a user sees it."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        self.process = subprocess.Popen(
            command(*arguments),
            env={"TERM": "xterm-256color", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.raw = ""

    @property
    def text(self) -> str:
        """All that was shown so far, without the escapes that move and colour."""
        return _ANSI.sub("", self.raw)

    def enter(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    def read_until(self, wanted: str, seconds: float = SECONDS) -> str:
        """Read until a text was shown; return all that was shown. Raises `AssertionError` when it does not come."""
        deadline = time.monotonic() + seconds
        while wanted not in self.text:
            assert time.monotonic() < deadline, f"not shown in {seconds:g} s: {wanted!r}; but:\n{self.text}"
            assert self._read(0.5) or wanted in self.text, f"it ended without {wanted!r}:\n{self.text}"
        return self.text

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read on to the program's end, and return its exit status."""
        deadline = time.monotonic() + SECONDS
        while self._read(0.5):
            assert time.monotonic() < deadline, f"it does not end; it shows:\n{self.text}"
        return self.process.wait(SECONDS)

    def _read(self, seconds: float) -> bool:
        """Read what is there; false at the end."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return True
        try:
            read = os.read(self._master, 65536)
        except OSError:
            return False
        self.raw += read.decode(errors="replace")
        return bool(read)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS)
        with contextlib.suppress(OSError):
            os.close(self._master)
