"""The files of the simulator that `kitsweep up` runs: those that its last run left, and new ones.

The simulator forgets when it stops. Redis does not: ids that wait must exist after a restart, and ids that were deleted
must stay gone, or reports would tell of files that are there.
"""

from __future__ import annotations

import secrets
from itertools import islice
from pathlib import Path
from typing import cast

from simulator import generate_ids
from worker.queue.operations import Queue


def write_sample_ids(path: Path, count: int, queue: Queue) -> None:
    """Write `count` ids into the file, one a line: all that it holds and that are not deleted, then new ones."""
    kept = _not_gone(_read(path), queue)
    new = islice(generate_ids(secrets.randbits(64)), max(0, count - len(kept)))
    path.write_text("".join(f"{file_id}\n" for file_id in [*kept, *new]), encoding="utf-8")


def _read(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return []


def _not_gone(file_ids: list[str], queue: Queue) -> list[str]:
    """Return those that are not remembered as deleted."""
    if not file_ids:
        return []
    with queue.redis.pipeline(transaction=False) as pipe:
        for turn in ("gone:0", "gone:1"):
            pipe.smismember(queue.keys(turn), file_ids)
        old, new = cast("list[list[int]]", pipe.execute())
    return [file_id for file_id, *gone in zip(file_ids, old, new, strict=True) if not any(gone)]
