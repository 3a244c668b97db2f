"""Structured logs: one line per event, as text or JSON, with fields; without secrets and control characters."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

from config.settings import Settings

_STANDARD = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "data", "taskName"})
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_context: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default={})  # noqa: B039 - never modified


class _Accounts:
    """The private keys of all accounts."""

    keys: re.Pattern[str] | None = None


_accounts = _Accounts()


def hide_keys(accounts: Iterable[Settings]) -> None:
    """Keep the private keys of these accounts out of all lines from now on."""
    keys = {form for each in accounts if each.private_key for form in _forms_of(each.private_key.get_secret_value())}
    # One pattern, since a line is searched for each key otherwise.
    longest_first = sorted(keys, key=len, reverse=True)
    _accounts.keys = re.compile("|".join(map(re.escape, longest_first))) if keys else None


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Add fields to every line that this task or thread logs in the block, such as the requests of a call."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def add_log_fields(**fields: Any) -> None:
    """Add fields to every later line of this task or thread."""
    _context.set({**_context.get(), **fields})


class LineFormatter(logging.Formatter):
    """Formats a record as one event, with the fields given by `extra=` and `log_fields`."""

    def __init__(self, form: str, secrets: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.converter = time.gmtime
        self._as_json = form == "json"
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line (a traceback adds lines to the text form)."""
        fields = self._fields(record)
        line = json.dumps(fields, default=str) if self._as_json else _as_text(fields)
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return _accounts.keys.sub("***", line) if _accounts.keys else line

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": _clean(record.getMessage()),
        }
        given = {**_context.get(), **record.__dict__}
        fields |= {name: value for name, value in given.items() if name not in _STANDARD and value is not None}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return fields


def configure_logging(settings: Settings, level: int | None = None, logfile: str | None = None) -> None:
    """Log to standard error or a file at the settings' level, or at `level` if that is more verbose."""
    handler = logging.FileHandler(logfile) if logfile else logging.StreamHandler()
    handler.setFormatter(LineFormatter(settings.log_format, secrets_of(settings)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    configured = logging.getLevelNamesMapping()[settings.log_level]
    root.setLevel(min(configured, level) if level else configured)
    # Celery logs a line for each message it runs, which would bury everything else.
    for name in ("celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING) if root.level > logging.DEBUG else root.level)


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return every form of a secret that a log must not contain."""
    key = settings.private_key.get_secret_value() if settings.private_key else ""
    where = settings.redis_parts
    passwords = [where.password or "", *where.sentinel_options.values()]
    forms = {form for text in (key, *settings.webhook_secrets, *passwords) if text for form in _forms_of(text)}
    # A form may hold a shorter one: the longest goes first, so that nothing of it is left.
    return tuple(sorted(forms, key=len, reverse=True))


def _forms_of(secret: str) -> set[str]:
    """Return the forms of a secret in a line: as it is, in an address, in JSON, in the repr of a value."""
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}


def _clean(text: str) -> str:
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def _as_text(fields: dict[str, Any]) -> str:
    head = f"{fields.pop('at')} {fields.pop('level'):<7} {fields.pop('logger')}: {fields.pop('message')}"
    trace = fields.pop("traceback", None)
    extra = " ".join(f"{name}={_clean(str(value))}" for name, value in fields.items())
    line = f"{head}  [{extra}]" if extra else head
    return "\n".join([line, *map(_clean, trace.split("\n"))]) if trace else line
