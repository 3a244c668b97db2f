"""What `check` finds: one finding for each thing looked at."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Result(StrEnum):
    """How grave a finding is; only FAILED makes the check fail."""

    OK = "ok"
    REMARK = "remark"
    WARNING = "warning"
    FAILED = "failed"


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    result: Result
    detail: str
    """What was found, and where something is wrong, how to mend it."""
