"""Types of settings: texts with a check of their own. Each check raises `ValueError`, which says what is expected."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from config.names import NAME_RULE, is_name
from config.redis_url import RedisUrl


def _check_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    # The key is the user name of HTTP Basic authentication, which cannot hold a colon.
    if not text.isascii() or not text.isprintable() or " " in text or ":" in text:
        raise ValueError("must be printable ASCII without spaces or colons; copy it from the ImageKit dashboard")
    return value


def _check_url(value: str) -> str:
    if not _is_plain_url(value):
        raise ValueError("must be an http or https URL without credentials, query or fragment")
    return value.rstrip("/")


def _check_redis_url(value: str) -> str:
    RedisUrl.parse(value)
    return value


def _check_account(value: str) -> str:
    if not is_name(value):
        raise ValueError(NAME_RULE)
    return value


def _is_plain_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    plain = value.isascii() and value.isprintable() and " " not in value and port != 0
    extras = parts.username or parts.password or "?" in value or "#" in value
    return plain and parts.scheme in {"http", "https"} and bool(parts.hostname) and not extras


PrivateKey = Annotated[SecretStr, AfterValidator(_check_key)]
PlainUrl = Annotated[str, AfterValidator(_check_url)]
RedisUrlText = Annotated[str, AfterValidator(_check_redis_url)]
AccountName = Annotated[str, AfterValidator(_check_account)]
