"""Guards of sources: how many files a source may have deleted by one request before somebody is asked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

ALL = "*"
"""The name under which stands the guard of every source that has none of its own."""
MAX_FILES = 1_000_000_000
FORM = '{"catalog": {"max_files": 5000, "usual_factor": 10}, "*": {"max_files": 100000}}'
_SOURCE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Guard:
    """Bounds of one request; beyond any of them it is held for approval. 0 is no bound."""

    max_files: int = 0
    max_share: float = 0.0
    """Of the files in the library, as last counted."""
    usual_factor: float = 0.0
    """How many times the median of the source's last ten requests that went through."""


@dataclass(frozen=True, slots=True)
class Guards:
    """The guards of all sources, by name."""

    by_source: Mapping[str, Guard] = field(default_factory=dict)

    def bounds_of(self, source: str) -> str:
        """Return the bounds as the operation `enqueue` takes them; empty for a source without a guard."""
        guard = self.by_source.get(source) or self.by_source.get(ALL)
        return f"{guard.max_files} {guard.usual_factor:g} {guard.max_share:g}" if guard else ""

    @property
    def need_a_count(self) -> bool:
        """Whether any guard is a share of the library, whose files must then be counted now and then."""
        return any(guard.max_share for guard in self.by_source.values())

    @classmethod
    def read(cls, value: object) -> Guards:
        """Read the setting's JSON, or what it holds. ``ValueError`` says what is wrong."""
        if isinstance(value, cls):
            return value
        try:
            decoded = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            decoded = None
        if not isinstance(decoded, Mapping):
            raise ValueError(f"must be a JSON object such as {FORM}")
        return cls({str(source): _guard(str(source), about) for source, about in decoded.items()})

    def __str__(self) -> str:
        """Write the guards so that ``read`` reads them back."""
        shown = {
            source: {name: getattr(guard, name) for name in Guard.__slots__ if getattr(guard, name)}
            for source, guard in self.by_source.items()
        }
        return json.dumps(shown) if shown else "{}"


def _guard(source: str, about: object) -> Guard:
    if source != ALL and not _SOURCE.fullmatch(source):
        raise ValueError(f"{source[:64]!a} is no source; names are 1 to 64 of A-Z a-z 0-9 . _ -, or * for all")
    if not isinstance(about, Mapping) or not about:
        raise ValueError(f"{source}: must be an object with max_files, max_share or usual_factor, such as {FORM}")
    unknown = [str(name) for name in about if name not in Guard.__slots__]
    if unknown:
        raise ValueError(f"{source}: unknown guard {unknown[0][:40]!a}; there are {', '.join(Guard.__slots__)}")
    return Guard(
        max_files=_max_files(source, about.get("max_files", 0)),
        max_share=_share(source, about.get("max_share", 0.0)),
        usual_factor=_factor(source, about.get("usual_factor", 0.0)),
    )


def _max_files(source: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_FILES:
        raise ValueError(f"{source}: max_files must be a whole number from 0 (no bound) to {MAX_FILES}")
    return value


def _share(source: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{source}: max_share must be a number from 0 (no bound) to 1")
    return float(value)


def _factor(source: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{source}: usual_factor must be a number from 1, or 0 for no bound")
    if value and not 1 <= value <= 1_000_000:
        raise ValueError(f"{source}: usual_factor must be a number from 1 to 1000000, or 0 for no bound")
    return float(value)
