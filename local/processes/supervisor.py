"""Keeps processes running: restarts those that end by themselves, shows their warnings, and stops them in order."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Self

from local.processes.log_tail import LogTail, last_lines
from local.processes.process import Process, wait_until

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""Once a process has run for this long, its next end counts as the first in a row."""
TICK_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str], None]
"""Shows a line to a person."""


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP in a `with` block: the first asks to stop, the second to stop at once."""

    def __init__(self) -> None:
        self.count = 0
        self._before: list[tuple[signal.Signals, Any]] = []

    def __enter__(self) -> Self:
        self._before = [(number, signal.signal(number, self._note)) for number in _SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def asked_to_stop(self) -> bool:
        """Return whether a signal came."""
        return self.count > 0

    def asked_to_hurry(self) -> bool:
        """Return whether a second signal came."""
        return self.count > 1

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


@dataclass
class _Supervised:
    """A process to keep running, and how often it ended in a row. Times are monotonic seconds."""

    process: Process
    tail: LogTail
    started_at: float = field(default_factory=time.monotonic)
    start_at: float | None = None
    """When to start it again, after it has ended."""
    ends: int = 0

    def restart_if_ended(self, say: Say) -> None:
        now = time.monotonic()
        if self.start_at is None:
            if not self.process.running:
                self._note_end(now, say)
        elif now >= self.start_at:
            self.started_at, self.start_at = now, None
            self.process.start()

    def _note_end(self, now: float, say: Say) -> None:
        self.ends = 1 if now - self.started_at >= STEADY_SECONDS else self.ends + 1
        pause = restart_pause(self.ends)
        self.start_at = now + pause
        how = describe_end(self.process.exit_status)
        self.process.kill()
        say(f"{self.process.name} {how}; restarting in {pause:g} s. Last lines of its log {self.process.log}:")
        for line in last_lines(self.process.log, 3):
            say(f"{self.process.name} | {line}")


class Supervisor:
    """Keeps processes running between `start` and `stop`, and shows what they log at WARNING or above."""

    def __init__(self, signals: StopSignals, say: Say) -> None:
        self.signals = signals
        self._say = say
        self._supervised: list[_Supervised] = []

    def start(self, process: Process) -> None:
        """Start a process, and keep it running."""
        self.adopt(process)
        process.start()

    def adopt(self, process: Process) -> None:
        """Keep a process running that was already started."""
        self._supervised.append(_Supervised(process, LogTail(process.log)))

    def run_until(self, done: Callable[[], bool], seconds: float = float("inf")) -> bool:
        """Keep all running until `done`, a signal, or `seconds` have passed; return whether `done` became true."""
        deadline = time.monotonic() + seconds
        while not self.signals.asked_to_stop() and time.monotonic() < deadline:
            if done():
                return True
            self._show_warnings()
            for each in self._supervised:
                each.restart_if_ended(self._say)
            time.sleep(TICK_SECONDS)
        return False

    def stop(self, processes: Sequence[Process], seconds: float) -> None:
        """Stop these processes and restart none; a second signal kills them before `seconds` are over."""
        stop_together(processes, seconds, self.signals.asked_to_hurry)
        self._show_warnings()
        self._supervised.clear()

    def _show_warnings(self) -> None:
        for each in self._supervised:
            for line in each.tail.severe_lines():
                self._say(f"{each.process.name} | {line}")


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
    """Describe how a process ended."""
    if status is not None and status < 0:
        return f"was killed by signal {-status}"
    return f"ended with status {status}"
