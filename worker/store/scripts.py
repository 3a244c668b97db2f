"""Loads and runs the Lua operations, named by room and verb: `queue/claim` is `worker/queue/lua/claim.lua`.

Code that operations share is in `lua/lib`; a file's first line, `-- uses: base, lines`, names the libraries it needs.
It may also name operations, such as `queue/claim`, which become functions: `claim({arguments as JSON})`.
The tables of states and outcomes come from Python, so that they are defined once. `KEY.waiting` is that name with the
account's prefix, KEYS[1]; `use_account(prefix)` changes the account. ARGV[1] is a JSON object.

All operations are idempotent (by claim token, request id or call id), since redis-py repeats one whose reply is lost.
All but those that accept new work carry Redis' `allow-oom` flag, so that a server that is out of memory still drains
(Redis documentation, "EVAL script flags").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script
from redis.exceptions import ResponseError

from worker.states import FINAL_STATES, TAKEN, Doubt, Outcome, PurgeState, State
from worker.store.buckets import BUCKETS
from worker.store.keys import ALL_WAIT, DEFAULT_ACCOUNT, FORMAT, RESULT, Keys

ROOMS = Path(__file__).parents[1]
OPERATIONS = {f"{path.parts[-3]}/{path.stem}": path for path in sorted(ROOMS.glob("*/lua/*.lua"))}
"""The file of each operation."""
REFUSED_WHEN_FULL = frozenset({"queue/enqueue", "queue/enqueue_many", "queue/submit", "intake/accept"})
_SHEBANG = "#!lua flags=allow-oom\n"
_USES = "-- uses: "
_LIBRARY = {path.stem: path for path in ROOMS.glob("*/lua/lib/*.lua")}


def _table(entries: Iterable[str]) -> str:
    return f"{{{', '.join(entries)}}}"


_NAMES = {
    "STATE": _table(f"{state.name} = '{state}'" for state in State),
    "FINAL": _table(f"['{state}'] = true" for state in sorted(FINAL_STATES)),
    "OUTCOME": _table(f"{outcome.name} = '{outcome}'" for outcome in Outcome),
    "OUTCOMES": _table(f"'{outcome}'" for outcome in Outcome),
    "PURGE": _table(f"{state.name} = '{state}'" for state in PurgeState),
    "DOUBT": _table(f"{doubt.name} = '{doubt}'" for doubt in Doubt),
    "BUCKETS": _table(f"{name} = {_table(map(str, bounds))}" for name, bounds in BUCKETS.items()),
    "TAKEN": f"'{TAKEN}'",
    "RESULT": f"'{RESULT}'",
    "DEFAULT_ACCOUNT": f"'{DEFAULT_ACCOUNT}'",
    "ALL_WAIT": f"'{ALL_WAIT}'",
}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
T = TypeVar("T")
_HEAD = """\
local PREFIX = KEYS[1]
local KEY = setmetatable({}, {__index = function(names, name)
  names[name] = PREFIX .. name
  return names[name]
end})
"""


@cache
def source_of(name: str) -> str:
    """Return the Lua code of an operation: the names and libraries that it uses, and its own file."""
    included: dict[str, str] = {}
    _include(OPERATIONS[name].read_text("utf-8"), included)
    text = "\n".join([*included.values(), OPERATIONS[name].read_text("utf-8")])
    names = [f"local {name} = {value}\n" for name, value in _NAMES.items() if name in text]
    return "".join([_HEAD, *names, text])


def _include(text: str, included: dict[str, str]) -> None:
    """Add what a file uses, each library and operation once and after what it uses itself."""
    first_line = text.partition("\n")[0]
    if first_line.startswith(_USES):
        for name in first_line.removeprefix(_USES).split(", "):
            if name not in included:
                text = (_LIBRARY | OPERATIONS)[name].read_text("utf-8")
                _include(text, included)
                included[name] = _as_function(name, text) if name in OPERATIONS else text


def _packed(args: Mapping[str, Any]) -> str:
    return _encode({name: value for name, value in args.items() if value is not None})


def _as_function(name: str, text: str) -> str:
    return f"local function {name.rpartition('/')[2]}(ARGV)\n{text}\nend\n"


class Step(NamedTuple, Generic[T]):
    """One operation with its arguments, and how its reply is read: run alone, or within another operation."""

    name: str
    args: dict[str, Any]
    read: Callable[[Any], T]

    def packed(self) -> str:
        """Return the arguments as the operation takes them."""
        return _packed(self.args)


class Scripts:
    """The operations of one account on one Redis, called by name."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts: dict[str, Script] = {}
        self._shebang: str | None = None

    def run(
        self,
        name: str,
        args: Mapping[str, Any],
        *values: str,
        pipe: Pipeline | None = None,
        keys: Sequence[str] = (),
    ) -> Any:
        """Run an operation, or add it to `pipe`.

        `keys` follow the prefix in KEYS, and `values` follow `args` in ARGV. An argument that is None is nil in Lua.
        """
        self.prepare()
        return self._script(name)([self._keys.prefix, *keys], [_packed(args), *values], client=pipe)

    def do(self, step: Step[T]) -> T:
        """Run one step."""
        return step.read(self.run(step.name, step.args))

    def prepare(self) -> None:
        """Upgrade what is stored to the current format, once per process; `run` does it too."""
        if self._shebang is None:
            self._shebang = self._upgrade()

    def _script(self, name: str) -> Script:
        if name not in self._scripts:
            head = "" if name in REFUSED_WHEN_FULL else self._shebang or ""
            self._scripts[name] = self._redis.register_script(head + source_of(name))
        return self._scripts[name]

    def _upgrade(self) -> str:
        """Upgrade what is stored to the current format; return the line that lets a full server run an operation."""
        upgrade, packed = source_of("store/upgrade"), _encode({"format": FORMAT})
        try:
            self._redis.eval(_SHEBANG + upgrade, 1, self._keys.prefix, packed)
        except ResponseError:  # The fake server does not know flags.
            self._redis.eval(upgrade, 1, self._keys.prefix, packed)
            return ""
        return _SHEBANG
