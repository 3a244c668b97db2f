"""URLs in settings."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator


def _plain_url(value: str) -> str:
    if not _is_plain(value):
        raise ValueError("must be an http or https URL without credentials, query or fragment")
    return value.rstrip("/")


PlainUrl = Annotated[str, AfterValidator(_plain_url)]
"""An http or https URL to which paths are added."""


def _is_plain(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    plain = value.isascii() and value.isprintable() and " " not in value and port != 0
    extras = parts.username or parts.password or "?" in value or "#" in value
    return plain and parts.scheme in {"http", "https"} and bool(parts.hostname) and not extras
