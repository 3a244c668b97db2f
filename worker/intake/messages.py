"""Reads one raw message of a broker list: a request that the intake enqueues, or one that Celery is to run.

A message is kombu's JSON envelope around a task message of Celery's protocol 2 (docs.celeryq.dev, "Message Protocol").
Only what is understood in full becomes a request here. All else is *unusual*: other tasks, `countdown` and `eta`,
`expires`, compression, other contents, bad arguments, very long ones, broken JSON. It goes on unchanged to Celery,
whose worker knows what to do with it and what to tell the caller.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from config.queue_names import priority_step
from worker.queue.validation import Asked, bound_arguments, checked_file_ids, checked_request

TASK = "kitsweep.delete_files"
MOST_BYTES = 256 * 1024
"""A longer message is Celery's: its task streams the ids in chunks."""

CANVAS_PARTS = ("callbacks", "errbacks", "chord", "chain", "group", "group_index", "root_id", "parent_id")
"""What Celery must know of a task to run what hangs on it."""
_HANGING = ("callbacks", "errbacks", "chord", "chain")
_ONLY_CELERY = ("eta", "expires", "compression", "retries", "stamped_headers", "stamps")
"""Headers that ask for what a Celery worker does before or around a task; empty or absent in an ordinary message."""
_NO_TIME_LIMITS = (None, [None, None])
_PLAIN_BODIES = (None, "", "utf-8")
_TAGGED = b"__type__"
"""How kombu's JSON marks values that are no JSON, such as dates."""


class Message(NamedTuple):
    """A request as it came in one message, checked."""

    asked: Asked
    file_ids: list[str]
    """Each once."""
    canvas: dict[str, Any] | None
    """What Celery is to run after the request; None: nothing."""
    origin: str
    """Who sent it, as Celery says: process and host."""


class Unusual(NamedTuple):
    """A message that is no request of ours."""

    place: int
    """Where it goes: index of a list of the unusual queue (`config.queue_names.broker_lists`), or `UNREADABLE`."""


UNREADABLE = 4
"""The place of what is no message at all: it would end a worker of Celery, so it is put aside."""


def read_message(raw: bytes, most_ids: int) -> Message | Unusual:
    """Return what a message asks for, if it is an ordinary one with at most `most_ids` file ids. Never raises."""
    try:
        envelope = json.loads(raw.decode())
        place = _place_of(envelope)
    except Exception:  # noqa: BLE001 - there are many ways not to be a message
        return Unusual(UNREADABLE)
    if len(raw) > MOST_BYTES:
        return Unusual(place)
    try:
        message = _read_request(envelope, most_ids) if _is_ordinary(envelope) else None
    except Exception:  # noqa: BLE001 - Celery says what it is, in its log or to the caller
        message = None
    return message or Unusual(place)


def _place_of(envelope: Any) -> int:
    """Return where a message goes that Celery is to run. Raises where kombu would."""
    properties = envelope["properties"]
    info = properties["delivery_info"]
    texts = (properties["delivery_tag"], info["exchange"], info["routing_key"], envelope["body"])
    if not all(isinstance(text, str) for text in texts) or not isinstance(envelope["headers"], dict):
        raise TypeError
    if properties.get("body_encoding") == "base64":
        base64.b64decode(envelope["body"])
    elif properties.get("body_encoding") not in _PLAIN_BODIES:
        raise ValueError
    return priority_step(properties.get("priority"))


def canvas_in(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what hangs on a task's request, as plain data; None when nothing does."""
    if not any(request.get(part) for part in _HANGING):
        return None
    return {part: request[part] for part in CANVAS_PARTS if request.get(part) is not None}


def _is_ordinary(envelope: Mapping[str, Any]) -> bool:
    headers = envelope["headers"]
    return (
        headers["task"] == TASK
        and envelope["content-type"] == "application/json"
        and envelope["content-encoding"].lower() == "utf-8"
        and envelope["properties"]["body_encoding"] == "base64"
        and headers.get("timelimit") in _NO_TIME_LIMITS
        and not any(headers.get(name) for name in _ONLY_CELERY)
    )


def _read_request(envelope: Mapping[str, Any], most_ids: int) -> Message | None:
    headers = envelope["headers"]
    body = base64.b64decode(envelope["body"])
    if _TAGGED in body:
        return None
    args, kwargs, embed = json.loads(body)
    given = bound_arguments(args, kwargs)
    given_ids = given.pop("file_ids")
    asked = checked_request(headers["id"], **given)
    file_ids = checked_file_ids(given_ids, most_ids)
    return Message(
        asked, list(dict.fromkeys(file_ids)), canvas_in({**headers, **embed}), str(headers.get("origin") or "")
    )
