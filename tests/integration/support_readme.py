"""Finds the blocks of a Markdown text that are to be run: fenced, right after `<!-- test: run -->` or `python -->`."""

from __future__ import annotations

import re
from typing import NamedTuple

LANGUAGES = {"run": frozenset({"bash", "console", "sh", "shell"}), "python": frozenset({"python"})}
_MARK = re.compile(r"^<!--\s*test:\s*(?P<kind>.*?)\s*-->\s*$")
_FENCE = re.compile(r"^```(?P<language>\w*)\s*$")
_FILE_ID = re.compile(r"\b[0-9a-f]{24}\b")


class Block(NamedTuple):
    """A block that is to be run."""

    kind: str
    """run: with bash; python: as the program of a foreign service."""
    line: int
    """Line of its mark, from 1."""
    text: str


def blocks_of(text: str) -> list[Block]:
    """Return the marked blocks in order. Raises `ValueError` for a mark that marks nothing."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        if mark := _MARK.match(line):
            found.append(_block(mark["kind"], lines, number))
    return found


def _block(kind: str, lines: list[str], number: int) -> Block:
    opening = _FENCE.match(lines[number + 1]) if number + 1 < len(lines) else None
    if kind not in LANGUAGES or opening is None or opening["language"] not in LANGUAGES[kind]:
        raise ValueError(f"line {number + 1}: `test: {kind}` must stand right before a block of {LANGUAGES.get(kind)}")
    end = lines.index("```", number + 2)
    body = lines[number + 2 : end]
    if opening["language"] == "console":
        body = [line.removeprefix("$ ") for line in body if line.startswith("$ ")]
    return Block(kind, number + 1, "\n".join(body) + "\n")


def file_ids_of(text: str) -> list[str]:
    """Return what in the text has the form of a file id, each once: files that the simulator must have."""
    return list(dict.fromkeys(_FILE_ID.findall(text)))
