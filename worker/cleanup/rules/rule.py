"""A cleanup rule: which files it matches, when it runs, and its guards."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from config.guards import Guard
from config.names import CLEANUP
from worker.cleanup.rules.fields import CronExpression, Folder, Paths, Query, Seconds, Tags, TimeZone
from worker.cleanup.rules.schedule import MIN_EVERY_SECONDS, Cron, Every, Schedule
from worker.times import write_duration

SOURCE = CLEANUP
"""Prefix of the sources and ids of cleanup requests."""
USUAL_GUARD = Guard(max_files=1000, max_share=0.5, usual_factor=5.0)
_WHOLE_LIBRARY = PydanticCustomError(
    "whole_library", "the rule matches the whole library; narrow it by path, older_than, tags, file_type or query"
)
_ONE_SCHEDULE = PydanticCustomError(
    "one_schedule", 'set either schedule = "0 3 * * *" with a timezone, or every = "6h"'
)


def _with_usual_guard(table: object) -> object:
    return {**dict(USUAL_GUARD), **table} if isinstance(table, dict) else table


class Table(BaseModel):
    """A table of the rules file; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Conditions(Table):
    """Conditions on a file; it must meet all that are set."""

    query: Query | None = None
    """More conditions in ImageKit's search language. Only the API checks these."""
    path: Folder | None = None
    """A folder, with slashes at both ends."""
    older_than: Seconds | None = None
    """Since the file was created."""
    tags: Tags = ()
    """The file has one of these tags; tags that an AI added do not count."""
    file_type: Literal["image", "non-image"] | None = None
    recursive: bool = Field(default=False, validate_default=True)
    """Whether files in subfolders of `path` match too."""


class Keep(Table):
    """Files that no rule deletes. Case is ignored."""

    tags: Tags = ()
    """Tags that an AI added count here."""
    paths: Paths = ()
    """Folders with all their subfolders, or single files."""

    def __or__(self, other: Keep) -> Keep:
        """Keep the files of both."""
        return Keep.model_construct(tags=self.tags + other.tags, paths=self.paths + other.paths)


class RuleTable(Conditions):
    """The table of one rule in the file."""

    keep: Keep = Keep()
    guards: Annotated[Guard, BeforeValidator(_with_usual_guard)] = USUAL_GUARD
    cron: CronExpression | None = Field(None, validation_alias="schedule")
    every: Annotated[Seconds, Field(ge=MIN_EVERY_SECONDS)] | None = Field(None, validate_default=True)
    timezone: TimeZone | None = None
    """Of `cron`; UTC if unset."""
    missed: Literal["once", "skip"] = "once"
    """Whether one run makes up for those that were missed while beat was down."""
    first_run: Literal["hold", "release"] = "hold"
    """Whether the first run, and the first after a change of the conditions, waits for approval."""
    hold_seconds: Seconds = Field(0, validation_alias="hold")
    """Undo window: how long a run's request is on hold."""
    purge: Literal[True, False, "folder", "wait"] = False
    """Whether cached copies of the deleted files are purged from the CDN."""
    enabled: bool = True
    dry_run: bool = False
    """Whether runs only count."""

    @field_validator("recursive")
    @classmethod
    def _not_the_whole_library(cls, recursive: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's signature
        narrower = [info.data.get(name, "refused already") for name in ("query", "older_than", "tags", "file_type")]
        path = info.data.get("path", "refused already")
        if (path is None or (path == "/" and recursive)) and not any(narrower):
            raise _WHOLE_LIBRARY
        if recursive and path is None:
            raise ValueError("goes with path; without a path the whole library is searched anyway")
        return recursive

    @field_validator("every")
    @classmethod
    def _one_schedule(cls, every: int | None, info: ValidationInfo) -> int | None:
        if (every is None) == (info.data.get("cron", "refused already") is None):
            raise _ONE_SCHEDULE
        return every

    @field_validator("timezone")
    @classmethod
    def _goes_with_schedule(cls, timezone: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("every"):
            raise ValueError("goes with schedule; every does not depend on the time zone")
        return timezone


class Rule(RuleTable):
    """A validated rule of the file; `keep` includes that of the whole file."""

    name: str

    @property
    def schedule(self) -> Schedule:
        """When the rule is due."""
        return Every(self.every) if self.every else Cron(str(self.cron), self.timezone or "UTC")

    @property
    def fingerprint(self) -> str:
        """Identify what the rule matches and keeps."""
        parts: list[Any] = [self.model_dump(include=set(Conditions.model_fields)), self.keep.model_dump()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def timing(self) -> str:
        """Identify the schedule; empty while the rule is disabled."""
        return f"{type(self.schedule).__name__} {self.schedule}" if self.enabled else ""

    def __str__(self) -> str:
        """Describe the rule in one line."""
        more = [f"hold {write_duration(self.hold_seconds)}"] if self.hold_seconds else []
        more += ["purges" if self.purge is True else f"purges ({self.purge})"] if self.purge else []
        more += ["disabled"] if not self.enabled else []
        more += ["dry run"] if self.dry_run else []
        more += ["first run released"] if self.first_run == "release" else []
        return ", ".join([f"{self.name}: {describe(self)}", *more])


def describe(conditions: Conditions) -> str:
    """Describe which files match."""
    parts = []
    if conditions.path:
        parts.append(f"in {conditions.path}{' and below' if conditions.recursive else ''}")
    if conditions.older_than is not None:
        parts.append(f"older than {write_duration(conditions.older_than)}")
    if conditions.tags:
        parts.append("tagged " + " or ".join(conditions.tags))
    if conditions.file_type:
        parts.append(f"of type {conditions.file_type}")
    if conditions.query:
        parts.append(f"where {conditions.query}")
    return "files " + ", ".join(parts)
