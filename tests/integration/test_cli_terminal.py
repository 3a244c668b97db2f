"""The command line at a terminal: the question before large requests, the progress bar, Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.support_cli import Terminal, environment_of, kitsweep
from tests.integration.support_house import House

PAGE_FULL = 1000


def written(path: Path, ids: list[str]) -> str:
    path.write_text("".join(f"{each}\n" for each in ids))
    return str(path)


@pytest.fixture
def environment(new_redis_url: Callable[[], str]) -> dict[str, str]:
    return environment_of(new_redis_url())


def waiting(environment: dict[str, str]) -> int:
    return int(json.loads(kitsweep(environment, "stats", "--json").out)["waiting"])


def many(count: int) -> list[str]:
    return [f"id{number}" for number in range(count)]


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
def test_a_user_is_asked_and_declines(environment: dict[str, str], tmp_path: Path, answer: str) -> None:
    """Over 1000 ids a person is asked; anything but yes enqueues nothing and ends with 1."""
    path = written(tmp_path / "ids.txt", many(PAGE_FULL + 1))
    with Terminal(environment, "delete", path) as terminal:
        shown = terminal.read_until("Delete them? [y/N] ")
        assert "More than 1,000 files will be deleted" in shown
        assert "at http://127.0.0.1:9, account default" in shown
        terminal.enter(answer)
        assert terminal.end() == 1
        assert "Nothing was enqueued." in terminal.text
    assert waiting(environment) == 0


def test_a_user_is_asked_and_confirms(environment: dict[str, str], tmp_path: Path) -> None:
    """After a yes, all ids are enqueued, including those read before the question."""
    path = written(tmp_path / "ids.txt", many(PAGE_FULL + 1))
    with Terminal(environment, "delete", path) as terminal:
        terminal.read_until("Delete them? [y/N] ")
        terminal.enter("y\n")
        assert terminal.end() == 0
        assert "Accepted 1,001 file ids as request" in terminal.text
        assert "Follow it: kitsweep watch " in terminal.text
    assert waiting(environment) == PAGE_FULL + 1


@pytest.mark.parametrize(("count", "options"), [(PAGE_FULL, []), (PAGE_FULL + 1, ["--yes"])])
def test_a_user_is_not_asked(environment: dict[str, str], tmp_path: Path, count: int, options: list[str]) -> None:
    """Up to 1000 ids, and with `--yes`, there is no confirmation."""
    path = written(tmp_path / "ids.txt", many(count))
    with Terminal(environment, "delete", path, *options) as terminal:
        assert terminal.end() == 0
        assert "Delete them?" not in terminal.text
    assert waiting(environment) == count


def test_a_pipe_is_never_asked(environment: dict[str, str], tmp_path: Path) -> None:
    """In a pipe there is no confirmation."""
    ran = kitsweep(environment, "delete", written(tmp_path / "ids.txt", many(PAGE_FULL + 1)))
    assert (ran.status, "Delete them?" in ran.err) == (0, False)
    assert waiting(environment) == PAGE_FULL + 1


def test_typed_ids(environment: dict[str, str]) -> None:
    """Ids can be typed; Ctrl-D ends the list."""
    with Terminal(environment, "delete", "-") as terminal:
        terminal.read_until("Type file ids, one per line; Ctrl-D ends the list.")
        terminal.enter("one\ntwo\n\x04")
        assert terminal.end() == 0
        assert "Accepted 2 file ids as request" in terminal.text


def test_the_bar(house: House, tmp_path: Path) -> None:
    """A bar shows the progress, the rate, and the time left."""
    house.simulator.set_behaviour(latency_ms=200)
    path = written(tmp_path / "ids.txt", house.files(5000))
    with Terminal(house.environment, "delete", path, "--yes", "--wait") as terminal:
        shown = terminal.read_until("s left")
        assert "of 5,000" in shown
        assert "━" in shown
        assert "/s" in shown
        assert terminal.end() == 0
        assert "SUCCESS: 5,000 files: deleted 5,000." in terminal.text


def test_the_bar_shows_a_pause(house: House) -> None:
    """While the account is paused, the bar shows the reason; it continues by itself after `resume`."""
    house.admin.pause("looking into it")
    request_id = house.client.enqueue(house.files(3))
    with Terminal(house.environment, "watch", request_id) as terminal:
        terminal.read_until("until `kitsweep resume`: looking into it")
        house.admin.resume()
        assert terminal.end() == 0
        assert "SUCCESS, all files are gone" in terminal.text


def test_ctrl_c_stops_only_the_watching(house: House) -> None:
    """Ctrl-C ends with status 130, says that the request continues, and how to cancel it."""
    house.admin.pause()
    ids = house.files(2)
    request_id = house.client.enqueue(ids)
    with Terminal(house.environment, "watch", request_id) as terminal:
        terminal.read_until("0 of 2")
        terminal.interrupt()
        assert terminal.end() == 130
        shown = " ".join(terminal.text.split())
        assert f"the request continues; cancel it: kitsweep cancel {request_id}" in shown
        assert "Traceback" not in terminal.text
    house.admin.resume()
    assert house.client.wait(request_id, 20)["deleted"] == len(ids)


def test_ctrl_c_while_reading(environment: dict[str, str]) -> None:
    """Ctrl-C before the last id is read enqueues nothing."""
    with Terminal(environment, "delete", "-") as terminal:
        terminal.read_until("Ctrl-D ends the list.")
        terminal.enter("one\n")
        terminal.interrupt()
        assert terminal.end() == 130
        assert "Nothing was enqueued." in terminal.text
    assert waiting(environment) == 0


def test_a_dumb_terminal_gets_plain_lines(house: House) -> None:
    """A terminal that cannot draw gets lines without escapes."""
    house.admin.pause()
    request_id = house.client.enqueue(house.files(1))
    with Terminal(house.environment | {"TERM": "dumb"}, "watch", request_id) as terminal:
        terminal.read_until("paused")
        house.admin.resume()
        assert terminal.end() == 0
        assert "\x1b" not in terminal.raw
