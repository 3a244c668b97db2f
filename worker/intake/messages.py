"""Reads a raw message from a broker list: a request that the intake enqueues, or a message for Celery.

A message is kombu's JSON envelope around a task message of Celery's protocol 2 (docs.celeryq.dev, "Message Protocol").
Only a message that is understood completely becomes a request here. Any other is *unusual*: other tasks, `countdown`,
`eta`, `expires`, compression, other content types, invalid arguments, large messages. It is forwarded to Celery
unchanged, whose worker runs it or reports what is wrong with it.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from config.queue_names import priority_step
from worker.queue.validation import Asked, Urls, bound_arguments, checked_account, checked_file_ids, checked_request
from worker.tracing import traceparent_in

TASK = "kitsweep.delete_files"
MOST_BYTES = 256 * 1024
"""A longer message is forwarded to Celery, whose task streams the ids in chunks."""

CANVAS_PARTS = ("callbacks", "errbacks", "chord", "chain", "group", "group_index", "root_id", "parent_id")
"""What Celery must know of a task to run its callbacks."""
_CALLBACKS = ("callbacks", "errbacks", "chord", "chain")
_ONLY_CELERY = ("eta", "expires", "compression", "retries", "stamped_headers", "stamps")
"""Headers that only a Celery worker understands; empty or absent in an ordinary message."""
_NO_TIME_LIMITS = (None, [None, None])
_PLAIN_BODIES = (None, "", "utf-8")
_ENVELOPE_TYPES = (str, str, str, str, dict)
_TAGGED = b"__type__"
"""How kombu marks values that JSON does not have, such as dates."""


class Message(NamedTuple):
    """A validated request, read from one message."""

    asked: Asked
    file_ids: list[str]
    """Each once."""
    urls: Urls
    """URLs of files, if the request asks for purge."""
    canvas: dict[str, Any] | None
    """What Celery runs after the request; None for nothing."""
    priority: int
    """Of the message, 0 first; also of the request's purges."""
    origin: str
    """The sender according to Celery: process and host."""
    account: str | None = None
    """The account that is named; None: none is."""
    traceparent: str | None = None


class Unusual(NamedTuple):
    """A message that the intake does not accept."""

    target: int
    """Where it goes: index of a list of the unusual queue (`config.queue_names.broker_lists`), or `UNREADABLE`."""


UNREADABLE = 4
"""The target of what is not a message: kombu would fail on it and end its worker."""


def read_message(raw: bytes, most_ids: int) -> Message | Unusual:
    """Read a message; it is unusual also if it has more than `most_ids` file ids. Never raises."""
    try:
        envelope = _loads(raw)
        target, body = _target_of(envelope), _body_of(envelope)
    except Exception:  # noqa: BLE001 - a message can be broken in many ways
        return Unusual(UNREADABLE)
    if len(raw) > MOST_BYTES:
        return Unusual(target)
    try:
        message = _read_request(envelope, body, most_ids) if _is_ordinary(envelope) else None
        if message and message.canvas:  # Celery runs it, so its numbers must stay as they are.
            message = _read_request(json.loads(raw), body, most_ids, json.loads)
    except Exception:  # noqa: BLE001 - Celery reports what is wrong, in its log or to the caller
        message = None
    return message or Unusual(target)


def _loads(text: bytes) -> Any:
    """Parse JSON as Python does, in a third of the time; only integers beyond 64 bits become floats."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text.decode())


def _target_of(envelope: Any) -> int:
    """Return the list for a message that Celery runs. Raises where kombu would."""
    properties = envelope["properties"]
    info = properties["delivery_info"]
    texts = (properties["delivery_tag"], info["exchange"], info["routing_key"], envelope["body"], envelope["headers"])
    if tuple(map(type, texts)) != _ENVELOPE_TYPES:
        raise TypeError
    return priority_step(properties.get("priority"))


def _body_of(envelope: Any) -> bytes:
    encoding = envelope["properties"].get("body_encoding")
    if encoding == "base64":
        return a2b_base64(envelope["body"])
    if encoding in _PLAIN_BODIES:
        return b""
    raise ValueError(encoding)


def canvas_in(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the callbacks of a task's request as plain data; None if it has none."""
    if not any(request.get(part) for part in _CALLBACKS):
        return None
    return {part: request[part] for part in CANVAS_PARTS if request.get(part) is not None}


def priority_of(properties: Mapping[str, Any]) -> int:
    """Return the priority of a message, from 0 (first, and the default) to 9."""
    priority = properties.get("priority")
    return min(9, max(0, priority)) if isinstance(priority, int) else 0


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


def _read_request(
    envelope: Mapping[str, Any], body: bytes, most_ids: int, loads: Callable[[bytes], Any] = _loads
) -> Message | None:
    headers = envelope["headers"]
    if _TAGGED in body:
        return None
    args, kwargs, embed = loads(body)
    given = bound_arguments(args, kwargs)
    file_ids, account = given.pop("file_ids"), checked_account(given.pop("account"))
    asked = checked_request(headers["id"], **given)
    urls = Urls()
    file_ids = list(dict.fromkeys(checked_file_ids(file_ids, most_ids, urls if asked["purge"] else None)))
    canvas, priority = canvas_in({**headers, **embed}), priority_of(envelope["properties"])
    trace = traceparent_in(headers.get("traceparent"))
    return Message(asked, file_ids, urls, canvas, priority, str(headers.get("origin") or ""), account, trace)
