"""Child processes that leave nothing behind: started on a leash, stopped gracefully, found again after a crash.

Each child leads its own process group, so that Ctrl-C reaches only this process, which decides what stops when. While a
child runs, a note has its pid and creation time, with which the next run finds and stops processes of a killed run.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MAX_LOG_BYTES = 20_000_000
"""A log that is longer when its process starts is renamed to NAME.old.log."""
_LEASH = Path(__file__).with_name("leash.py")
_POLL_SECONDS = 0.02
_KILL_SECONDS = 10.0
"""How long the system may take to end a process after SIGKILL."""
_CLOCK_SECONDS = 2.0
"""How far two readings of one creation time may differ: Linux derives it from the wall clock."""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition became true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


@dataclass
class Process:
    """One child process, whose output goes to a log file, or to our own output if it is `shown`.

    `name` is shown to people and is the stem of its note, NAME.pid in `notes`.
    """

    name: str
    command: Sequence[str]
    notes: Path
    log: Path
    environment: Mapping[str, str] | None = None
    shown: bool = False
    _popen: subprocess.Popen[bytes] | None = None

    @property
    def note(self) -> Path:
        """The file with its pid and creation time while it runs."""
        return self.notes / f"{self.name}.pid"

    @property
    def pid(self) -> int | None:
        """Its process id; None before the first start."""
        return self._popen.pid if self._popen else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Its exit status, or minus the signal that killed it; None while it runs."""
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        """Start it, or start it again. Its output is appended to the log."""
        self.notes.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        # The kernel sends the signal when the starting *thread* ends; only the main thread lives as long as we do.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        leash = [sys.executable, "-P", str(_LEASH), str(self.note.resolve()), str(parent)]
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - our own programs
                [*leash, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=None if self.shown else output,
                stderr=None if self.shown else subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def ask_to_stop(self) -> None:
        """Send SIGTERM, on which all our programs stop gracefully."""
        if self._popen is not None and self.running:
            self._popen.terminate()

    def wait(self, seconds: float) -> bool:
        """Return whether it ended within `seconds`."""
        return wait_until(lambda: not self.running, seconds)

    def kill(self) -> None:
        """Kill it and its children, if any of them still run, and remove the note."""
        if self._popen is not None:
            _kill_group(self._popen.pid)
            self._popen.wait(_KILL_SECONDS)
        self.note.unlink(missing_ok=True)

    def stop(self, seconds: float = 10.0) -> None:
        """Ask it to stop, and kill it if it still runs after `seconds`."""
        self.ask_to_stop()
        self.wait(seconds)
        self.kill()


def find_leftover(note: Path) -> psutil.Process | None:
    """Return the process that a note describes, if it still runs; never another process with the same pid."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        process = psutil.Process(int(noted["pid"]))
        is_same = abs(process.create_time() - float(noted["created"])) < _CLOCK_SECONDS
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, psutil.Error):
        return None


def stop_leftovers(notes: Collection[Path], seconds: float = 10.0, hurry: Callable[[], bool] = lambda: False) -> None:
    """Stop all processes that notes describe, and remove the notes.

    Each gets SIGTERM first. After `seconds`, or if `hurry` returns true, its process group is killed.
    """

    def running() -> list[psutil.Process]:
        return [process for note in notes if (process := find_leftover(note))]

    for process in running():
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    wait_until(lambda: hurry() or not running(), seconds)
    for process in running():
        _kill_group(process.pid)
    wait_until(lambda: not running(), _KILL_SECONDS)
    for note in notes:
        note.unlink(missing_ok=True)


def _kill_group(leader: int) -> None:
    # None may be left; macOS answers EPERM if only zombies are.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
