"""Sources take turns: one service's many files never delay another's one, and no call goes out half empty."""

from __future__ import annotations

from tests.integration.support_house import House
from tests.integration.support_waiting import wait_until

WORKERS = 2
ENVIRONMENT = {"KITSWEEP_RATE_LIMITS": '["4/1s"]'}


def test_a_quiet_source_is_in_the_next_batch(house: House) -> None:
    """One file of a quiet service goes out with the next batch, while thousands of another's wait; calls stay full."""
    crowd, lone = house.files(5000), house.files(1)
    crowded = house.ask(crowd, source="crowd")
    house.simulator.wait_for(lambda stats: stats["calls"] >= 2)
    # A batch is claimed shortly before its call: those that were claimed already cannot hold the file.
    house.client.enqueue(lone, source="quiet")
    before = len(house.calls())
    wait_until(lambda: house.calls_with(lone), "the quiet source's file is called")
    calls = house.calls()
    position = next(number for number, call in enumerate(calls) if lone[0] in call.ids)
    assert position - before <= 2, [call.at for call in calls[before - 1 :]]
    assert {len(call.ids) for call in calls} == {100}
    report = house.client.status(crowded)
    assert report["waiting"] > 4000
    house.client.cancel(crowded)
    house.final(crowded)


def test_equal_shares(house: House) -> None:
    """Three services with work each get a third of every full batch."""
    by_source = {name: house.files(600) for name in ("one", "two", "three")}
    house.admin.pause("until all have asked")
    asked = [house.ask(ids, source=name) for name, ids in by_source.items()]
    for request_id in asked:
        house.wait_for_state(request_id, "QUEUED")
    before = len(house.calls())
    house.admin.resume()
    house.simulator.wait_for(lambda stats: stats["calls"] >= before + 6)
    for call in house.calls()[before : before + 6]:
        shares = sorted(len(set(ids) & set(call.ids)) for ids in by_source.values())
        assert (sum(shares), shares[2] - shares[0] <= 1) == (100, True), shares
    for request_id in asked:
        house.client.cancel(request_id)


def test_small_requests_share_calls(house: House) -> None:
    """Files of many small requests of several services share full calls."""
    house.admin.pause("until all have asked")
    ids = house.files(300)
    asked = [house.ask(ids[start : start + 10], source=f"s{start % 4}") for start in range(0, 300, 10)]
    for request_id in asked:
        house.wait_for_state(request_id, "QUEUED")
    house.admin.resume()
    assert {house.final(request_id).state for request_id in asked} == {"SUCCESS"}
    assert [len(call.ids) for call in house.calls_with(ids)] == [100, 100, 100]
