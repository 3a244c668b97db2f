"""The log: one line per event, times in UTC, without secrets and control characters."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, load_settings
from worker.logs import LineFormatter, configure_logging, log_fields, secrets_of

KEY = 'private_0"\\key'
PASSWORD = "p@ss/wörd"


@pytest.fixture
def _root_as_it_was() -> Iterator[None]:
    """Leave the process' logging as it was found."""
    root = logging.getLogger()
    noisy = [logging.getLogger(name) for name in ("celery.app.trace", "celery.worker.strategy")]
    before, levels = root.handlers[:], [(each, each.level) for each in (root, *noisy)]
    yield
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers[:] = before
    for logger, level in levels:
        logger.setLevel(level)


def record(message: str = "hello", *args: object, **extra: Any) -> logging.LogRecord:
    """Make a record at a known time."""
    made = logging.makeLogRecord(
        {"name": "kitsweep.test", "levelno": 30, "levelname": "WARNING", "msg": message, "args": args, **extra}
    )
    made.created, made.msecs = 1_700_000_000.25, 250.0
    return made


def line(form: str, made: logging.LogRecord, *secrets: str) -> str:
    """Format one record."""
    return LineFormatter(form, secrets).format(made)


def raised(message: str) -> Any:
    """Return `sys.exc_info()` of an error that was raised."""
    try:
        int("x")
    except ValueError as error:
        error.args = (message,)
        return sys.exc_info()


def configured(**changes: object) -> Settings:
    """Settings with two secrets."""
    address = "redis://user:p%40ss%2Fw%C3%B6rd@127.0.0.1:6379/0"
    return load_settings(**{"private_key": KEY, "redis_url": address, **changes})


def test_text_form() -> None:
    """A line has the time (UTC, ms), level, logger, message and fields."""
    found = line("text", record("deleted %d of %s", 5, "x", ids=5, empty=None))
    assert found == "2023-11-14T22:13:20.250Z WARNING kitsweep.test: deleted 5 of x  [ids=5]"


def test_json_form() -> None:
    """A JSON line is one object with the same facts, under their own names."""
    found = json.loads(line("json", record("deleted %d", 5, ids=5, when=object)))
    assert found.pop("when") == str(object)
    assert found == {
        "at": "2023-11-14T22:13:20.250Z",
        "level": "WARNING",
        "logger": "kitsweep.test",
        "message": "deleted 5",
        "ids": 5,
    }


def test_fields_of_a_block() -> None:
    """Every line in a block has its fields, which `extra` may replace; later lines do not."""
    with log_fields(request_ids=["r1"], ids=1), log_fields(rule="x"):
        found = json.loads(line("json", record("hello", ids=5)))
    assert (found["request_ids"], found["ids"], found["rule"]) == (["r1"], 5, "x")
    assert "request_ids" not in json.loads(line("json", record("hello")))


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("evil", ["\n", "\r", "\x1b[2J", "\x00", "\x9b31m", "\x7f", "\u2028"])
def test_no_control_characters(form: str, evil: str) -> None:
    """Neither a message nor a field starts a second line or controls a terminal, so no event can be forged."""
    found = line(form, record("name %s", f"a{evil}b", field=f"c{evil}d", listed=[f"e{evil}"]))
    assert len(found.splitlines()) == 1
    assert evil[0] not in found
    assert "a" in found


def test_a_traceback() -> None:
    """An exception comes with its traceback: below the line of a text, inside the object of JSON."""
    made = record("failed", exc_info=raised("it went wrong"))
    first, *rest = line("text", made).splitlines()
    assert first.endswith("kitsweep.test: failed")
    assert rest[-1] == "ValueError: it went wrong"
    assert "it went wrong" in json.loads(line("json", made))["traceback"]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("secret", [KEY, PASSWORD, "p%40ss%2Fw%C3%B6rd"])
def test_no_secrets(form: str, secret: str) -> None:
    """The private key and Redis' password are masked wherever they turn up: message, field, traceback."""
    traceback = raised(f"no login with {secret}")
    made = record("using %s", secret, field=secret, listed=[secret], exc_info=traceback)
    found = line(form, made, *secrets_of(configured()))
    assert secret not in found
    assert json.dumps(secret)[1:-1] not in found
    assert repr(secret)[1:-1] not in found
    assert found.count("***") >= 3


def test_nothing_to_hide() -> None:
    """Without key and password nothing is masked."""
    assert secrets_of(load_settings(private_key="", redis_url="redis://127.0.0.1:6379/0")) == ()


@pytest.mark.usefixtures("_root_as_it_was")
def test_the_more_verbose_level_wins(capsys: pytest.CaptureFixture[str]) -> None:
    """The level is that of the settings, unless the command line asks for more."""
    configure_logging(configured(log_level="WARNING"))
    assert logging.getLogger().level == logging.WARNING
    configure_logging(configured(log_level="WARNING"), logging.DEBUG)
    assert logging.getLogger().level == logging.DEBUG
    configure_logging(configured(log_level="INFO"), logging.ERROR)
    assert logging.getLogger().level == logging.INFO
    logging.getLogger("kitsweep.test").info("hello %s", KEY)
    assert capsys.readouterr().err.endswith("kitsweep.test: hello ***\n")


@pytest.mark.usefixtures("_root_as_it_was")
def test_a_line_for_each_task_is_too_much() -> None:
    """Celery's line for each message is omitted, unless the level is DEBUG."""
    configure_logging(configured(log_level="INFO"))
    assert not logging.getLogger("celery.app.trace").isEnabledFor(logging.INFO)
    configure_logging(configured(log_level="DEBUG"))
    assert logging.getLogger("celery.app.trace").isEnabledFor(logging.DEBUG)


@pytest.mark.usefixtures("_root_as_it_was")
def test_a_log_file(tmp_path: Path) -> None:
    """With a file named, the log goes there, in the form of the settings."""
    configure_logging(configured(log_format="json"), None, str(tmp_path / "kitsweep.log"))
    logging.getLogger("kitsweep.test").warning("hello")
    assert json.loads((tmp_path / "kitsweep.log").read_text())["message"] == "hello"
