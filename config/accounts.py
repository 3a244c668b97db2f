"""Reads the accounts file: ImageKit accounts that one installation serves. Reports every problem with its line.

Each account has the settings of the environment, with its own key and with what its table changes.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.environment import read_env_file
from config.names import NAME_RULE, is_name
from config.problems import ConfigError, describe, shorten
from config.settings import Settings, environment_name
from config.toml_lines import line_of, syntax_problem

KEYS = ("key", "key_env", "key_file")
"""How an account gives its private key: itself, or the name of a variable or of a file that holds it."""
CHANGES = ("base_url", "rate_limits", "rate_share", "guards", "cleanup_file")
"""Settings that an account may change."""
MAX_BYTES = 1_000_000
_TWICE = re.compile(r"\('accounts', '([^']+)'\) twice")


class AccountsError(ConfigError):
    """The accounts file cannot be used: one line for each problem, with the file's name and the line number."""


class _Problem(NamedTuple):
    line: int
    text: str


Stamp = tuple[tuple[str, int, int, int], ...]
"""Name, time of change, size and inode of files, which tell whether one has changed."""


@dataclass(frozen=True)
class AccountsFile:
    """A valid accounts file."""

    accounts: dict[str, Settings]
    """The settings of each account, by name, in the order of the file."""
    stamp: Stamp
    """Of the file and of the files that hold keys, as they were when they were read."""
    exposed: list[str] = field(default_factory=list)
    """Files with keys that every user of the machine can read; a message for each."""


def read_accounts(base: Settings) -> AccountsFile:
    """Read the file that `base.accounts_file` names. Raises `AccountsError`."""
    path = Path(base.accounts_file or "")
    reading = _Reading(path, base)
    try:
        return reading.read()
    except _Invalid as error:
        raise AccountsError(f"{path}:{line}: {text}" for line, text in sorted(error.problems)) from None


def stamp_of(names: list[str]) -> Stamp:
    """Return the stamp of files. One that does not exist has zeros."""
    return tuple((name, *_stamp_of_one(name)) for name in names)


def _stamp_of_one(name: str) -> tuple[int, int, int]:
    try:
        about = Path(name).stat()
    except OSError:
        return 0, 0, 0
    return about.st_mtime_ns, about.st_size, about.st_ino


class _Invalid(Exception):
    def __init__(self, problems: list[_Problem]) -> None:
        super().__init__()
        self.problems = problems


