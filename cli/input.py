"""Opens what `delete` reads, counts the file ids, and shows how far the reading is when it takes long."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO

from cli.common import CommandError
from cli.screen.output import clean, is_terminal, number, words
from tasks.id_files import Form, InputError, read_file_ids

FIRST_SECONDS = 1.0
"""Nothing is shown of a reading that is over sooner."""
LINE_SECONDS = 5.0
DRAW_SECONDS = 0.2
_AT_ONCE = 500
"""File ids that are read between two looks at the clock."""


class Source:
    """The file ids of one input: iterate once."""

    def __init__(
        self, stream: BinaryIO, name: str, form: Form | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.count = 0
        """File ids read so far."""
        self.is_typed = is_terminal(sys.stdin) and stream is sys.stdin.buffer
        self._stream = stream
        self._form = form
        self._clock = clock
        self._size = _size(stream)

    def __iter__(self) -> Iterator[str]:
        """Yield the ids. Raises `CommandError` that names the line of a fault, or why the input cannot be read."""
        shown = _Shown(self._clock)
        try:
            ids = (file_id for _, file_id in read_file_ids(self._stream, self._form))
            while some := list(islice(ids, _AT_ONCE)):
                self.count += len(some)
                shown.show(self._progress)
                yield from some
        except InputError as error:
            raise CommandError(_refusal(f"{self.name}, {error}")) from None
        except OSError as error:
            raise CommandError(_refusal(f"{self.name}: {error.strerror or error}")) from None
        finally:
            shown.end()

    def _progress(self) -> str:
        share = f", {100 * self._stream.tell() // self._size}%" if self._size else ""
        return f"reading {clean(self.name)}: {number(self.count)} ids{share}"


def _refusal(problem: str) -> str:
    return f"{problem}{'' if problem.endswith(('?', '.')) else '.'} Nothing was enqueued."


class _Shown:
    """One line that is drawn anew on a terminal, or a line now and then elsewhere."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._is_terminal = is_terminal(sys.stderr)
        self._next = clock() + FIRST_SECONDS
        self._drawn = False

    def show(self, text: Callable[[], str]) -> None:
        if self._clock() < self._next:
            return
        self._next = self._clock() + (DRAW_SECONDS if self._is_terminal else LINE_SECONDS)
        if self._is_terminal:
            sys.stderr.write(f"\r\x1b[K{text()}")
            sys.stderr.flush()
            self._drawn = True
        else:
            words(text())

    def end(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _size(stream: BinaryIO) -> int:
    """Bytes of a regular file; 0 for anything else."""
    try:
        about = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return 0
    return about.st_size if stat.S_ISREG(about.st_mode) else 0


@contextmanager
def opened(path: str, form: Form | None) -> Iterator[Source]:
    """Open a file, or standard input for `-`. Raises `CommandError` when it cannot be opened."""
    if path == "-":
        if is_terminal(sys.stdin):
            words("Type file ids, one a line; Ctrl-D ends them.")
        yield Source(sys.stdin.buffer, "standard input", form)
        return
    try:
        stream = open(path, "rb")  # noqa: PTH123, SIM115 - a path as it was typed; closed below
    except OSError as error:
        raise CommandError(_refusal(f"{path}: {error.strerror}")) from None
    with stream:
        yield Source(stream, path, form)
