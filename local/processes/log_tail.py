"""Follows a log file that another process writes, and selects the lines to show at once."""

import json
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from worker.text import escape

_LEVEL = re.compile(
    r"""(?:\S+\ |\{"at":\ "[^"]*",\ "level":\ "|\[[^]]*:\ )(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b""", re.VERBOSE
)
"""How a line starts in our logs (as text and as JSON), and in Celery's own before ours are set up."""
_SEVERE = frozenset({"WARNING", "ERROR", "CRITICAL"})
_MOST_BYTES = 1 << 20
_MOST_WIDTH = 500


class LogTail:
    """Gives the new lines of a log at WARNING or above, the lines of their tracebacks included."""

    def __init__(self, path: Path) -> None:
        self._path = path
        about = path.stat() if path.exists() else None
        self._inode, self._offset = (about.st_ino, about.st_size) if about else (0, 0)
        self._rest = b""
        self._severe = False

    def severe_lines(self) -> Iterator[str]:
        """Yield what was written since the last call at WARNING or above, safe for a terminal."""
        for line in self._new_lines():
            level = _LEVEL.match(line)
            if level:
                self._severe = level[1] in _SEVERE
            if self._severe and line.strip():
                yield escape(_plain(line))[:_MOST_WIDTH]

    def _new_lines(self) -> Iterator[str]:
        try:
            with self._path.open("rb") as stream:
                inode = os.fstat(stream.fileno()).st_ino
                if inode != self._inode:
                    self._inode, self._offset = inode, 0  # The log was replaced by a new one.
                stream.seek(self._offset)
                new = stream.read(_MOST_BYTES)
        except OSError:
            return
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)


def _plain(line: str) -> str:
    """Return the message of a line that is a JSON object, with its level; any other line as it is."""
    try:
        event = json.loads(line)
        return f"{event['level']} {event['message']}"
    except (ValueError, KeyError, TypeError):
        return line


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a log, safe for a terminal."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            lines = deque((line.rstrip() for line in stream if line.strip()), count)
    except OSError:
        return []
    return [escape(line)[:_MOST_WIDTH] for line in lines]
