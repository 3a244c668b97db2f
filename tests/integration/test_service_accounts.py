"""Several ImageKit accounts on one Redis: nothing of the one is ever done, counted or paused for the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.support_house import House


@pytest.fixture(scope="module")
def pair(new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, House]]:
    """The houses of the accounts "default" and "shop", on one database."""
    url = new_redis_url()
    houses = [House(url, tmp_path_factory.mktemp(name), name) for name in ("default", "shop")]
    try:
        for house in houses:
            house.start_worker(house.account, "--without-mingle")
        for house in houses:
            house.wait_for_workers()
        yield houses[0], houses[1]
    finally:
        for house in houses:
            house.stop()


@pytest.fixture
def default(pair: tuple[House, House]) -> House:
    """The account that foreign services reach without naming a queue."""
    pair[0].calm()
    return pair[0]


@pytest.fixture
def shop(pair: tuple[House, House]) -> House:
    """Another account, whose Celery queues have its name."""
    pair[1].calm()
    return pair[1]


OPTIONS = {"queue": "kitsweep.requests.shop"}


def test_a_request_reaches_its_own_account_only(default: House, shop: House) -> None:
    """Files of the same ids in both accounts: only those of the account that was asked are deleted."""
    ids = default.files(120)
    shop.simulator.add_files(ids)
    assert shop.final(shop.ask(ids, OPTIONS)).report["deleted"] == 120
    assert default.calls_with(ids) == []
    assert len(default.simulator.existing(ids)) == 120
    assert default.client.stats()["ended"]["deleted"] == 0
    # Nor does the other account take them for deleted by now.
    assert default.deleted(ids)["deleted"] == 120
    assert default.simulator.existing(ids) == []


def test_each_account_pauses_by_itself(default: House, shop: House) -> None:
    """A pause of one account, or its refused key, leaves the other one alone."""
    default.admin.pause("only here")
    waiting = default.ask(default.files(2))
    default.wait_for_state(waiting, "QUEUED")
    assert shop.final(shop.ask(shop.files(2), OPTIONS)).state == "SUCCESS"
    assert default.service.look(waiting).state == "QUEUED"
    assert shop.client.stats()["pause"] is None
    default.admin.resume()
    assert default.final(waiting).state == "SUCCESS"


def test_each_account_knows_its_own_requests_and_workers(default: House, shop: House) -> None:
    """A request id of one account is unknown to the other; each counts its own workers."""
    report = default.deleted(default.files(1))
    assert not shop.is_known(report["request_id"])
    assert default.client.stats()["workers"] == ["default@test"]
    assert shop.client.stats()["workers"] == ["shop@test"]
