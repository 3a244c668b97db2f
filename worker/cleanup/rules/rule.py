"""A cleanup rule, and what its words mean."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from worker.cleanup.rules.schedule import Schedule
from worker.queue.validation import CLEANUP
from worker.times import write_duration

SOURCE = CLEANUP
"""Start of the sources of cleanup requests, and of their ids."""


@dataclass(frozen=True, slots=True)
class What:
    """The files that a rule means: those that fit everything that is set."""

    query: str | None = None
    """More conditions, in ImageKit's search language. Only the API judges these."""
    path: str | None = None
    """A folder, with slashes at both ends."""
    recursive: bool = False
    """Whether files in folders below `path` are meant too."""
    older_than: int | None = None
    """Seconds since the file was created."""
    tags: tuple[str, ...] = ()
    """The file has one of these tags of its own; tags that an AI added do not count."""
    file_type: str | None = None
    """`image` or `non-image`."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Files that are never touched, whatever the rule says."""

    tags: tuple[str, ...] = ()
    """Compared without regard to case; tags that an AI added count here."""
    paths: tuple[str, ...] = ()
    """Folders with all that is below them, or single files; compared without regard to case."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Guards: beyond any of these a run is held for approval. 0 is no bound."""

    max_files: int = 1000
    max_share: float = 0.5
    """Of the files in the rule's folder, or, without one, in the library."""
    usual_factor: float = 5.0
    """How many times the median of the last ten runs that went through."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the file, checked."""

    name: str
    schedule: Schedule
    what: What
    keep: Keep = field(default_factory=Keep)
    guards: Bounds = field(default_factory=Bounds)
    hold_seconds: int = 0
    """Undo window: how long a run's request waits before anything is deleted."""
    enabled: bool = True
    dry_run: bool = False
    """Whether runs only count."""
    hold_first: bool = True
    """Whether the first run, and the first after the words were changed, is held for approval."""
    catch_up: bool = True
    """Whether a run that was missed while everything was down is made up for, once."""

    @property
    def source(self) -> str:
        """The source of the rule's requests."""
        return SOURCE + self.name

    @property
    def words(self) -> str:
        """A fingerprint of what the rule means and keeps: with other words it is another rule."""
        return _fingerprint([asdict(self.what), asdict(self.keep)])

    @property
    def timing(self) -> str:
        """A fingerprint of the schedule; empty while the rule is disabled."""
        return f"{type(self.schedule).__name__} {self.schedule}" if self.enabled else ""

    @property
    def whole(self) -> str:
        """A fingerprint of the whole rule: a run is abandoned when it changes under way."""
        return _fingerprint([asdict(self.what), asdict(self.keep), asdict(self.guards), str(self)])

    def __str__(self) -> str:
        """Say the rule in one line."""
        more = [f"hold {write_duration(self.hold_seconds)}"] if self.hold_seconds else []
        more += ["disabled"] if not self.enabled else []
        more += ["dry run"] if self.dry_run else []
        more += ["first run released"] if not self.hold_first else []
        return ", ".join([f"{self.name}: {say(self.what)}", *more])


def say(what: What) -> str:
    """Say in words which files are meant."""
    parts = []
    if what.path:
        parts.append(f"in {what.path}{' and below' if what.recursive else ''}")
    if what.older_than is not None:
        parts.append(f"older than {write_duration(what.older_than)}")
    if what.tags:
        parts.append("tagged " + " or ".join(what.tags))
    if what.file_type:
        parts.append(f"of type {what.file_type}")
    if what.query:
        parts.append(f"where {what.query}")
    return "files " + ", ".join(parts)


def _fingerprint(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
