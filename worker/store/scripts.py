"""Loads the Lua operations: `<room>/lua/<verb>.lua` is the operation `<room>/<verb>`.

The first line of a Lua file, `-- uses: base, lines`, names the shared files (`<room>/lua/lib`) that it needs; each is
put in front of it once. The names of states and outcomes come from Python, so that they are not spelled twice. KEYS[1]
is always the account's key prefix; `KEY.name` is that prefix and a name of `worker.store.keys`.

All operations are idempotent (by claim token, request id or call id): redis-py may send one again after a lost answer.
Those that finish or look after accepted work carry Redis' `allow-oom` flag, so that a server that is out of memory
still drains (Redis documentation, "EVAL script flags").
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script
from redis.exceptions import ResponseError

from worker.states import FINAL_STATES, Doubt, Outcome, State
from worker.store.keys import Keys

ROOMS = Path(__file__).parents[1]
REFUSED_WHEN_FULL = frozenset({"queue/enqueue", "intake/accept"})
_SHEBANG = "#!lua flags=allow-oom\n"
_USES = "-- uses: "
_TABLES = {
    "STATE": [f"{state.name} = '{state}'" for state in State],
    "FINAL": [f"['{state}'] = true" for state in sorted(FINAL_STATES)],
    "OUTCOME": [f"{outcome.name} = '{outcome}'" for outcome in Outcome],
    "OUTCOMES": [f"'{outcome}'" for outcome in Outcome],
    "DOUBT": [f"{doubt.name} = '{doubt}'" for doubt in Doubt],
}
_KEY = """local KEY = setmetatable({}, {__index = function(known, name)
  known[name] = KEYS[1] .. name
  return known[name]
end})
"""


def file_of(name: str) -> Path:
    """Return the file of an operation."""
    room, verb = name.split("/")
    return ROOMS / room / "lua" / f"{verb}.lua"


def operation_names() -> list[str]:
    """Return the names of all operations, sorted."""
    return sorted(f"{path.parts[-3]}/{path.stem}" for path in ROOMS.glob("*/lua/*.lua"))


@cache
def _shared() -> dict[str, Path]:
    return {path.stem: path for path in ROOMS.glob("*/lua/lib/*.lua")}


def _with_used(path: Path) -> list[Path]:
    """Return a Lua file after all that it uses, each once."""
    first = path.read_text("utf-8").partition("\n")[0]
    names = first.removeprefix(_USES).split(", ") if first.startswith(_USES) else []
    used = [part for name in names for part in _with_used(_shared()[name])]
    return list(dict.fromkeys([*used, path]))


@cache
def source_of(name: str) -> str:
    """Return the Lua text of an operation as it is sent to Redis.

    Redis runs all of it at every call, so a table of names that it does not mention is left out.
    """
    text = "\n".join(path.read_text("utf-8") for path in _with_used(file_of(name)))
    tables = (f"local {table} = {{{', '.join(fields)}}}\n" for table, fields in _TABLES.items() if table in text)
    return _KEY + "".join(tables) + text


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
