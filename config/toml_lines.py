"""Finds the line of a key or of a mistake in a TOML file: the parser does not report it."""

import re
import tomllib

_NAME = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_HEADER = re.compile(r"\[\[?([^\[\]]+)\]\]?\s*(#.*)?")
_KEY = re.compile(rf"({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")
_PART = re.compile(r"""[^."'\s]+|"[^"]*"|'[^']*'""")


def line_of(text: str, path: tuple[str, ...]) -> int:
    """Return the line (from 1) in which a key stands, or else its table, or else 1."""
    best, depth = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if header := _HEADER.fullmatch(stripped):
            reached = table = _parts(header[1])
        elif key := _KEY.match(stripped):
            reached = (*table, *_parts(key[1]))
        else:
            continue
        shared = _shared(reached, path)
        if shared > depth:
            best, depth = number, shared
    return best


def syntax_problem(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Return the line (from 1) of what is not TOML, and what is wrong."""
    message = str(error)
    position = re.search(r"\(at line (\d+), column (\d+)\)", message)
    line = int(position[1]) if position else text.count("\n") + 1
    return line, f"this is not TOML: {message.split(' (at ', maxsplit=1)[0]}"


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _shared(reached: tuple[str, ...], path: tuple[str, ...]) -> int:
    short = min(len(reached), len(path))
    return short if reached[:short] == path[:short] else 0
