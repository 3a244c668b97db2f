"""Child processes that leave nothing behind: started on a leash, stopped with patience, found after a crash.

Each child leads a process group of its own, so that Ctrl-C reaches only us, and we decide who stops when. A note
of its pid and command stands in a file while it runs: by it a successor finds, and ends, what a killed
predecessor left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_LEASH = Path(__file__).with_name("leash.py")
_POLL_SECONDS = 0.02
LONGEST_LOG_BYTES = 20_000_000
"""A log that is longer when a process starts is set aside, in the place of the one before it."""
_KILL_SECONDS = 10.0
"""How long the system may take to end a process after SIGKILL."""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition came true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


class Process:
    """One child process, which writes all its output to a log file, or to where ours goes if it is `shown`.

    `name` names it to people and is the stem of its files: NAME.pid in `notes`, and the log.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        notes: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        shown: bool = False,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.note = notes / f"{name}.pid"
        self._environment = environment
        self._shown = shown
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, once it was started."""
        return self._popen.pid if self._popen else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_status(self) -> int | None:
        """How it ended: its exit status, or minus the signal that killed it."""
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        """Start it, or start it again; its output is appended to the log, unless that has become long."""
        self.note.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        _set_aside_if_long(self.log)
        # The kernel's leash hangs on the thread that starts the child; only the main one lives as long as we do.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        leash = [sys.executable, "-I", "-S", str(_LEASH), str(self.note.resolve()), str(parent)]
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - our own programs
                [*leash, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=None if self._shown else output,
                stderr=None if self._shown else subprocess.STDOUT,
                env=None if self._environment is None else dict(self._environment),
                start_new_session=True,
            )

    def ask_to_stop(self) -> None:
        """Send SIGTERM, on which all our programs finish what they do."""
        if self._popen is not None and self.running:
            self._popen.terminate()

    def wait(self, seconds: float) -> bool:
        """Return whether it ended within so many seconds."""
        return wait_until(lambda: not self.running, seconds)

    def end(self) -> None:
        """Kill what still runs of it, its children included, and drop the note."""
        if self._popen is not None:
            _kill_group(self._popen.pid)
            self._popen.wait(_KILL_SECONDS)
        self.note.unlink(missing_ok=True)

    def stop(self, seconds: float = 10.0) -> None:
        """Ask it to stop, and end it if it has not stopped after so many seconds."""
        self.ask_to_stop()
        self.wait(seconds)
        self.end()


def find_left_over(note: Path) -> int | None:
    """Return the pid of the process that a note tells of, if it still runs and is not another one by now."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        pid, command = int(noted["pid"]), [str(part) for part in noted["command"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if runs(pid, command) else None


def end_left_overs(notes: Iterable[Path], seconds: float = 10.0, hurry: Callable[[], bool] = lambda: False) -> int:
    """End the processes that notes tell of, those that are ours, all at once; return how many.

    Each is asked first, and killed with its process group after so many seconds, or when there is `hurry`.
    """
    found = {note: pid for note in notes if (pid := find_left_over(note)) is not None}
    for pid in found.values():
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: hurry() or not any(map(find_left_over, found)), seconds)
    for note, pid in found.items():
        if find_left_over(note) is not None:
            _kill_group(pid)
    wait_until(lambda: not any(map(find_left_over, found)), _KILL_SECONDS)
    for note in found:
        note.unlink(missing_ok=True)
    return len(found)


def runs(pid: int, command: Sequence[str]) -> bool:
    """Return whether the process `pid` exists and runs `command`, wherever its program was found."""
    arguments = " ".join(command[1:])
    return command_line(pid).endswith(f" {arguments}") if arguments else command_line(pid) == command[0]


def command_line(pid: int) -> str:
    """Return the command line of a process; empty if there is no such process, or only a zombie."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return _asked_of_ps(pid) if sys.platform != "linux" else ""
    return arguments.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")


def _asked_of_ps(pid: int) -> str:
    asked = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - all ours


def _set_aside_if_long(log: Path) -> None:
    if log.exists() and log.stat().st_size > LONGEST_LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Nobody is left; macOS says EPERM where only zombies are.
        return
