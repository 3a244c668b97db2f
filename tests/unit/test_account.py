"""Two ImageKit accounts in one process, on one Redis: nothing of one reaches the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from config.settings import load_settings
from simulator import Simulator
from tests.unit.support_queue import ids
from worker.account import Account
from worker.batch.pipeline import Ran
from worker.queue.operations import NewRequest


@pytest.fixture
def simulators() -> Iterator[tuple[Simulator, Simulator]]:
    with Simulator(0, private_key="private_red") as red, Simulator(0, private_key="private_blue") as blue:
        yield red, blue


def account(name: str, simulator: Simulator, redis: Redis, published: list[str]) -> Account:
    """An account with its own key and its own API."""
    settings = load_settings(account=name, private_key=f"private_{name}", base_url=simulator.url, rate_limits=())
    return Account(settings, redis, publish=published.extend)


def test_each_account_deletes_its_own_files_under_its_own_key(
    redis_client: Redis, simulators: tuple[Simulator, Simulator]
) -> None:
    """Batches of two accounts, run in turn: each calls with its key, and sees only its own requests."""
    published: dict[str, list[str]] = {"red": [], "blue": []}
    accounts = {
        name: account(name, simulator, redis_client, published[name])
        for name, simulator in zip(published, simulators, strict=True)
    }
    for (name, each), simulator in zip(accounts.items(), simulators, strict=True):
        simulator.add_files(ids(name, 120))
        each.queue.enqueue(NewRequest("same-id", "shop"), ids(name, 120))
    for _ in range(2):
        for each in accounts.values():
            assert each.batches.run() is not Ran.NO_WORK
    for (name, each), simulator in zip(accounts.items(), simulators, strict=True):
        assert each.batches.run() is Ran.NO_WORK
        assert set(simulator.deleted()) == set(ids(name, 120))
        assert {call.status for call in simulator.calls()} == {200}
        report = each.reports.read(["same-id"])[0]
        assert report is not None
        assert (report["state"], report["deleted"]) == ("SUCCESS", 120)
        assert published[name] == ["same-id"]


def test_a_pause_of_one_account_does_not_stop_the_other(
    redis_client: Redis, simulators: tuple[Simulator, Simulator]
) -> None:
    """Limiter, pause and outage belong to one account."""
    red, blue = (
        account(name, simulator, redis_client, []) for name, simulator in zip(("red", "blue"), simulators, strict=True)
    )
    red.limiter.pause("maintenance")
    for each in (red, blue):
        each.queue.enqueue(NewRequest("r", "shop"), ["f1"])
    assert red.batches.run() is Ran.NO_SLOT
    assert blue.batches.run() is Ran.PARTIAL


def test_an_account_shows_its_name_and_no_secret(redis_client: Redis, simulators: tuple[Simulator, Simulator]) -> None:
    """A repr may end in a log."""
    assert repr(account("red", simulators[0], redis_client, [])) == "Account('red')"
