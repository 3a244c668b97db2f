"""What a call to the ImageKit API can end in: a closed set, with one class for each ending.

The client (`worker.imagekit.client`) turns everything that a server or a network can do into one of these and never
raises for it; the batch pipeline has one branch for each. The facts about the vendor are from its bulk call
`POST /v1/files/batch/deleteByFileIds`.

::

    PerFile      200, 207       the call was carried out; what it says about each file
    Missing      404            some ids are unknown, and nothing at all was deleted
    Refused      400, 404, 413  refused as a whole, and nothing was deleted; the culprit is not named
    KeyRefused   401, 403       the key is at fault, not the files
    Throttled    429            too many calls; not carried out
    Unanswered   all else       nothing is known: it may or may not have been carried out
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.windows import Window


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a call besides its meaning. Texts are clean of control characters and secrets."""

    status: int | None = None
    """HTTP status; None when no status line arrived."""
    request_id: str | None = None
    """The vendor's own id of the call, `x-ik-requestId`; its support asks for it."""
    limits: tuple[Window, ...] = ()
    """Windows that the answer announced. The vendor's documents disagree on which answers carry them."""
    reset_ms: int | None = None
    """Milliseconds to wait before the next call, a duration and not a time; None when absent or absurd."""
    elapsed_ms: float = 0.0
    """From the start of the call, connecting included, to the last byte of its answer."""
    sent_at: float | None = None
    """When the last byte of the call was sent, monotonic seconds; None when it was not sent whole."""


NO_META = Meta()


@dataclass(frozen=True, slots=True)
class PerFile:
    """200 or 207: the call was carried out, and the API told of single files.

    An id that was sent and stands in neither: nothing is known of it, though the call was carried out. So a
    later 404 for it does not prove that the file never existed. An id that the API put into both of its lists
    is one of these.
    """

    deleted: frozenset[str]
    """Gone for good, with all versions; a subset of the ids that were sent."""
    errors: Mapping[str, str]
    """File id to the API's reason why it was not deleted; only ids that were sent."""
    meta: Meta = NO_META
    foreign: int = 0
    """Entries that were dropped since they name no id that was sent."""


@dataclass(frozen=True, slots=True)
class Missing:
    """404 that names at least one id that was sent: those do not exist, and *nothing at all* was deleted."""

    file_ids: frozenset[str]
    meta: Meta = NO_META
    foreign: int = 0
    """Entries that were dropped since they name no id that was sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Refused as a whole, with nothing deleted; the API does not name the id at fault, if there is one.

    400, 413, a 404 that names none of the ids that were sent, and other 4xx with a message of the API's.
    """

    message: str
    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """401 or 403: the private key is missing, wrong, expired, or lacks the right; nothing was deleted."""

    message: str
    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: too many calls by all users of the account; not carried out. `meta.reset_ms`: how long to wait."""

    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class Unanswered:
    """There is no answer, or none that can be trusted: a 5xx, a time-out, a cut line, a redirect, no JSON."""

    reason: str
    sent: bool = True
    """False only when the call surely never reached the server: no connection was made. True is ambiguous:
    the files may be gone, and there is no idempotency key with which one could ask again."""
    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class Page:
    """200 to a list call: what stands at these places of the listing, as the API wrote it, unchecked."""

    objects: tuple[Any, ...]
    meta: Meta = NO_META


ListAnswer = Page | Refused | KeyRefused | Throttled | Unanswered
Answer = PerFile | Missing | Refused | KeyRefused | Throttled | Unanswered
