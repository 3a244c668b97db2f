"""The list of file ids that `make run` works on: real in form and size, with everything that lists have wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from simulator import generate_ids

_MISSING_IN = 400
_TWICE_IN = 200
"""One id in so many does not exist, or stands in the list twice."""


@dataclass(frozen=True)
class DemoInput:
    """What was written down, and what is true of it."""

    existing: list[str]
    """Ids of files, that of the refused one included."""
    missing: list[str]
    refused: str
    duplicates: int

    @property
    def lines(self) -> int:
        """Ids in the list, those that stand there twice counted twice."""
        return len(self.existing) + len(self.missing) + self.duplicates


def make_input(files: int) -> DemoInput:
    """Make up ids: so many files (at least one), and some that never were."""
    ids = generate_ids(seed=20_000)
    existing = list(islice(ids, max(1, files)))
    missing = list(islice(ids, max(1, files // _MISSING_IN)))
    refused = existing[len(existing) // 2]
    return DemoInput(existing, missing, refused, duplicates=max(1, files // _TWICE_IN))


def write_list(made: DemoInput, path: Path) -> None:
    """Write the list as a file for `kitsweep delete`: one id a line, in any order, some of them twice."""
    dice = random.Random(1)  # noqa: S311 - no secrets
    lines = [*made.existing, *made.missing, *dice.choices(made.existing, k=made.duplicates)]
    dice.shuffle(lines)
    path.write_text("# file ids to delete, made by `make run`\n" + "\n".join(lines) + "\n", encoding="utf-8")
