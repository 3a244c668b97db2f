"""Settings: values, precedence, and the messages for invalid ones."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.names import NAME_RULE
from config.result_ttls import ResultTtls
from config.settings import PREFIX, ConfigError, RedisUrl, Settings, Window, environment_name, load_settings

KEY = "private_9f8e7d6c5b4a"
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def env(clean_environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return clean_environment


def write_env_file(*lines: str) -> None:
    Path(".env").write_text("\n".join(lines) + "\n", encoding="utf-8")


def problems(**overrides: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_settings(**overrides)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_the_defaults_are_those_that_others_rely_on() -> None:
    """The defaults that other services rely on do not change."""
    settings = load_settings()
    assert settings.private_key is None
    assert settings.base_url == "https://api.imagekit.io"
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.rate_limits == (Window(5, 1000),)
    assert (settings.lease_seconds, settings.batch_size, settings.batch_window_seconds) == (15, 100, 0.2)
    assert (settings.max_attempts, settings.max_request_ids) == (8, 100_000)
    assert (settings.result_ttl_seconds, settings.http_timeout_seconds) == (7 * 86_400, 30)


def test_the_names_are_those_that_others_set() -> None:
    """Two variables are ImageKit's; all others have the prefix."""
    foreign = {name for name in Settings.model_fields if not environment_name(name).startswith(PREFIX)}
    assert {environment_name(name) for name in foreign} == {"IMAGEKIT_PRIVATE_KEY", "IMAGE_KIT_BASE_URL"}
    assert environment_name("lease_seconds") == "KITSWEEP_LEASE_SECONDS"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is(name: str) -> None:
    """Every setting has a description of one line that starts with a capital and ends with a full stop."""
    description = Settings.model_fields[name].description
    assert description
    assert description[0].isupper()
    assert description.endswith(".")
    assert "\n" not in description


def test_an_override_wins_over_the_environment_and_that_over_the_file(env: pytest.MonkeyPatch) -> None:
    """Overrides take precedence over the environment, and the environment over `.env`."""
    write_env_file("KITSWEEP_BATCH_SIZE=10", "KITSWEEP_MAX_ATTEMPTS=2", "KITSWEEP_ACCOUNT=shop")
    env.setenv("KITSWEEP_MAX_ATTEMPTS", "3")
    env.setenv("KITSWEEP_ACCOUNT", "blog")
    settings = load_settings(account="depot")
    assert (settings.batch_size, settings.max_attempts, settings.account) == (10, 3, "depot")


def test_settings_cannot_be_changed() -> None:
    """Settings are frozen."""
    with pytest.raises(ValidationError):
        load_settings().batch_size = 1  # type: ignore[misc]


def test_values_are_stripped_and_empty_ones_mean_the_default(env: pytest.MonkeyPatch) -> None:
    """Shells and compose files pass unset variables as empty ones."""
    env.setenv("KITSWEEP_BATCH_SIZE", " ")
    env.setenv("KITSWEEP_ACCOUNT", " shop\t")
    env.setenv("KITSWEEP_RATE_LIMITS", "")
    settings = load_settings()
    assert (settings.batch_size, settings.account, settings.rate_limits) == (100, "shop", (Window(5, 1000),))


@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_an_empty_key_is_no_key_and_hides_that_of_the_file(env: pytest.MonkeyPatch, value: str) -> None:
    """`IMAGEKIT_PRIVATE_KEY= make run` uses the simulator, whatever `.env` contains."""
    write_env_file(f"IMAGEKIT_PRIVATE_KEY={KEY}")
    assert load_settings().private_key is not None
    env.setenv("IMAGEKIT_PRIVATE_KEY", value)
    assert load_settings().private_key is None


def test_log_level_and_format_ignore_case(env: pytest.MonkeyPatch) -> None:
    """`debug` is DEBUG, and `JSON` is json."""
    env.setenv("KITSWEEP_LOG_LEVEL", "debug")
    env.setenv("KITSWEEP_LOG_FORMAT", "JSON")
    assert (load_settings().log_level, load_settings().log_format) == ("DEBUG", "json")


def test_trailing_slashes_of_the_base_url_are_removed() -> None:
    """Paths are appended to it."""
    assert load_settings(base_url="http://127.0.0.1:8090/proxy//").base_url == "http://127.0.0.1:8090/proxy"


def test_the_connect_timeout_is_at_most_the_timeout_of_the_call(env: pytest.MonkeyPatch) -> None:
    """A shorter timeout of the call also shortens the default; a value that was set too long is an error."""
    env.setenv("KITSWEEP_HTTP_TIMEOUT_SECONDS", "2")
    assert load_settings().http_connect_timeout_seconds == 2
    env.setenv("KITSWEEP_HTTP_CONNECT_TIMEOUT_SECONDS", "3")
    assert problems() == (
        "KITSWEEP_HTTP_CONNECT_TIMEOUT_SECONDS='3': must be at most KITSWEEP_HTTP_TIMEOUT_SECONDS (2) (default: 5)",
    )


