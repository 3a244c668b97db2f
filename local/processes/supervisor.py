"""Keeps processes running: restarts those that end by themselves, shows their warnings, and stops them in order."""

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
"""After a process has run for so long, its next end counts as the first in a row."""
TICK_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str], None]
"""Shows a line to a person."""


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP in a `with` block: the first asks to stop, the second to hurry."""

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


class _Supervised:
    """A process to keep running, and how often it ended in a row."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._tail = LogTail(process.log)
        self._ends = 0
        self._started = time.monotonic()
        self._start_at: float | None = None

    def start(self) -> None:
        self._started, self._start_at = time.monotonic(), None
        self.process.start()

    def show_warnings(self, say: Say) -> None:
        for line in self._tail.severe_lines():
            say(f"{self.process.name} | {line}")

    def restart_if_ended(self, say: Say) -> None:
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
        self.process.kill()
        say(f"{self.process.name} {how}; restarting in {pause:g} s. Last lines of its log {self.process.log}:")
        for line in last_lines(self.process.log, 3):
            say(f"{self.process.name} | {line}")


class Supervisor:
    """Keeps processes running between `start` and `stop`, and shows what they log at WARNING or above."""

    def __init__(self, signals: StopSignals, say: Say, *, shows_warnings: bool = True) -> None:
        self._signals = signals
        self._say = say
        self._say_warning: Say = say if shows_warnings else lambda _: None
        self._supervised: list[_Supervised] = []

    def start(self, process: Process) -> None:
        """Start a process, and keep it running."""
        self.adopt(process)
        self._supervised[-1].start()

    def adopt(self, process: Process) -> None:
        """Keep a process running that was already started."""
        self._supervised.append(_Supervised(process))

    def run_until(self, done: Callable[[], bool], seconds: float = float("inf")) -> bool:
        """Keep everything running until `done`, a signal, or so many seconds; return whether `done` came true."""
        deadline = time.monotonic() + seconds
        while not self._signals.asked_to_stop() and time.monotonic() < deadline:
            if done():
                return True
            for each in self._supervised:
                each.show_warnings(self._say_warning)
                each.restart_if_ended(self._say)
            self._signals.wait(TICK_SECONDS)
        return False

    def stop(self, processes: Sequence[Process], seconds: float) -> None:
        """Restart nothing any more, and stop these processes; a second signal kills them before `seconds` are over."""
        supervised, self._supervised = self._supervised, []
        stop_together(processes, seconds, self._signals.asked_to_hurry)
        for each in supervised:
            each.show_warnings(self._say_warning)


def stop_together(processes: Sequence[Process], seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
    """Ask processes to stop, wait for all of them up to `seconds` or until `hurry`, and kill what still runs."""
    for process in processes:
        process.ask_to_stop()
    wait_until(lambda: hurry() or not any(process.running for process in processes), seconds)
    for process in processes:
        process.kill()


def restart_pause(ends: int) -> float:
    """Return the seconds to wait before a restart, after so many ends in a row: 1, 2, 4 … 30."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(ends - 1, 10))


def describe_end(status: int | None) -> str:
    """Return how a process ended, in words."""
    if status is not None and status < 0:
        return f"was killed by signal {-status}"
    return f"ended with status {status}"
