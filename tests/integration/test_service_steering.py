"""Pause and resume act on all workers within a second, and outlive them; any pool serves."""

from __future__ import annotations

import time

import pytest
from celery import Celery

from tests.integration.support_house import House

WORKERS = 2
ENVIRONMENT = {"KITSWEEP_RATE_LIMITS": '["20/1s"]'}
WITHIN_SECONDS = 1.0


def called_after(house: House, moment: float) -> list[float]:
    """When calls arrived after a moment, seconds since then."""
    return [call.at - moment for call in house.calls() if call.at > moment]


def pause_in_the_middle(house: House, reason: str) -> tuple[str, float]:
    """Ask for more than is soon done, and pause while calls go out; return the request id and the moment."""
    request_id = house.ask(house.files(3000))
    before = len(house.calls())
    house.simulator.wait_for(lambda stats: stats["calls"] >= before + 4)
    house.admin.pause(reason)
    return request_id, time.time()


def test_pause_and_resume_act_within_a_second(house: House) -> None:
    """A second after `pause` no worker calls, and a second after `resume` they call again."""
    request_id, paused = pause_in_the_middle(house, "maintenance until noon")
    house.wait_for_beats(paused + 1.3 * WITHIN_SECONDS)
    assert all(after <= WITHIN_SECONDS for after in called_after(house, paused))
    stats = house.client.stats()
    assert stats["pause"] is not None
    assert (stats["pause"]["by"], stats["pause"]["reason"]) == ("operator", "maintenance until noon")
    assert stats["waiting"] > 0
    resumed = time.time()
    before = len(house.calls())
    house.admin.resume()
    house.simulator.wait_for(lambda stats: stats["calls"] > before)
    assert called_after(house, resumed)[0] <= WITHIN_SECONDS
    assert house.final(request_id).report["deleted"] == 3000
    assert house.client.stats()["pause"] is None


def test_a_pause_survives_the_workers(house: House) -> None:
    """Workers that start during a pause do not call; requests are accepted all the same. `resume` lets them go."""
    request_id, _ = pause_in_the_middle(house, "for the night")
    house.stop_workers()
    stopped = time.time()
    for name in ("w2", "w3"):
        house.start_worker(name)
    house.wait_for_workers()
    later = house.ask(house.files(5), source="later")
    house.wait_for_state(later, "QUEUED")
    house.wait_for_beats(time.time() + WITHIN_SECONDS)
    assert called_after(house, stopped) == []
    pause = house.client.stats()["pause"]
    assert pause is not None
    assert (pause["by"], pause["reason"]) == ("operator", "for the night")
    house.admin.resume()
    assert [house.final(each).state for each in (request_id, later)] == ["SUCCESS", "SUCCESS"]


def test_nothing_is_lost_when_all_workers_stop(house: House) -> None:
    """Workers that stop finish their calls and leave the rest; later workers continue."""
    ids = house.files(2500)
    request_id = house.ask(ids)
    before = len(house.calls())
    house.simulator.wait_for(lambda stats: stats["calls"] >= before + 4)
    assert set(house.stop_workers().values()) == {0}
    report = house.client.status(request_id)
    assert report["in_flight"] == 0
    assert report["deleted"] == 2500 - len(house.simulator.existing(ids)) < 2500
    house.start_worker("w4")
    house.wait_for_workers()
    seen = house.final(request_id)
    assert (seen.report["deleted"], seen.report["presumed_deleted"]) == (2500, 0)


@pytest.mark.parametrize("pool", ["prefork", "solo", "gevent"])
def test_every_pool(house: House, pool: str) -> None:
    """Batches run beside the pool, and the pool runs unusual messages, such as one with an expiry."""
    house.stop_workers()
    house.start_worker(pool, "-P", pool, "-c", "2")
    house.wait_for_workers()
    ids = house.files(350)
    report = house.deleted([*ids, *house.no_files(1)])
    assert (report["deleted"], report["not_found"]) == (350, 1)
    unusual = house.files(3)
    assert house.final(house.ask(unusual, {"expires": 3600})).state == "SUCCESS"
    assert house.simulator.existing([*ids, *unusual]) == []


def test_wakeups_of_an_earlier_version_are_ignored(house: House) -> None:
    """Its queues of batches and cleanup slices held nothing else; their messages stay where they are."""
    queues = ["kitsweep.batches", "kitsweep.cleanup"]
    earlier = Celery(broker=house.redis_url, set_as_current=False)
    earlier.send_task("kitsweep.delete_batch", queue=queues[0], ignore_result=True)
    earlier.send_task("kitsweep.cleanup_run", ["drafts:hand:1"], queue=queues[1], ignore_result=True)
    assert house.deleted(house.files(150))["deleted"] == 150
    assert [house.redis.llen(queue) for queue in queues] == [1, 1]
    house.redis.delete(*queues)