REFUSED = [
    ("KITSWEEP_BATCH_SIZE", "0", "must be a whole number from 1 to 100 (default: 100)"),
    ("KITSWEEP_BATCH_SIZE", "101", "must be a whole number from 1 to 100 (default: 100)"),
    ("KITSWEEP_BATCH_SIZE", "ten", "must be a whole number from 1 to 100 (default: 100)"),
    ("KITSWEEP_MAX_ATTEMPTS", "1.5", "must be a whole number from 1 to 1000 (default: 8)"),
    ("KITSWEEP_RATE_SHARE", "0", "must be a number above 0 and at most 1 (default: 1)"),
    ("KITSWEEP_RATE_SHARE", "1.01", "must be a number above 0 and at most 1 (default: 1)"),
    ("KITSWEEP_RATE_SHARE", "nan", "must be a number above 0 and at most 1 (default: 1)"),
    ("KITSWEEP_LEASE_SECONDS", "inf", "must be a number from 0.1 to 3600 (default: 15)"),
    ("KITSWEEP_LEASE_SECONDS", "15s", "must be a number from 0.1 to 3600 (default: 15)"),
    ("KITSWEEP_BATCH_WINDOW_SECONDS", "-1", "must be a number from 0 to 60 (default: 0.2)"),
    ("KITSWEEP_ACCOUNT", "a/b", "must be 1 to 64 of the characters A-Z a-z 0-9 . _ - (default: default)"),
    ("KITSWEEP_ACCOUNT", "{x}", "must be 1 to 64 of the characters A-Z a-z 0-9 . _ - (default: default)"),
    ("KITSWEEP_LOG_FORMAT", "xml", "must be one of 'text' or 'json' (default: text)"),
    ("KITSWEEP_RATE_LIMITS", "5/1s", 'must be a JSON list such as ["5/1s", "1000/15m"] (default: ["5/1s"])'),
    ("KITSWEEP_RATE_LIMITS", '{"5": 1}', 'must be a JSON list such as ["5/1s", "1000/15m"] (default: ["5/1s"])'),
    ("KITSWEEP_RATE_LIMITS", "[5]", 'must be a JSON list such as ["5/1s", "1000/15m"] (default: ["5/1s"])'),
    (
        "KITSWEEP_RESULT_TTL_BY_SOURCE",
        '{"a": 59, "b c": 60}',
        f"a must be at least 60; b c is not a source name: {NAME_RULE} (default: {{}})",
    ),
    ("KITSWEEP_RESULT_TTL_BY_SOURCE", '{"a": 60.5}', "a must be a whole number (default: {})"),
    (
        "KITSWEEP_RESULT_TTL_BY_SOURCE",
        "86400",
        'must be a JSON object such as {"catalog": 86400, "shop": 2592000} (default: {})',
    ),
    ("KITSWEEP_RATE_LIMITS", '["0/1s"]', 'must allow at least 1 call, not 0 (default: ["5/1s"])'),
]


@pytest.mark.parametrize(("name", "value", "rule"), REFUSED)
def test_a_bad_value_is_one_line_with_name_value_and_rule(
    env: pytest.MonkeyPatch, name: str, value: str, rule: str
) -> None:
    """The message is enough to fix the value."""
    env.setenv(name, value)
    assert problems() == (f"{name}={value!r}: {rule}",)


@pytest.mark.parametrize(
    "value",
    ["ftp://host", "api.imagekit.io", "https://", "https://h/?a=1", "https://h/#a", "https://u:pw@h", "http://h:0"],
)
def test_a_base_url_is_plain_http(env: pytest.MonkeyPatch, value: str) -> None:
    """An invalid value is not shown: it may contain a password."""
    env.setenv("IMAGE_KIT_BASE_URL", value)
    (line,) = problems()
    assert line.startswith("IMAGE_KIT_BASE_URL: must be an http or https URL without credentials, query or fragment")


def test_all_problems_are_reported_at_once(env: pytest.MonkeyPatch) -> None:
    """One start of the program is enough to find them all."""
    env.setenv("KITSWEEP_BATCH_SIZE", "0")
    env.setenv("KITSWEEP_RATE_SHARE", "2")
    env.setenv("KITSWEEP_LEASE", "3")
    assert [line.partition(":")[0].partition("=")[0] for line in problems(nonsense=1)] == [
        "KITSWEEP_LEASE",
        "nonsense",
        "KITSWEEP_RATE_SHARE",
        "KITSWEEP_BATCH_SIZE",
    ]


