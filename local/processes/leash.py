"""Starts a program on a leash: `python leash.py NOTE PARENT COMMAND…` writes its note, then becomes COMMAND.

The note (JSON: pid and creation time) is written before the program runs, so that the next run finds the process
even if its parent is killed. On Linux the kernel also sends the program SIGTERM when its parent dies (PARENT is the
parent's process id; 0 for no leash). This is a separate script, because code between fork and exec is not safe in a
Python process with threads.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h; it survives exec."""


def main(arguments: list[str]) -> None:
    """Become the program; returns only by an error."""
    note, parent, *command = arguments
    _write(Path(note), json.dumps({"pid": os.getpid(), "created": psutil.Process().create_time()}))
    if sys.platform == "linux" and parent != "0":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit("leash: the parent process has already died")
    try:
        os.execv(command[0], command)  # noqa: S606 - the command is the caller's own
    except OSError as error:
        sys.exit(f"leash: cannot start {command[0]}: {error.strerror}")


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
