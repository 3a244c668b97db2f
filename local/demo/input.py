"""The list of file ids that `make run` works on: realistic in form and size, with the flaws that lists have."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from simulator import generate_ids

_MISSING_IN = 400
"""One id in so many belongs to no file."""
_TWICE_IN = 200
"""One file in so many is listed twice."""


@dataclass(frozen=True)
class DemoInput:
    """The ids of a list, by what is true of them."""

    existing: list[str]
    """Ids of files, the refused one included."""
    missing: list[str]
    refused: str
    duplicates: int

    def write(self, path: Path) -> None:
        """Write the list as a file for `kitsweep delete`: one id a line, in random order, some of them twice."""
        dice = random.Random(1)  # noqa: S311 - no secrets
        lines = [*self.existing, *self.missing, *dice.choices(self.existing, k=self.duplicates)]
        dice.shuffle(lines)
        path.write_text("# file ids to delete, made by `make run`\n" + "\n".join(lines) + "\n", encoding="utf-8")


def make_input(files: int) -> DemoInput:
    """Make up the ids of so many files (at least one), and some that belong to none."""
    ids = generate_ids(seed=20_000)
    existing = list(islice(ids, max(1, files)))
    missing = list(islice(ids, max(1, files // _MISSING_IN)))
    refused = existing[len(existing) // 2]
    return DemoInput(existing, missing, refused, duplicates=max(1, files // _TWICE_IN))