def test_a_long_or_unprintable_value_is_shown_as_one_short_line(env: pytest.MonkeyPatch) -> None:
    """Control characters do not reach the terminal."""
    env.setenv("KITSWEEP_ACCOUNT", "\x1b[2Jé\n" + "a" * 500)
    (line,) = problems()
    assert line.isprintable()
    assert line.isascii()
    assert len(line) < 200


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("KITSWEEP_BATCHSIZE", "did you mean KITSWEEP_BATCH_SIZE?"),
        ("KITSWEEP_RATE_LIMIT", "did you mean KITSWEEP_RATE_LIMITS?"),
        ("KITSWEEP_REDIS", "did you mean KITSWEEP_REDIS_URL?"),
        ("kitsweep_lease_second", "did you mean KITSWEEP_LEASE_SECONDS?"),
        ("KITSWEEP_PRIVATE_KEY", "did you mean IMAGEKIT_PRIVATE_KEY?"),
        ("KITSWEEP_BASE_URL", "did you mean IMAGE_KIT_BASE_URL?"),
        ("KITSWEEP_QQQQQQQQ", "see .env.example for all settings"),
    ],
)
def test_an_unknown_name_is_an_error_with_a_hint(env: pytest.MonkeyPatch, name: str, hint: str) -> None:
    """A misspelt setting would otherwise be ignored. Its value is not shown: it may be the key."""
    env.setenv(name, "some-value")
    told = problems()
    assert told[0] == f"{name}: unknown setting; {hint}"
    assert "some-value" not in str(told)


def test_an_unknown_name_in_the_file_is_an_error_too() -> None:
    """Variables without the prefix are ignored."""
    write_env_file("KITSWEEP_BATCHSIZE=5", "DATABASE_URL=x", "batch_size=7", "MAX_ATTEMPTS=x")
    assert problems() == ("KITSWEEP_BATCHSIZE: unknown setting; did you mean KITSWEEP_BATCH_SIZE?",)


def test_an_invalid_line_of_the_file_is_reported_by_number() -> None:
    """The parser of `.env` files would skip it."""
    write_env_file("# a comment", "", "KITSWEEP_BATCH_SIZE=5", "this is = nothing 'at all", "")
    assert problems() == (".env line 4: must be NAME=value",)


def test_a_file_that_is_not_text_is_reported() -> None:
    """The message has no traceback."""
    Path(".env").write_bytes(b"KITSWEEP_ACCOUNT=\xff\xfe\n")
    assert problems() == (".env: must be text in UTF-8",)


def test_an_unknown_override_is_reported() -> None:
    """The message has the name that the caller gave."""
    assert problems(batchsize=5) == ("batchsize: unknown setting",)


@pytest.mark.parametrize("key", ["a b", "a:b", "schlüssel", "tab\there", "bell\x07"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(env: pytest.MonkeyPatch, key: str) -> None:
    """The key is the user name of HTTP Basic authentication, which restricts its characters."""
    env.setenv("IMAGEKIT_PRIVATE_KEY", key)
    rule = "must be printable ASCII without spaces or colons; copy it from the ImageKit dashboard"
    assert problems() == (f"IMAGEKIT_PRIVATE_KEY: {rule} (default: unset)",)


def test_secrets_are_not_shown() -> None:
    """repr, str and format of the settings contain no secret."""
    settings = load_settings(private_key=KEY, redis_url="rediss://user:hush@redis.example:6380/2")
    shown = [repr(settings), str(settings), repr(settings.redis_parts), settings.redis_address, f"{settings!r:>5}"]
    assert not any(secret in text for text in shown for secret in (KEY, "hush"))
    assert settings.redis_address == "redis.example:6380/2"


def test_no_error_shows_a_secret(env: pytest.MonkeyPatch) -> None:
    """Messages, traceback and context are clean, even if the key was set under another name by mistake."""
    env.setenv("IMAGEKIT_PRIVATE_KEY", KEY)
    env.setenv("KITSWEEP_ACCOUNT", f"{KEY}!")
    env.setenv("KITSWEEP_LOG_LEVEL", KEY.lower())
    env.setenv("KITSWEEP_REDIS_URL", "redis://:hush@host/zero")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert caught.value.__context__ is None
    told = "".join(traceback.format_exception(caught.value))
    assert "KITSWEEP_ACCOUNT='***!'" in told
    assert not any(secret in told for secret in (KEY, "hush"))


def test_a_program_that_starts_with_bad_settings_prints_no_secret(env: pytest.MonkeyPatch) -> None:
    """The traceback of a program that does not catch the error is clean too."""
    env.setenv("IMAGEKIT_PRIVATE_KEY", f"{KEY} ")
    env.setenv("KITSWEEP_BATCH_SIZE", KEY)
    env.setenv("PYTHONPATH", str(ROOT))
    program = "from config.settings import load_settings; load_settings()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "KITSWEEP_BATCH_SIZE='***'" in done.stderr
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("5/1s", (5, 1000)),
        ("1000/15m", (1000, 900_000)),
        (" 1 / 250 ms ", (1, 250)),
        ("1000/744h", (1000, 2_678_400_000)),
    ],
)
def test_a_window_is_calls_per_time(text: str, window: tuple[int, int]) -> None:
    """Units are ms, s, m and h."""
    assert Window.parse(text) == Window(*window)


