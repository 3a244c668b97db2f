"""Starts a program on a leash: `python leash.py PID_FILE PARENT COMMAND…` notes itself down, then becomes COMMAND.

The note (JSON: pid and command) is written before the program runs, so that a successor finds it whatever happens to
the one who started it. On Linux the kernel also sends the program SIGTERM when its parent dies (PARENT is that
process' id; 0 for no leash). It runs as a script of its own, outside any package, because what must happen between fork
and exec is not safe to do in Python when the parent has threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h; it survives exec."""


def main(arguments: list[str]) -> None:
    """Become the program; returns only by an error."""
    pid_file, parent, *command = arguments
    _write(Path(pid_file), json.dumps({"pid": os.getpid(), "command": command}))
    if sys.platform == "linux" and parent != "0":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit("leash: the parent is gone already")
    try:
        os.execv(command[0], command)  # noqa: S606 - the command is the caller's own
    except OSError as error:
        sys.exit(f"leash: {command[0]} cannot be started: {error.strerror}")


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
