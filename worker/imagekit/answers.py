"""The possible results of a call to the ImageKit API: a closed set of classes.

The client (`worker.imagekit.client`) returns one of these whatever server and network do, and raises nothing. The batch
pipeline has one branch for each. The source is the vendor's reference of `POST /v1/files/batch/deleteByFileIds`.

::

    PerFile      200, 207       carried out, with a result for each file
    Missing      404            some files do not exist, and nothing was deleted
    Refused      400, 404, 413  refused as a whole, and nothing was deleted; the id at fault is not named
    KeyRefused   401, 403       the private key was refused, and nothing was deleted
    Throttled    429            too many calls; nothing was deleted
    Unanswered   all else       unknown whether the call was carried out
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.windows import Window


@dataclass(frozen=True, slots=True)
class Meta:
    """Facts about a call. Texts contain no control characters and no secrets."""

    status: int | None = None
    """HTTP status; None if no status line arrived."""
    request_id: str | None = None
    """The vendor's id of the call, `x-ik-requestId`, for its support."""
    limits: tuple[Window, ...] = ()
    """Rate limits in the response. The vendor's documents disagree on which responses have them."""
    reset_ms: int | None = None
    """Milliseconds to wait before the next call; None if absent or invalid."""
    elapsed_ms: float = 0.0
    """Milliseconds from the start of the call, including connecting, to the last byte of the response."""
    sent_at: float | None = None
    """When the last byte of the call was sent, in monotonic seconds; None if it was not sent completely."""


NO_META = Meta()


@dataclass(frozen=True, slots=True)
class PerFile:
    """200 or 207: the call was carried out, with a result for each file.

    Of an id that was sent and is in neither field, nothing is known; the API may have listed it twice or not at all. A
    later 404 for it does not prove that the file never existed.
    """

    deleted: frozenset[str]
    """Permanently deleted, with all versions; a subset of the ids that were sent."""
    errors: Mapping[str, str]
    """The API's error for each file that was not deleted; only ids that were sent."""
    meta: Meta = NO_META
    foreign: int = 0
    """Number of ignored entries: they name no id that was sent."""


@dataclass(frozen=True, slots=True)
class Missing:
    """404 with at least one id that was sent: these files do not exist, and *nothing* was deleted."""

    file_ids: frozenset[str]
    meta: Meta = NO_META
    foreign: int = 0
    """Number of ignored entries: they name no id that was sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """400, 413, a 404 without an id that was sent, or another 4xx with a message: nothing was deleted.

    The API does not name the id at fault, if there is one.
    """

    message: str
    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """401 or 403: the private key is missing, wrong, expired, or lacks permission; nothing was deleted."""

    message: str
    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: too many calls by all users of the account; nothing was deleted. `meta.reset_ms`: how long to wait."""

    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No response, or none that can be trusted: 5xx, timeout, connection lost, redirect, not JSON."""

    reason: str
    sent: bool = True
    """False if no connection was made, so the call cannot have reached the server. True is ambiguous: the files may be
    deleted, and the API has no idempotency keys."""
    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class Page:
    """200 to a list call: the objects as the API sent them, unchecked."""

    objects: tuple[Any, ...]
    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class PurgeAccepted:
    """201 to a purge call: the API carries it out, and answers for it under `purge_id`."""

    purge_id: str
    meta: Meta = NO_META


@dataclass(frozen=True, slots=True)
class PurgeStatus:
    """200 to a question about a purge."""

    is_completed: bool
    meta: Meta = NO_META


PurgeAnswer = PurgeAccepted | PurgeStatus | Refused | KeyRefused | Throttled | Unanswered
ListAnswer = Page | Refused | KeyRefused | Throttled | Unanswered
Answer = PerFile | Missing | Refused | KeyRefused | Throttled | Unanswered
