"""Loads the Lua operations: one file per operation under `worker/lua`, the same stem in Python.

Every operation gets what it uses of `common.lua` in front of it, and the map of keys and the names of states and
outcomes from Python, so that neither is spelled twice. KEYS[1] is always the account's key prefix.

All operations are idempotent (by claim token, request id or call id): redis-py may send one again after a lost answer.
Those that finish or look after accepted work carry Redis' `allow-oom` flag, so that a server that is out of memory
still drains (Redis documentation, "EVAL script flags").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script
from redis.exceptions import ResponseError

from worker.states import FINAL_STATES, Doubt, Outcome, State
from worker.store.keys import BASES, NAMES, Keys

ROOMS = Path(__file__).parents[1]
REFUSED_WHEN_FULL = frozenset({"enqueue"})
_SHEBANG = "#!lua flags=allow-oom\n"

_DEFINES = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)


@cache
def _files() -> dict[str, Path]:
    """Return the files of all operations by their names; those of the cleanup begin with `cleanup_`."""
    paths = [path for path in ROOMS.glob("*/lua/*.lua") if path.stem != "common"]
    return {("cleanup_" if path.parts[-3] == "cleanup" else "") + path.stem: path for path in paths}


def file_of(name: str) -> Path:
    """Return the file of an operation."""
    return _files()[name]


def operation_names() -> list[str]:
    """Return the names of all operations, sorted."""
    return sorted(_files())


@cache
def _shared_pieces() -> list[tuple[str, str]]:
    """Return what operations share, in order: pairs of a name and the Lua text that defines it."""
    tables = {
        "STATE": [f"{state.name} = '{state}'" for state in State],
        "FINAL": [f"['{state}'] = true" for state in sorted(FINAL_STATES)],
        "OUTCOME": [f"{outcome.name} = '{outcome}'" for outcome in Outcome],
        "OUTCOMES": [f"'{outcome}'" for outcome in Outcome],
        "DOUBT": [f"{doubt.name} = '{doubt}'" for doubt in Doubt],
    }
    pieces = [(name, f"local {name} = {{{', '.join(entries)}}}") for name, entries in tables.items()]
    for text in (ROOMS / "store" / "lua" / "common.lua").read_text("utf-8").split("\n\n"):
        pieces += [(name, text) for name in _DEFINES.findall(text)]
    return pieces


@cache
def source_of(name: str) -> str:
    """Return the Lua text of an operation as it is sent to Redis: what it needs of `common.lua`, and its own file.

    Redis runs the whole text at every call, so what an operation does not use is left out.
    """
    text = _files()[name].read_text("utf-8")
    for defined, piece in reversed(_shared_pieces()):
        if piece not in text and re.search(rf"\b{defined}\b", _without_comments(text)):
            text = f"{piece}\n{text}"
    used = [key for key in (*NAMES, *BASES) if f"KEY.{key}" in text or f"KEY['{key}'" in text]
    keys = ", ".join(f"['{key}'] = KEYS[1] .. '{key}'" for key in used)
    return f"local KEY = {{{keys}}}\n{text}"


def _without_comments(text: str) -> str:
    return re.sub(r"--.*", "", text)


def _takes_flags(redis: Redis) -> bool:
    """Whether the server knows script flags (Redis 7 and newer, Valkey)."""
    try:
        redis.eval(_SHEBANG + "return 1", 0)
    except ResponseError:
        return False
    return True


class Scripts:
    """The operations of one account on one Redis, called by name."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts: dict[str, Script] = {}
        self._shebang: str | None = None

    def _script(self, name: str) -> Script:
        script = self._scripts.get(name)
        if script is None:
            if self._shebang is None:
                self._shebang = _SHEBANG if _takes_flags(self._redis) else ""
            head = "" if name in REFUSED_WHEN_FULL else self._shebang
            script = self._scripts[name] = self._redis.register_script(head + source_of(name))
        return script

    def run(self, name: str, *args: str | float, pipe: Pipeline | None = None, keys: Sequence[str] = ()) -> Any:
        """Run an operation, or add it to `pipe`; further KEYS follow the prefix."""
        return self._script(name)([self._keys.prefix, *keys], args, client=pipe)
