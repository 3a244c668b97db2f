"""Keeps processes running: starts again what ends by itself, shows their warnings, and stops all in order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, Self

from local.processes.log_tail import LogTail, last_lines
from local.processes.process import Process, wait_until

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A process that ran for so long was well: its next end counts as the first."""
TICK_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str], None]
"""Shows a line to people."""


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP while its `with` block runs: the first asks to stop, the second to hurry."""

    def __init__(self) -> None:
        self.count = 0
        self._came = threading.Event()
        self._before: list[tuple[signal.Signals, Any]] = []

    def __enter__(self) -> Self:
        self._before = [(number, signal.signal(number, self._note)) for number in _SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def asked_to_stop(self) -> bool:
        """Return whether a signal came."""
        return self.count > 0

    def asked_to_hurry(self) -> bool:
        """Return whether a second signal came."""
        return self.count > 1

    def wait(self, seconds: float) -> bool:
        """Wait for the first signal, or so many seconds; return whether it came."""
        return self._came.wait(seconds)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self._came.set()


class Kept:
    """A process that is to run, and how often it ended in a row."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._tail = LogTail(process.log)
        self._ends = 0
        self._started = time.monotonic()
        self._start_at: float | None = None

    def start(self) -> None:
        """Start it."""
        self._started, self._start_at = time.monotonic(), None
        self.process.start()

    def show_warnings(self, say: Say) -> None:
        """Say what it logged since the last time that is severe."""
        for line in self._tail.severe_lines():
            say(f"{self.process.name} | {line}")

    def look(self, say: Say) -> None:
        """Start it again when it has ended and paused, and say so."""
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self.start()
        elif not self.process.running:
            self._note_end(now, say)

    def _note_end(self, now: float, say: Say) -> None:
        self._ends = 1 if now - self._started >= STEADY_SECONDS else self._ends + 1
        pause = restart_pause(self._ends)
        self._start_at = now + pause
        how = describe_end(self.process.exit_status)
        self.process.end()
        say(f"{self.process.name} {how}; it starts again in {pause:g} s. Its log {self.process.log} ends:")
        for line in last_lines(self.process.log, 3):
            say(f"{self.process.name} | {line}")


class Supervisor:
    """Keeps processes running between `start` and `stop`; what they log at WARNING or above it says, or not."""

    def __init__(self, signals: StopSignals, say: Say, *, shows_warnings: bool = True) -> None:
        self._signals = signals
        self._say = say
        self._say_warning = say if shows_warnings else _keep_silent
        self._kept: list[Kept] = []

    def start(self, process: Process) -> None:
        """Start a process, and keep it running."""
        kept = Kept(process)
        self._kept.append(kept)
        kept.start()

    def adopt(self, process: Process) -> None:
        """Keep a process running that was started already."""
        self._kept.append(Kept(process))

    def keep_until(self, done: Callable[[], bool], seconds: float = float("inf")) -> bool:
        """Keep all running until `done`, a signal, or so many seconds; return whether `done` came true."""
        deadline = time.monotonic() + seconds
        while not self._signals.asked_to_stop() and time.monotonic() < deadline:
            if done():
                return True
            self._look()
            self._signals.wait(TICK_SECONDS)
        return False

    def stop(self, processes: Sequence[Process], seconds: float) -> None:
        """Keep nothing running any more, and stop these; a second signal ends the patience of so many seconds."""
        self._kept, kept = [], self._kept
        stop_together(processes, seconds, self._signals.asked_to_hurry)
        for each in kept:
            each.show_warnings(self._say_warning)

    def _look(self) -> None:
        for kept in self._kept:
            kept.show_warnings(self._say_warning)
            kept.look(self._say)


def _keep_silent(_line: str) -> None:
    return


def stop_together(processes: Sequence[Process], seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
    """Ask processes to stop, wait for all of them up to `seconds` or until `hurry`, and end what is left."""
    for process in processes:
        process.ask_to_stop()
    wait_until(lambda: hurry() or not any(process.running for process in processes), seconds)
    for process in processes:
        process.end()


def restart_pause(ends: int) -> float:
    """Return the seconds to wait after so many ends in a row: 1, 2, 4 … 30."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(ends - 1, 10))


def describe_end(status: int | None) -> str:
    """Say how a process ended."""
    if status is not None and status < 0:
        return f"was killed by signal {-status}"
    return f"ended with status {status}"
