"""What can be set: one frozen, validated object, read from the environment and from ``.env``.

The environment wins over ``.env``; an empty value means the default. Two names are those that ImageKit's own
SDKs read; everything else is under ``KITSWEEP_``, where an unknown name is an error.
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
"""Settings whose bad values are not shown: each may hold a password."""
_ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Settings(BaseSettings):
    """Every setting, checked. Build it with ``load_settings``, which says what is wrong in plain lines."""

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
        description="Private key of the ImageKit account; without one, `kitsweep up` and `make run` use the simulator.",
    )
    base_url: str = Field(
        default="https://api.imagekit.io",
        validation_alias="IMAGE_KIT_BASE_URL",
        description="Where the ImageKit API is; the name is the one that the vendor's SDKs read.",
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        repr=False,
        description="Redis or Valkey for broker, results and queue: a redis, rediss, unix or sentinel URL.",
    )
    account: str = Field(
        default="default",
        description="Name of the ImageKit account in all keys, so that several accounts can share one Redis.",
    )
    rate_limits: Annotated[tuple[Window, ...], NoDecode] = Field(
        default=(Window(5, 1000),),
        description="Calls allowed in any window of time, a JSON list; [] for only what the API says.",
    )
    rate_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Share of every limit that Kitsweep may use, to leave room for other users of the key.",
    )
    lease_seconds: float = Field(
        default=15,
        ge=0.1,
        le=3600,
        allow_inf_nan=False,
        description="Seconds after which the items of a worker that died are claimed by another.",
    )
    batch_size: int = Field(default=100, ge=1, le=100, description="File ids in one call; the API takes 100 at most.")
    batch_window_seconds: float = Field(
        default=0.2,
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="Seconds for which a batch that is not full waits for company.",
    )
    max_attempts: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="Attempts on a file id that fails by itself before it is given up.",
    )
    max_request_ids: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="File ids in one Celery message; the client streams more.",
    )
    result_ttl_seconds: int = Field(
        default=604_800,
        ge=1,
        le=315_360_000,
        description="Seconds for which a finished request can be polled.",
    )
    http_timeout_seconds: float = Field(
        default=30,
        ge=0.05,
        le=300,
        allow_inf_nan=False,
        description="Seconds to wait for the answer to a call before it counts as lost.",
    )
    http_connect_timeout_seconds: float = Field(
        default=5,
        ge=0.05,
        le=300,
        allow_inf_nan=False,
        validate_default=True,
        description="Seconds to wait for a connection to the API; never above the time-out of the call.",
    )
    stop_seconds: float = Field(
        default=10,
        ge=1,
        le=3600,
        allow_inf_nan=False,
        description="Seconds that a worker has to stop; a call that hangs is given up in time, and is made again.",
    )
    remember_seconds: int = Field(
        default=86_400,
        ge=1,
        le=315_360_000,
        description="Seconds for which ids that we deleted are remembered, to tell gone from never there.",
    )
    unsealed_ttl_seconds: int = Field(
        default=3600,
        ge=1,
        le=315_360_000,
        description="Seconds after which a request that was never sealed expires.",
    )
    guards: Annotated[Guards, NoDecode] = Field(
        default=Guards({}),
        description="Most files in one request of a source before somebody must approve it, a JSON object.",
    )
    cleanup_file: str = Field(
        default="cleanup.toml",
        description="File of the cleanup rules, in TOML; without the file there are no rules.",
    )
    audit_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="Days for which the audit trail is kept beyond the results of requests.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Least severe level that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Form of the log: text for people, json for one object a line."
    )

    @property
    def redis_parts(self) -> RedisUrl:
        """The address of Redis in its parts."""
        return RedisUrl.parse(self.redis_url)

    @property
    def redis_address(self) -> str:
        """Where Redis is, as ``host:port/db``, without user and password: fit for logs and messages."""
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

    # Stands behind the others: of these validators the last is run first.
    @field_validator("*", mode="before")
    @classmethod
    def _trimmed(cls, value: object, info: ValidationInfo) -> object:
        """Take an empty text as the default: compose files hand on unset variables as empty ones."""
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
            raise ValueError("must be printable ASCII without spaces and colons, as the dashboard shows it")
        return value

    @field_validator("base_url")
    @classmethod
    def _plain_base_url(cls, value: str) -> str:
        if not _is_plain_url(value):
            raise ValueError("must be an http or https URL without user, query and fragment")
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
        # Whoever shortens the call need not know of the connection: only a value of their own is refused.
        if value > total and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError(f"must be at most {environment_name('http_timeout_seconds')} ({total:g})")
        return float(min(value, total))


def environment_name(field_name: str) -> str:
    """Name the environment variable of a setting. ``KeyError`` for a name that is no setting."""
    alias = Settings.model_fields[field_name].validation_alias
    return str(alias) if alias else f"{PREFIX}{field_name.upper()}"


def load_settings(**overrides: object) -> Settings:
    """Read the settings; ``overrides`` win over the environment, which wins over ``.env``.

    Raises ``ConfigError`` with one line for each unknown name and each bad value.
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
        # Returned, not raised from here: the original holds values in clear, and would stay as the context.
        return None, [_explained(detail) for detail in error.errors(include_url=False)]


def _explained(error: ErrorDetails) -> str:
    names = {environment_name(name): name for name in Settings.model_fields}
    name = names.get(str(error["loc"][0]), str(error["loc"][0]))
    value = None if name in _HIDDEN else shorten(error["input"])
    return describe(error, environment_name(name), Settings.model_fields[name], value)


def _without(secrets: set[str], lines: list[str]) -> list[str]:
    # A key that was pasted under another name would otherwise be shown there as a bad value.
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
