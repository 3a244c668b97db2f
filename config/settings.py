"""The settings: one frozen, validated object, read from the environment and from `.env`.

The environment overrides `.env`; an empty value means the default. Two variables are those that ImageKit's SDKs read;
all others start with `KITSWEEP_`, and an unknown one is an error.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.environment import ENV_FILE, read_env_file, secret_values, unknown_names
from config.guards import Guards
from config.problems import ConfigError, describe, shorten
from config.redis_url import RedisUrl
from config.result_ttls import MAX_TTL_SECONDS, ResultTtls
from config.values import AccountName, PlainUrl, PrivateKey, RedisUrlText
from config.webhooks import (
    Callbacks,
    Network,
    WebhookSecret,
    check_ca_file,
    literal_problem,
    read_networks,
    read_secrets,
)
from config.windows import Window, read_windows

__all__ = ["ConfigError", "RedisUrl", "Settings", "Window", "environment_name", "load_settings"]

PREFIX = "KITSWEEP_"
_URLS = ("redis_url", "base_url", "web_public_url", "upload_url", "callbacks")
_HIDDEN = frozenset({"private_key", "webhook_secret", *_URLS})
"""Settings whose invalid values are not shown, because they may contain a password."""
_SECRETS = ("IMAGEKIT_PRIVATE_KEY", f"{PREFIX}WEBHOOK_SECRET")
API_URL = "https://api.imagekit.io"
UPLOAD_URL = "https://upload.imagekit.io"


class Settings(BaseSettings):
    """All settings. Create them with `load_settings`, which turns validation errors into plain messages.

    The docstring of a setting is its comment in `.env.example`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    private_key: PrivateKey | None = Field(None, validation_alias="IMAGEKIT_PRIVATE_KEY")
    """Private key of the ImageKit account. If unset, `kitsweep up` and `make run` use the simulator."""
    base_url: PlainUrl = Field(API_URL, validation_alias="IMAGE_KIT_BASE_URL")
    """Base URL of the ImageKit API. The vendor's SDKs read the same variable."""
    redis_url: RedisUrlText = Field("redis://127.0.0.1:6379/0", repr=False)
    """URL of the Redis or Valkey server for broker, results and queue: redis, rediss, unix or sentinel."""
    account: AccountName = "default"
    """Name of the ImageKit account in all Redis keys. Accounts with different names can share a server."""
    accounts_file: str | None = None
    """TOML file with further ImageKit accounts that the same workers serve. If unset, there is one account."""
    rate_limits: Annotated[tuple[Window, ...], NoDecode, BeforeValidator(read_windows)] = (Window(5, 1000),)
    """Rate limits as a JSON list of "calls/time". With [], only the limits that the API announces apply."""
    rate_share: float = Field(1.0, gt=0, le=1)
    """Share of each rate limit that Kitsweep may use. Less than 1 leaves room for other users of the key."""
    lease_seconds: float = Field(15, ge=0.1, le=3600)
    """How long a worker may be silent before other workers claim its items, in seconds."""
    batch_size: int = Field(100, ge=1, le=100)
    """Maximum number of file ids in one API call. The API accepts at most 100."""
    batch_window_seconds: float = Field(0.2, ge=0, le=60)
    """How long a partial batch waits to fill, in seconds."""
    max_attempts: int = Field(8, ge=1, le=1000)
    """Number of attempts on a file id before it fails. Outages and rate limits do not count as attempts."""
    max_request_ids: int = Field(100_000, ge=1, le=10_000_000)
    """Maximum number of file ids in one Celery message. The client sends larger requests in several parts."""
    result_ttl_seconds: int = Field(604_800, ge=1, le=MAX_TTL_SECONDS)
    """How long the result of a finished request is kept, in seconds."""
    result_ttl_by_source: Annotated[ResultTtls, NoDecode, BeforeValidator(ResultTtls.read)] = ResultTtls({})
    """The same per source as JSON, such as {"catalog": 86400}. A request may set its own."""
    http_timeout_seconds: float = Field(30, ge=0.05, le=300)
    """How long to wait for the response to an API call, in seconds. After that the call counts as unanswered."""
    http_connect_timeout_seconds: float = Field(5, ge=0.05, le=300, validate_default=True)
    """How long to wait for a connection to the API, in seconds. At most KITSWEEP_HTTP_TIMEOUT_SECONDS."""
    stop_seconds: float = Field(10, ge=1, le=3600)
    """How long a worker or the web server may take to stop, in seconds. Calls that take longer are aborted."""
    remember_seconds: int = Field(86_400, ge=1, le=MAX_TTL_SECONDS)
    """How long deleted ids are remembered, in seconds, to tell deleted files from files that never existed."""
    unsealed_ttl_seconds: int = Field(3600, ge=1, le=MAX_TTL_SECONDS)
    """How long a request that is sent in parts waits for its next part before it expires, in seconds."""
    guards: Annotated[Guards, NoDecode, BeforeValidator(Guards.read)] = Guards({})
    """Limits per source as JSON, such as {"*": {"max_files": 5000}}. A request beyond them waits for approval."""
    approve_own: bool = False
    """Whether the requester of a request may also approve it: true or false."""
    webhook_secret: WebhookSecret | None = None
    """Secret that signs webhooks: whsec_ and base64. While rotating: two, the new one first, separated by a space."""
    callbacks: Annotated[Callbacks, NoDecode, BeforeValidator(Callbacks.read)] = Field(Callbacks({}), repr=False)
    """Webhook URLs per source as JSON, such as {"catalog": "https://example.com/hook"}. "*" is every other source."""
    webhook_allow: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(read_networks)] = ()
    """Networks that are not public and that webhooks may go to, as a JSON list such as ["10.0.0.0/8"]."""
    webhook_ca_file: Annotated[str, AfterValidator(check_ca_file)] | None = None
    """PEM file with private authorities that sign certificates of webhook receivers, beside the public ones."""
    webhook_timeout_seconds: float = Field(20, ge=1, le=30)
    """How long to wait for the response to a webhook, in seconds."""
    purge_quota: int = Field(1000, ge=0, le=10_000_000)
    """Maximum number of purge calls in a calendar month (UTC). ImageKit allows about 1000 per account."""
    purge_over_quota: Literal["wait", "skip"] = "wait"
    """What happens to URLs beyond the quota: wait for the next month, or skip, so that they are never purged."""
    purge_window_seconds: float = Field(5, ge=0, le=3600)
    """How long URLs of deleted files wait for others, so that one wildcard can purge several, in seconds."""
    cleanup_file: str = "cleanup.toml"
    """TOML file with the cleanup rules. If it does not exist, there are no rules."""
    signing_key_file: str | None = None
    """File with the private key that signs certificates of erasure. Create it with `kitsweep key create`."""
    audit_days: int = Field(90, ge=1, le=3650)
    """How long audit records are kept after results have expired, in days."""
    web_host: str = "127.0.0.1"
    """Address that `kitsweep web` listens on."""
    web_port: int = Field(8080, ge=1, le=65535)
    """Port that `kitsweep web` listens on."""
    web_wait_seconds: float = Field(50, ge=0, le=55)
    """How long a drop-in call waits for its deletion, in seconds. ImageKit's SDKs give up after 60."""
    web_public_url: PlainUrl | None = None
    """URL under which clients reach `kitsweep web`, such as https://kitsweep.example.com. If unset, links are paths."""
    web_open_metrics: bool = False
    """Whether /metrics of `kitsweep web` needs no token."""
    upload_url: PlainUrl | None = None
    """Base URL for uploads passed through. If unset, IMAGE_KIT_BASE_URL if that is set, else ImageKit's upload host."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Minimum level of log messages."""
    log_format: Literal["text", "json"] = "text"
    """Format of log messages: text, or json with one object per line."""

    _home: str | None = PrivateAttr(None)

    @property
    def home_account(self) -> str:
        """The account whose keys hold what all accounts share: the workers' heartbeats, the intake, the tokens."""
        return self._home or self.account

    @property
    def is_of_accounts_file(self) -> bool:
        """Whether these are the settings of one account, as the accounts file says."""
        return self._home is not None

    def of_account(self, values: dict[str, Any]) -> Settings:
        """Return these settings with other values, of an account that the same workers serve.

        Raises `pydantic.ValidationError`, which shows secrets.
        """
        known = {name: getattr(self, name) for name in type(self).model_fields}
        settings = Settings(**{**known, **values})
        settings._home = self.home_account
        return settings

    @property
    def upload_base_url(self) -> str:
        """Base URL for uploads. A base URL other than ImageKit's own takes uploads too, as in the vendor's SDKs."""
        if self.upload_url:
            return self.upload_url
        return UPLOAD_URL if self.base_url == API_URL else self.base_url

    @property
    def redis_parts(self) -> RedisUrl:
        """The parsed `redis_url`."""
        return RedisUrl.parse(self.redis_url)

    @property
    def redis_address(self) -> str:
        """Address of Redis as `host:port/db`, without user and password, for logs and messages."""
        return self.redis_parts.address

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets that sign webhooks, the newest first; empty if there are none."""
        return read_secrets(self.webhook_secret) if self.webhook_secret else ()

    def callback_problem(self, url: str) -> str | None:
        """Return why a request cannot be reported to this URL; None if it can, as far as is known without sending."""
        if self.webhook_secret is None:
            return f"webhooks are not set up: {environment_name('webhook_secret')} is not set"
        return literal_problem(url, self.webhook_allow)

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        return value.upper() if info.field_name == "log_level" else value.lower()

    # It runs before those in the types of the fields.
    @field_validator("*", mode="before")
    @classmethod
    def _trimmed(cls, value: object, info: ValidationInfo) -> object:
        """Replace an empty text by the default: compose files pass unset variables as empty ones."""
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if not isinstance(value, str):
            return value
        field = cls.model_fields[str(info.field_name)]
        return value.strip() or field.get_default()

    @field_validator("callbacks")
    @classmethod
    def _signed(cls, value: Callbacks, info: ValidationInfo) -> Callbacks:
        if value.root and info.data.get("webhook_secret", value) is None:
            raise ValueError(f"needs {environment_name('webhook_secret')}, which signs webhooks")
        return value

    @field_validator("http_connect_timeout_seconds")
    @classmethod
    def _within_timeout(cls, value: float, info: ValidationInfo) -> float:
        total = info.data.get("http_timeout_seconds", value)
        # A shorter timeout of the call also shortens the default of this one; only a value that was set is an error.
        if value > total and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError(f"must be at most {environment_name('http_timeout_seconds')} ({total:g})")
        return float(min(value, total))


def environment_name(field_name: str) -> str:
    """Return the environment variable of a setting. Raises `KeyError` for an unknown setting."""
    alias = Settings.model_fields[field_name].validation_alias
    return str(alias) if alias else f"{PREFIX}{field_name.upper()}"


def load_settings(**overrides: object) -> Settings:
    """Load the settings. `overrides` take precedence over the environment, and the environment over `.env`.

    Raises `ConfigError` with one line for each unknown name and each invalid value.
    """
    file_values, problems = read_env_file()
    if problems:
        raise ConfigError(problems)
    known = {environment_name(name) for name in Settings.model_fields}
    problems = unknown_names([*os.environ, *file_values], known, PREFIX)
    problems += [f"{name}: unknown setting" for name in overrides if name not in Settings.model_fields]
    settings, refused = _build({name: overrides[name] for name in overrides if name in Settings.model_fields})
    if settings is None or problems:
        secrets = {value for name in _SECRETS for value in secret_values(name, file_values)}
        raise ConfigError(_without(secrets, problems + refused))
    return settings


def _build(overrides: dict[str, Any]) -> tuple[Settings | None, list[str]]:
    try:
        return Settings(**overrides), []
    except ValidationError as error:
        # Not raised here: the original error shows secrets and would become the context of ours.
        return None, [_explained(detail) for detail in error.errors(include_url=False)]


def _explained(error: ErrorDetails) -> str:
    names = {environment_name(name): name for name in Settings.model_fields}
    name = names.get(str(error["loc"][0]), str(error["loc"][0]))
    value = None if name in _HIDDEN else shorten(error["input"])
    return describe(error, environment_name(name), Settings.model_fields[name], value)


def _without(secrets: set[str], lines: list[str]) -> list[str]:
    # The private key may have been set under another name by mistake, and must not be shown there either.
    for secret in secrets:
        lines = [line.replace(secret, "***") for line in lines]
    return lines
