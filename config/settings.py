"""Settings: one frozen, validated object, read from the environment and ``.env``.

The environment takes precedence over ``.env``; an empty value means the default. Two names are shared with
ImageKit's own SDKs; all others start with ``KITSWEEP_``, and an unknown ``KITSWEEP_`` name is an error.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.environment import ENV_FILE, read_env_file, secret_values, unknown_names
from config.guards import Guards
from config.problems import ConfigError, describe, shorten
from config.redis_url import RedisUrl
from config.windows import Window, read_windows

__all__ = ["ConfigError", "RedisUrl", "Settings", "Window", "environment_name", "load_settings"]

PREFIX = "KITSWEEP_"
_HIDDEN = frozenset({"private_key", "redis_url", "base_url"})
"""Settings whose invalid values are never shown: each may contain a password."""
_ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Settings(BaseSettings):
    """All settings, validated. Use ``load_settings``, which reports each problem on one line."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    private_key: SecretStr | None = Field(
        default=None,
        validation_alias="IMAGEKIT_PRIVATE_KEY",
        description="ImageKit private key. Without one, `kitsweep up` and `make run` use the simulator.",
    )
    base_url: str = Field(
        default="https://api.imagekit.io",
        validation_alias="IMAGE_KIT_BASE_URL",
        description="Base URL of the ImageKit API.",
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        repr=False,
        description="URL of the Redis or Valkey server for broker, results and queue: redis, rediss, unix or sentinel.",
    )
    account: str = Field(
        default="default",
        description="Account name used in all Redis keys, so that several accounts can share one server.",
    )
    rate_limits: Annotated[tuple[Window, ...], NoDecode] = Field(
        default=(Window(5, 1000),),
        description="Rate limits, a JSON list of calls/window; [] applies only the limits that the API announces.",
    )
    rate_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Fraction of each rate limit that Kitsweep may use; lower it if others use the same key.",
    )
    lease_seconds: float = Field(
        default=15,
        ge=0.1,
        le=3600,
        allow_inf_nan=False,
        description="How long a claim is valid, in seconds; the items of a dead worker return to the queue after it.",
    )
    batch_size: int = Field(
        default=100, ge=1, le=100, description="Maximum file ids per API call; the API accepts up to 100."
    )
    batch_window_seconds: float = Field(
        default=0.2,
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="How long a partial batch waits to fill, in seconds.",
    )
    max_attempts: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="Maximum attempts for a file id that fails on its own; then it ends as failed.",
    )
    max_request_ids: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="Maximum file ids per Celery message; the client streams longer requests.",
    )
    result_ttl_seconds: int = Field(
        default=604_800,
        ge=1,
        le=315_360_000,
        description="How long the results of a finished request are kept, in seconds.",
    )
    http_timeout_seconds: float = Field(
        default=30,
        ge=0.05,
        le=300,
        allow_inf_nan=False,
        description="Timeout of an API call, in seconds.",
    )
    http_connect_timeout_seconds: float = Field(
        default=5,
        ge=0.05,
        le=300,
        allow_inf_nan=False,
        validate_default=True,
        description="Timeout for connecting to the API, in seconds; at most the timeout of the call.",
    )
    stop_seconds: float = Field(
        default=10,
        ge=1,
        le=3600,
        allow_inf_nan=False,
        description="How long a worker may take to stop, in seconds; hanging calls are abandoned and made again.",
    )
    remember_seconds: int = Field(
        default=86_400,
        ge=1,
        le=315_360_000,
        description="How long deleted ids are remembered, in seconds, to tell deleted files from unknown ids.",
    )
    unsealed_ttl_seconds: int = Field(
        default=3600,
        ge=1,
        le=315_360_000,
        description="How long an incompletely sent request is kept, in seconds.",
    )
    guards: Annotated[Guards, NoDecode] = Field(
        default=Guards({}),
        description="Maximum files per request by source, a JSON object; larger requests wait for approval.",
    )
    cleanup_file: str = Field(
        default="cleanup.toml",
        description="Path of the cleanup rules, a TOML file; without the file there are no rules.",
    )
    audit_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="How long audit entries are kept after the results expire, in days.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Minimum level to log."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Log format: text, or json with one object per line."
    )

    @property
    def redis_parts(self) -> RedisUrl:
        """The parsed Redis URL."""
        return RedisUrl.parse(self.redis_url)

    @property
    def redis_address(self) -> str:
        """The Redis address as ``host:port/db``, without credentials: safe to log."""
        return self.redis_parts.address

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        return value.upper() if info.field_name == "log_level" else value.lower()

    @field_validator("rate_limits", mode="before")
    @classmethod
    def _windows(cls, value: object) -> tuple[Window, ...]:
        return read_windows(value)

    @field_validator("guards", mode="before")
    @classmethod
    def _readable_guards(cls, value: object) -> Guards:
        return Guards.read(value)

    # Defined last: pydantic runs "before" validators in reverse order of definition.
    @field_validator("*", mode="before")
    @classmethod
    def _trimmed(cls, value: object, info: ValidationInfo) -> object:
        """Treat an empty value as the default: compose files pass unset variables as empty strings."""
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if not isinstance(value, str):
            return value
        field = cls.model_fields[str(info.field_name)]
        return value.strip() or field.get_default()

    @field_validator("private_key")
    @classmethod
    def _usable_key(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else "-"
        # The key is the user name of HTTP Basic authentication, which cannot hold a colon.
        if not text.isascii() or not text.isprintable() or " " in text or ":" in text:
            raise ValueError("must be printable ASCII without spaces or colons; copy it from the ImageKit dashboard")
        return value

    @field_validator("base_url")
    @classmethod
    def _plain_base_url(cls, value: str) -> str:
        if not _is_plain_url(value):
            raise ValueError("must be an http or https URL without credentials, query or fragment")
        return value.rstrip("/")

    @field_validator("redis_url")
    @classmethod
    def _known_redis_url(cls, value: str) -> str:
        RedisUrl.parse(value)
        return value

    @field_validator("account")
    @classmethod
    def _plain_account(cls, value: str) -> str:
        if not _ACCOUNT.fullmatch(value):
            raise ValueError("must be 1 to 64 of the characters A-Z a-z 0-9 . _ -")
        return value

    @field_validator("http_connect_timeout_seconds")
    @classmethod
    def _within_timeout(cls, value: float, info: ValidationInfo) -> float:
        total = info.data.get("http_timeout_seconds", value)
        # The default shrinks with a shorter call timeout; only an explicit larger value is an error.
        if value > total and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError(f"must be at most {environment_name('http_timeout_seconds')} ({total:g})")
        return float(min(value, total))


def environment_name(field_name: str) -> str:
    """Return the environment variable of a setting. Raises ``KeyError`` for an unknown setting."""
    alias = Settings.model_fields[field_name].validation_alias
    return str(alias) if alias else f"{PREFIX}{field_name.upper()}"


def load_settings(**overrides: object) -> Settings:
    """Load the settings. ``overrides`` take precedence over the environment, and that over ``.env``.

    Raises ``ConfigError`` with one line per unknown name and invalid value.
    """
    file_values, problems = read_env_file()
    if problems:
        raise ConfigError(problems)
    known = {environment_name(name) for name in Settings.model_fields}
    problems = unknown_names([*os.environ, *file_values], known, PREFIX)
    problems += [f"{name}: no such setting" for name in overrides if name not in Settings.model_fields]
    settings, refused = _build({name: overrides[name] for name in overrides if name in Settings.model_fields})
    if settings is None or problems:
        secrets = secret_values("IMAGEKIT_PRIVATE_KEY", file_values)
        raise ConfigError(_without(secrets, problems + refused))
    return settings


def _build(overrides: dict[str, Any]) -> tuple[Settings | None, list[str]]:
    try:
        return Settings(**overrides), []
    except ValidationError as error:
        # Returned, not raised here: the original error holds secret values and would stay attached as its context.
        return None, [_explained(detail) for detail in error.errors(include_url=False)]


def _explained(error: ErrorDetails) -> str:
    names = {environment_name(name): name for name in Settings.model_fields}
    name = names.get(str(error["loc"][0]), str(error["loc"][0]))
    value = None if name in _HIDDEN else shorten(error["input"])
    return describe(error, environment_name(name), Settings.model_fields[name], value)


def _without(secrets: set[str], lines: list[str]) -> list[str]:
    # A key pasted into another setting would otherwise be shown as its invalid value.
    for secret in secrets:
        lines = [line.replace(secret, "***") for line in lines]
    return lines


def _is_plain_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    plain = value.isascii() and value.isprintable() and " " not in value and port != 0
    extras = parts.username or parts.password or "?" in value or "#" in value
    return plain and parts.scheme in {"http", "https"} and bool(parts.hostname) and not extras
