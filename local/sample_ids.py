"""The files of the simulator that `kitsweep up` runs: those of its last run that still exist, and new ones.

The simulator forgets its files when it stops, but Redis keeps the queue. Ids that wait must exist after a restart, and
ids that were deleted must stay gone, or reports would be wrong.
"""

from __future__ import annotations

import secrets
from itertools import islice
from pathlib import Path

from simulator import generate_ids
from tasks.admin import Admin


def renew_sample_ids(path: Path, count: int, admin: Admin) -> list[str]:
    """Return `count` ids, and write them to the file, one a line: those in it that were not deleted, then new ones."""
    known = path.read_text(encoding="utf-8").split() if path.exists() else []
    gone = admin.gone(known)
    left = [file_id for file_id in known if file_id not in gone]
    file_ids = [*left, *islice(generate_ids(secrets.randbits(64)), max(0, count - len(left)))]
    path.write_text("".join(f"{file_id}\n" for file_id in file_ids), encoding="utf-8")
    return file_ids
