"""One worker serves several ImageKit accounts of an accounts file: what happens to one never reaches another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import load_settings
from simulator import Simulator
from tasks.admin import Admin
from tasks.client import Client
from tests.integration.support_house import KEY, House
from tests.integration.support_waiting import wait_until
from worker.reports.report import Report

MANY = 2000


class Town:
    """A house whose workers serve the accounts shop and blog too, each with its own simulator."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.file = folder / "accounts.toml"
        self.simulators = {name: Simulator(private_key=f"private_{name}").start() for name in ("shop", "blog")}
        self.write("shop", "blog")
        self.house = House(redis_url, folder, KITSWEEP_ACCOUNTS_FILE=str(self.file), KITSWEEP_HTTP_TIMEOUT_SECONDS="3")
        self.settings = load_settings(
            redis_url=redis_url, private_key=KEY, rate_limits="[]", accounts_file=str(self.file)
        )

    def write(self, *names: str) -> None:
        """Write the accounts file anew, with these accounts."""
        tables = (
            f"[accounts.{name}]\nkey = 'private_{name}'\nbase_url = '{self.simulators[name].url}'\n" for name in names
        )
        new = self.file.with_suffix(".new")
        new.write_text("".join(tables), encoding="utf-8")
        new.chmod(0o600)
        new.replace(self.file)

    def client(self, name: str | None) -> Client:
        return Client(self.settings, account=name)

    def ask(self, name: str, count: int) -> str:
        """Ask by task name for the deletion of new files of an account; return the request id."""
        files = self.simulators[name].add_files(count)
        return self.house.ask(files, account=name)

    def report(self, name: str, request_id: str) -> Report:
        """Return the report of a request once it is final, as its account sees it."""
        self.house.final(request_id, 30)
        return self.client(name).status(request_id)

    def calm(self) -> None:
        self.write("shop", "blog")
        self.house.calm()
        for name, simulator in self.simulators.items():
            simulator.clear_faults()
            simulator.outage(None)
            simulator.set_key(state="good")
            simulator.set_limits()
            simulator.set_behaviour(latency_ms=0)
            Admin(self.settings, name).resume()
            for key in ("account", "limits:delete", "calls:delete"):
                self.house.redis.delete(f"{{kitsweep:{name}}}:{key}")

    def stop(self) -> None:
        self.house.stop()
        for simulator in self.simulators.values():
            simulator.stop()


@pytest.fixture(scope="module")
def the_town(new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(new_redis_url(), tmp_path_factory.mktemp("town"))
    try:
        town.house.start_worker("one", "--without-mingle")
        town.house.wait_for_workers()
        yield town
    finally:
        town.stop()


@pytest.fixture
def town(the_town: Town) -> Town:
    the_town.calm()
    return the_town


def test_each_account_deletes_its_own_files(town: Town) -> None:
    """Also the account of the environment, which is asked as ever, and with the same file ids in all accounts."""
    files = town.house.files(50)
    for simulator in town.simulators.values():
        simulator.add_files(files)
    shop = town.house.ask(files, account="shop")
    assert town.house.final(shop).report["deleted"] == 50
    assert len(town.house.simulator.existing(files)) == len(town.simulators["blog"].existing(files)) == 50
    assert town.house.deleted(files)["deleted"] == 50
    assert town.simulators["blog"].existing(files) == files
    with_ids = [call.ids for each in (*town.simulators.values(), town.house.simulator) for call in each.calls()]
    assert all(set(ids) <= set(files) for ids in with_ids)


def test_an_unknown_account_is_refused(town: Town) -> None:
    """The caller sees which there are."""
    seen = town.house.service.final(town.house.service.send(["a"], account="nowhere"), 20)
    assert seen.state == "FAILURE"
    assert "there is no account 'nowhere'; the accounts are: default, shop, blog" in str(seen)


def hang(simulator: Simulator) -> None:
    simulator.outage("hang")


def refuse_the_key(simulator: Simulator) -> None:
    simulator.set_key(state="disabled")


def fail(simulator: Simulator) -> None:
    simulator.outage("unavailable")


def throttle(simulator: Simulator) -> None:
    simulator.set_limits("1/1m")


@pytest.mark.parametrize("trouble", [hang, refuse_the_key, fail, throttle])
def test_trouble_of_one_account_slows_no_other(town: Town, trouble: Callable[[Simulator], None]) -> None:
    """It goes at full speed, in the same worker, with as many threads as if it were alone."""
    fast = timed(town, "blog")
    trouble(town.simulators["shop"])
    asked = [town.ask("shop", 150) for _ in range(12)]
    shop = town.client("shop")
    wait_until(lambda: shop.stats()["in_flight"] or shop.stats()["pause"], "calls of shop")
    assert timed(town, "blog") < max(3 * fast, fast + 1)
    states = {town.house.service.look(each).state for each in asked}
    assert states <= {"PENDING", "QUEUED", "PROGRESS", "SUCCESS"}
    assert states != {"SUCCESS"}


def timed(town: Town, name: str) -> float:
    began = time.monotonic()
    assert town.report(name, town.ask(name, MANY))["deleted"] == MANY
    return time.monotonic() - began


def test_a_pause_is_that_of_one_account(town: Town) -> None:
    """By an operator, who names it."""
    admin = Admin(town.settings, "shop")
    admin.pause("maintenance")
    waits = town.ask("shop", 2)
    town.house.wait_for_state(waits, "QUEUED")
    assert town.report("blog", town.ask("blog", 2))["state"] == "SUCCESS"
    assert town.client("shop").status(waits)["state"] == "QUEUED"
    admin.resume()
    assert town.report("shop", waits)["state"] == "SUCCESS"


def test_accounts_come_and_go_without_a_restart(town: Town) -> None:
    """What waits for a removed one stays until it is back."""
    Admin(town.settings, "blog").pause("so that something waits")
    waits = town.ask("blog", 3)
    town.house.wait_for_state(waits, "QUEUED")
    town.write("shop")
    wait_until(lambda: "account blog was removed" in town.house.tail(), "the removal is told")
    assert "3 of its ids wait" in town.house.tail()
    assert town.report("shop", town.ask("shop", 3))["state"] == "SUCCESS"
    town.write("shop", "blog")
    Admin(town.settings, "blog").resume()
    assert town.report("blog", waits)["state"] == "SUCCESS"


def test_a_revoked_task_is_cancelled_in_whatever_account(town: Town) -> None:
    """Celery's command names no account."""
    Admin(town.settings, "shop").pause("so that it waits")
    request: Any = town.ask("shop", 2)
    town.house.wait_for_state(request, "QUEUED")
    town.house.service.do("revoke", request)
    assert town.report("shop", request)["state"] == "REVOKED"
