"""Reads `.env` and finds invalid lines and unknown names, which pydantic ignores."""

import difflib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from dotenv.parser import Binding, parse_stream

ENV_FILE = ".env"


def read_env_file() -> tuple[dict[str, str], list[str]]:
    """Read `.env` in the working directory. Return its values by name, and a message for each problem."""
    path = Path(ENV_FILE)
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [f"{ENV_FILE}: cannot be read: {error.strerror}"]
    except UnicodeDecodeError:
        return {}, [f"{ENV_FILE}: must be text in UTF-8"]
    problems = [f"{ENV_FILE} line {_line(each)}: must be NAME=value" for each in bindings if each.error]
    return {each.key: each.value or "" for each in bindings if each.key}, problems


def unknown_names(names: Iterable[str], known: Collection[str], prefix: str) -> list[str]:
    """Return a message for each name under `prefix` that is not known, with the most similar known name.

    Values are not shown: one may be a secret under a misspelt name.
    """
    ours = {name for name in names if name.upper().startswith(prefix)}
    unknown = sorted(name for name in ours if name.upper() not in known)
    return [f"{ascii(name)[1:-1]}: unknown setting{_hint(name.upper(), known, prefix)}" for name in unknown]


def secret_values(name: str, file_values: dict[str, str]) -> set[str]:
    """Return the values of `name`, in any case, in the environment and in `.env`."""
    found = [*os.environ.items(), *file_values.items()]
    return {value.strip() for key, value in found if key.upper() == name and value.strip()}


def _hint(name: str, known: Collection[str], prefix: str) -> str:
    # Without the prefix, which would make all names similar.
    shorter = {each.removeprefix(prefix): each for each in known}
    near = difflib.get_close_matches(name.removeprefix(prefix), shorter, n=1, cutoff=0.5)
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"; did you mean {shorter.get(near[0], near[0])}?" if near else "; see .env.example for all settings"


def _line(binding: Binding) -> int:
    text = binding.original.string
    return binding.original.line + len(text) - len(text.lstrip("\n"))
