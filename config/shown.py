"""Shows settings without their secrets."""

from __future__ import annotations

from collections.abc import Iterator

from config.problems import written
from config.settings import Settings, environment_name

_SECRETS = {"private_key", "webhook_secret"}


def shown(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield every setting's name in the environment and its value, without secrets."""
    for name in type(settings).model_fields:
        yield environment_name(name), _value(settings, name)


def _value(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    if name in _SECRETS:
        return "set, hidden" if value else "not set"
    if name == "redis_url":
        parts = settings.redis_parts
        login = "user and password hidden, " if parts.username or parts.password else ""
        return f"{settings.redis_address} ({login}{parts.scheme})"
    if name == "callbacks":
        return f"hidden, for {', '.join(value.root)}" if value.root else "none"
    return written(value)
