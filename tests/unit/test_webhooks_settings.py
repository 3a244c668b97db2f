"""The settings of webhooks: every mistake is one clear line, and no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import ConfigError, Settings, load_settings
from tests.unit.support_webhooks import NEW_SECRET, SECRET, URL

pytestmark = pytest.mark.usefixtures("clean_environment")


def problem(**overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(**overrides)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_one_secret_or_two(clean_environment: pytest.MonkeyPatch) -> None:
    """The first signs first; nothing of them is shown."""
    clean_environment.setenv("KITSWEEP_WEBHOOK_SECRET", f" {NEW_SECRET}  {SECRET} ")
    settings = load_settings()
    assert settings.webhook_secrets == (NEW_SECRET, SECRET)
    assert SECRET not in repr(settings)
    assert load_settings(webhook_secret=SECRET).webhook_secrets == (SECRET,)
    assert load_settings(webhook_secret="").webhook_secrets == ()


@pytest.mark.parametrize(
    "value",
    [
        SECRET.removeprefix("whsec_"),
        "whsec_=",
        "whsec_c2hvcnQ=",
        "whsec_" + "A" * 200,
        "whsec_not base64 at all!",
        f"{SECRET} {NEW_SECRET} {SECRET}",
        f"{SECRET},{NEW_SECRET}",
        "whsec_ключ",
    ],
)
def test_a_bad_secret_is_refused_and_not_shown(value: str) -> None:
    """The rule is: whsec_ and the base64 of 24 to 64 bytes, as Standard Webhooks asks for."""
    said = problem(webhook_secret=value)
    assert said.startswith("KITSWEEP_WEBHOOK_SECRET: must be one secret, or two")
    assert value not in said


def test_a_callback_for_each_source() -> None:
    """By name, for a cleanup rule, and for all others."""
    written = f'{{"shop": "{URL}", "cleanup:drafts": "{URL}?rule=drafts", "*": "{URL}?rest"}}'
    callbacks = load_settings(callbacks=written, webhook_secret=SECRET).callbacks
    assert callbacks.url_of("shop") == URL
    assert callbacks.url_of("cleanup:drafts") == f"{URL}?rule=drafts"
    assert callbacks.url_of("other") == f"{URL}?rest"
    assert load_settings().callbacks.url_of("shop") is None


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ('{"shop": "ftp://u:hunter2@x/"}', "shop must be an http or https URL"),
        ('{"shop": 5}', "shop must be text"),
        ('{"a shop": "https://x/"}', "a shop is no source name"),
        ('{"cleanup:": "https://x/"}', "cleanup: is no source name"),
        ("[]", "must be a JSON object such as"),
        ("{", "must be a JSON object such as"),
        ("hunter2", "must be a JSON object such as"),
    ],
)
def test_bad_callbacks_are_refused_and_not_shown(value: str, rule: str) -> None:
    """A URL may hold a password."""
    said = problem(callbacks=value, webhook_secret=SECRET)
    assert said.startswith("KITSWEEP_CALLBACKS: ")
    assert rule in said
    assert "hunter2" not in said


def test_callbacks_need_a_secret() -> None:
    """Nothing is sent unsigned, and a worker says so when it starts."""
    assert problem(callbacks={"shop": URL}).startswith("KITSWEEP_CALLBACKS: needs KITSWEEP_WEBHOOK_SECRET")


def test_written_callbacks_hide_what_a_url_may_hold() -> None:
    """`kitsweep check` shows them."""
    settings = load_settings(callbacks={"shop": "https://u:hunter2@x/hook?token=hunter2"}, webhook_secret=SECRET)
    for text in (str(settings.callbacks), repr(settings.callbacks), repr(settings)):
        assert "hunter2" not in text
    assert "https://x/hook?…" in str(settings.callbacks)


@pytest.mark.parametrize(
    "value", ["10.0.0.0/8", '"10.0.0.0/8"', "{}", "[5.5]", '["10.0.0.1/8"]', '["inside"]', "[null]"]
)
def test_bad_networks_are_refused(value: str) -> None:
    """Each has to be a network, and the value a list of them."""
    assert problem(webhook_allow=value).startswith("KITSWEEP_WEBHOOK_ALLOW=")


def test_networks() -> None:
    """Of IPv4 and IPv6; one address is a network too."""
    networks = load_settings(webhook_allow='["10.0.0.0/8", "fd00::/8", "192.168.1.5"]').webhook_allow
    assert [str(each) for each in networks] == ["10.0.0.0/8", "fd00::/8", "192.168.1.5/32"]


@pytest.mark.parametrize("seconds", [0.5, 31])
def test_the_timeout_has_bounds(seconds: float) -> None:
    """The lease of a webhook covers it, and a receiver gets time to answer."""
    assert "from 1 to 30" in problem(webhook_timeout_seconds=seconds)


def test_the_secret_is_hidden_in_errors_about_other_settings(clean_environment: pytest.MonkeyPatch) -> None:
    """Also where somebody pasted it into another one."""
    clean_environment.setenv("KITSWEEP_WEBHOOK_SECRET", SECRET)
    clean_environment.setenv("KITSWEEP_LEASE_SECONDS", SECRET)
    assert SECRET not in problem()


def test_a_callback_is_checked_as_far_as_it_can_be() -> None:
    """A secret has to be there, and an address in the URL has to be allowed."""
    settings: Settings = load_settings(webhook_secret=SECRET)
    assert settings.callback_problem(URL) is None
    assert "is not a public address" in str(settings.callback_problem("http://192.168.0.1/"))
    assert "KITSWEEP_WEBHOOK_SECRET is not set" in str(load_settings().callback_problem(URL))


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_of_authorities_has_certificates(tmp_path: Path, content: str | None) -> None:
    """A file that is missing, or has none, is an error at the start."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    assert "must be a PEM file with certificates" in problem(webhook_ca_file=str(path))