@pytest.mark.parametrize(
    "text", ["", "5", "5/s", "5/1", "5/1d", "-5/1s", "5/1.5s", "5/1S", "0/1s", "5/0s", "\u0665/1s", "5/1s\n6"]
)
def test_a_malformed_window_is_refused(text: str) -> None:
    """The message is one line."""
    with pytest.raises(ValueError, match=r"\A.+\Z"):
        Window.parse(text)


@pytest.mark.parametrize("text", ["1000001/1s", "1/745h", "999999999999/999999999999h"])
def test_a_window_out_of_range_is_refused(text: str) -> None:
    """Larger numbers would overflow in Redis scripts."""
    with pytest.raises(ValueError, match="exceeds 1000000 calls or 31 days"):
        Window.parse(text)


@given(limit=st.integers(1, 1_000_000), interval_ms=st.integers(1, 2_678_400_000))
def test_a_written_window_can_be_parsed(limit: int, interval_ms: int) -> None:
    """It is written in the largest unit that divides its length."""
    window = Window(limit, interval_ms)
    assert Window.parse(str(window)) == window


def test_sources_may_keep_results_for_a_time_of_their_own(env: pytest.MonkeyPatch) -> None:
    """Seconds by source, in JSON, and read back as written."""
    env.setenv("KITSWEEP_RESULT_TTL_BY_SOURCE", '{"catalog": 86400}')
    ttls = load_settings().result_ttl_by_source
    assert ttls.root == {"catalog": 86_400}
    assert ResultTtls.read(str(ttls)) == ttls


def test_rate_limits_can_be_empty(env: pytest.MonkeyPatch) -> None:
    """Then only the limits that the API announces apply."""
    env.setenv("KITSWEEP_RATE_LIMITS", "[]")
    assert load_settings().rate_limits == ()


@pytest.mark.parametrize(
    ("url", "address", "celery_url"),
    [
        ("redis://h", "h:6379/0", "redis://h:6379/0"),
        ("redis://u:p%40s@h:1/3", "h:1/3", "redis://u:p%40s@h:1/3"),
        ("rediss://:p@[::1]:6380/0?ssl_ca_certs=/ca.pem", "[::1]:6380/0", "rediss://:p@[::1]:6380/0"),
        ("unix:///run/r.sock?db=2", "/run/r.sock?db=2", "redis+socket:///run/r.sock?virtual_host=2"),
        (
            "sentinel://:p@a:1,b/4?master=main&sentinel_password=s",
            "sentinel main@a:1,b:26379/4",
            "sentinel://:p@a:1/4;sentinel://:p@b:26379/4",
        ),
    ],
)
def test_a_redis_url_is_parsed(url: str, address: str, celery_url: str) -> None:
    """`address` has no secrets; `celery_url` is the form of Celery."""
    parts = RedisUrl.parse(url)
    assert (parts.address, parts.celery_url) == (address, celery_url)
    assert load_settings(redis_url=url).redis_address == address


@pytest.mark.parametrize(
    "url",
    ["h:6379", "http://h", "redis:/h", "redis://", "redis://h:0", "redis://h:70000", "redis://h/one", "redis://h/0?db=1",
     "redis://a,b", "redis://h/0#x", "redis://h /0", "unix://", "unix://relative.sock", "sentinel://a:1/0?masters=m",
     "rediss://h?ssl_cert_reqs=maybe", "redis://[::1"],
)  # fmt: skip
def test_an_invalid_redis_url_is_refused_and_not_shown(env: pytest.MonkeyPatch, url: str) -> None:
    """Part of an invalid URL may be a password."""
    env.setenv("KITSWEEP_REDIS_URL", url)
    (line,) = problems()
    assert line.startswith("KITSWEEP_REDIS_URL: must ") or " has no option " in line


@given(username=st.text(max_size=9), password=st.text(min_size=1, max_size=9))
def test_any_user_and_password_reach_celery(username: str, password: str) -> None:
    """They are percent-encoded correctly."""
    parts = RedisUrl("redis", (("h", 6379),), 0, username=username or None, password=password)
    again = RedisUrl.parse(parts.celery_url)
    assert (again.username, again.password, again.hosts) == (username or None, password, parts.hosts)