class _Reading:
    """One pass over a file, which collects its problems."""

    def __init__(self, path: Path, base: Settings) -> None:
        self._path = path
        self._base = base
        self._files = [str(path)]
        self._text = ""
        self._problems: list[_Problem] = []
        self._variables: dict[str, str] | None = None

    def read(self) -> AccountsFile:
        stamp = stamp_of(self._files)
        tables = self._tables()
        found = {name: settings for name in tables if (settings := self._settings(name, tables[name])) is not None}
        self._check_keys(found)
        if self._problems:
            raise _Invalid(self._problems)
        return AccountsFile(found, stamp + stamp_of(self._files[1:]), list(self._exposed(tables)))

    def _tables(self) -> dict[str, dict[str, Any]]:
        self._text = self._content()
        try:
            content = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            line, text = syntax_problem(error, self._text)
            twice = _TWICE.search(text)
            raise _Invalid([_Problem(line, f"account {twice[1]} is declared twice" if twice else text)]) from None
        except RecursionError:
            raise _Invalid([_Problem(1, "is nested too deeply")]) from None
        for name in content.keys() - {"accounts"}:
            self._add((name,), f"unknown name {shorten(name)[1:-1]}; accounts are tables such as [accounts.shop]")
        tables = content.get("accounts", {})
        if not isinstance(tables, dict):
            raise _Invalid([_Problem(line_of(self._text, ("accounts",)), "accounts must be tables: [accounts.shop]")])
        return {name: table for name, table in tables.items() if self._is_account(name, table)}

    def _content(self) -> str:
        try:
            with self._path.open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise _Invalid([_Problem(1, f"cannot be read: {error.strerror}")]) from None
        if len(content) > MAX_BYTES:
            raise _Invalid([_Problem(1, f"is longer than {MAX_BYTES} bytes")])
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _Invalid([_Problem(content.count(b"\n", 0, error.start) + 1, "must be text in UTF-8")]) from None

    def _is_account(self, name: str, table: object) -> bool:
        if not is_name(name):
            self._add(("accounts", name), f"the name of an account {NAME_RULE}, not {shorten(name)}")
        elif not isinstance(table, dict):
            self._add(("accounts", name), f"account {name} must be a table: [accounts.{name}]")
        return is_name(name) and isinstance(table, dict)

    def _settings(self, name: str, table: dict[str, Any]) -> Settings | None:
        known = [*KEYS, *CHANGES]
        for each in table.keys() - set(known):
            near = difflib.get_close_matches(each, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"the names are {', '.join(known)}"
            self._add(("accounts", name, each), f"account {name}: unknown name {shorten(each)[1:-1]}; {hint}")
        key = self._key(name, table)
        changes = {each: table[each] for each in CHANGES if each in table}
        if name != self._base.account:
            # The rules of one account must not delete files of another.
            changes.setdefault("cleanup_file", f"cleanup-{name}.toml")
        try:
            return self._base.of_account({**changes, "account": name, "private_key": key}) if key else None
        except ValidationError as error:
            details = error.errors(include_url=False)
        for detail in details:
            self._add_invalid(name, table, detail)
        return None

    def _add_invalid(self, name: str, table: dict[str, Any], detail: ErrorDetails) -> None:
        names = {environment_name(each): each for each in CHANGES} | {each: each for each in CHANGES}
        known = names.get(str(detail["loc"][0]))
        if known is None:
            given = next(each for each in KEYS if each in table)
            text = f"the key {detail.get('ctx', {}).get('error', 'is invalid')}"
        else:
            given, shown = known, None if known == "base_url" else shorten(detail["input"])
            text = describe(detail, known, Settings.model_fields[known], shown)
        self._add(("accounts", name, given), f"account {name}: {text}")

    def _key(self, name: str, table: dict[str, Any]) -> str | None:
        """Return the private key of an account; None if it is not usable."""
        given = [each for each in KEYS if each in table]
        if len(given) != 1:
            problem = f"give one of {', '.join(KEYS)}" + (f", not {' and '.join(given)}" if given else "")
            self._add(("accounts", name), f"account {name}: {problem}")
            return None
        how, value = given[0], table[given[0]]
        if not isinstance(value, str) or not value.strip():
            self._add(("accounts", name, how), f"account {name}: {how} must be text")
            return None
        key, problem = self._looked_up(how, value.strip())
        if not key:
            self._add(("accounts", name, how), f"account {name}: {problem}")
        return key or None

    def _looked_up(self, how: str, value: str) -> tuple[str, str]:
        """Return a key, or an empty one and the problem."""
        if how == "key":
            return value, ""
        if how == "key_env":
            return self._variable(value), f"the variable {shorten(value)[1:-1]} (key_env) is not set"
        self._files.append(value)
        try:
            return Path(value).read_text("utf-8").strip(), f"the file {shorten(value)} (key_file) is empty"
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it must be text in UTF-8"
            return "", f"the file {shorten(value)} (key_file) cannot be read: {why}"

    def _variable(self, name: str) -> str:
        if self._variables is None:
            self._variables = read_env_file()[0]
        return (os.environ.get(name) or self._variables.get(name) or "").strip()

    def _check_keys(self, found: Mapping[str, Settings]) -> None:
        """Refuse a key that two accounts have: they would exceed its limit together."""
        owners: dict[str, str] = {}
        if self._base.account not in found and self._base.private_key:
            owners[self._base.private_key.get_secret_value()] = f"{self._base.account} (IMAGEKIT_PRIVATE_KEY)"
        for name, settings in found.items():
            key = settings.private_key.get_secret_value() if settings.private_key else ""
            if key in owners:
                self._add(("accounts", name), f"account {name} has the same key as account {owners[key]}")
            owners.setdefault(key, name)

    def _exposed(self, tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        if any("key" in table for table in tables.values()) and _is_public(self._path):
            yield (
                f"{self._path} holds keys, and every user of this machine can read it: "
                f"`chmod 640 {self._path}`, or use key_env or key_file"
            )
        for name in self._files[1:]:
            if _is_public(Path(name)):
                yield f"{name} holds a key, and every user of this machine can read it: `chmod 640 {name}`"

    def _add(self, path: tuple[str, ...], text: str) -> None:
        self._problems.append(_Problem(line_of(self._text, path), text))


def _is_public(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
