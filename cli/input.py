"""Opens the input of `delete`, counts its file ids, and shows progress when reading takes long."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from cli.common import CommandError
from cli.screen.output import is_terminal, number, say
from tasks.client import Urls
from tasks.id_files import Form, InputError, read_file_ids
from worker.text import escape

if TYPE_CHECKING:
    from cli.screen.progress import Bar

QUIET_IDS = 5_000
"""Progress is shown only after this many ids, so never before the confirmation."""
_AT_ONCE = 500
"""File ids read between two updates."""


class InputFile:
    """The file ids of one input; iterate once."""

    def __init__(
        self, stream: BinaryIO, name: str, form: Form | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.count = 0
        """File ids read so far."""
        self.urls: Urls | None = None
        """If it is set, what is read puts the URLs of files into it."""
        self.is_typed = is_terminal(sys.stdin) and stream is sys.stdin.buffer
        self._stream = stream
        self._form = form
        self._clock = clock
        self._bar: Bar | None = None

    def __iter__(self) -> Iterator[str]:
        """Yield the ids. Raises `CommandError` that names the line of a mistake, or why the input cannot be read."""
        ids = (file_id for _, file_id in read_file_ids(self._stream, self._form, self.urls))
        try:
            while some := list(islice(ids, _AT_ONCE)):
                self.count += len(some)
                if self.count > QUIET_IDS:
                    self._show_progress()
                yield from some
        except InputError as error:
            raise CommandError(_refusal(f"{self.name}, {error}")) from None
        except OSError as error:
            raise CommandError(_refusal(f"{self.name}: {error.strerror or error}")) from None
        finally:
            if self._bar:
                self._bar.stop()

    def _show_progress(self) -> None:
        from cli.screen.progress import Bar  # noqa: PLC0415 - loads Rich, which most inputs do not need

        if self._bar is None:
            self._bar = Bar(self._clock, shows_rate=False)
            self._bar.start()
        size = _size(self._stream)
        read = self._stream.tell() if size else 0
        self._bar.show(f"reading {escape(self.name)}: {number(self.count)} ids", read, size)


def _refusal(problem: str) -> str:
    return f"{problem}{'' if problem.endswith(('?', '.')) else '.'} Nothing was enqueued."


def _size(stream: BinaryIO) -> int:
    """Return the bytes of a regular file; 0 for anything else."""
    try:
        about = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return 0
    return about.st_size if stat.S_ISREG(about.st_mode) else 0


@contextmanager
def opened(path: str, form: Form | None) -> Iterator[InputFile]:
    """Open a file, or standard input for `-`. Raises `CommandError` if it cannot be opened."""
    if path == "-":
        if is_terminal(sys.stdin):
            say("Type file ids, one per line; Ctrl-D ends the list.")
        yield InputFile(sys.stdin.buffer, "standard input", form)
        return
    try:
        stream = open(path, "rb")  # noqa: PTH123, SIM115 - a path as typed; closed below
    except OSError as error:
        raise CommandError(_refusal(f"{path}: {error.strerror}")) from None
    with stream:
        yield InputFile(stream, path, form)
