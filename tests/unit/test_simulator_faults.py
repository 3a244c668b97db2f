"""The simulator's faults and outages: what the caller sees, and whether the files are gone."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from simulator import Fault, Simulator
from simulator.api.fault_responses import FOREIGN_ID
from simulator.faults import KINDS, SHAPES

SOON = 0.3  # timeout in seconds for responses that never arrive


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(files=20) as running:
        yield running


def delete(simulator: Simulator, ids: list[str], timeout: float = 5) -> requests.Response:
    url = f"{simulator.url}/v1/files/batch/deleteByFileIds"
    return requests.post(url, json={"fileIds": ids}, auth=("k", ""), timeout=timeout, allow_redirects=False)


def list_files(simulator: Simulator) -> requests.Response:
    return requests.get(f"{simulator.url}/v1/files", auth=("k", ""), timeout=5)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("kind", "left"), [("error_before", 2), ("error_after", 0)])
def test_a_server_error_does_not_reveal_its_effect(simulator: Simulator, kind: str, left: int, status: int) -> None:
    """The 5xx before and after the effect are the same."""
    ids = simulator.remaining()[:2]
    simulator.fault(kind, status=status)
    answer = delete(simulator, ids)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("application/json" if status == 500 else "text/html")
    assert len(simulator.existing(ids)) == left


@pytest.mark.parametrize(("kind", "left"), [("cut_before", 2), ("cut_after", 0), ("cut_middle", 0)])
def test_a_connection_can_be_cut(simulator: Simulator, kind: str, left: int) -> None:
    """The caller gets a connection error; the ledger has the call without a status."""
    ids = simulator.remaining()[:2]
    simulator.fault(kind)
    with pytest.raises(requests.RequestException):
        delete(simulator, ids)
    assert len(simulator.existing(ids)) == left
    assert [(call.status, call.fault) for call in simulator.calls()] == [(None, kind)]
    assert delete(simulator, simulator.remaining()[:1]).status_code == 200


@pytest.mark.parametrize(("effect", "left"), [(None, 0), (True, 0), (False, 2)])
def test_a_call_can_hang(simulator: Simulator, *, effect: bool | None, left: int) -> None:
    """Nothing is sent back; the effect can be chosen."""
    ids = simulator.remaining()[:2]
    simulator.fault("hang", effect=effect)
    with pytest.raises(requests.ReadTimeout):
        delete(simulator, ids, timeout=SOON)
    simulator.wait_for(lambda stats: stats["calls"] == 1)
    assert len(simulator.existing(ids)) == left
    simulator.wait_for(lambda stats: stats["in_flight"] == 0)


def test_a_response_can_be_endless(simulator: Simulator) -> None:
    """It starts as a valid one, and continues with a byte every `delay_ms`."""
    simulator.fault("endless", delay_ms=1)
    url = f"{simulator.url}/v1/files/batch/deleteByFileIds"
    ids = simulator.remaining()[:1]
    with requests.post(url, json={"fileIds": ids}, auth=("k", ""), timeout=5, stream=True) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_content(1)
        assert b"".join(next(chunks) for _ in range(100)).startswith(b'{"successfullyDeletedFileIds"')
    simulator.wait_for(lambda stats: stats["in_flight"] == 0)
    assert simulator.existing(ids) == []


def test_a_slow_answer_comes_after_the_effect(simulator: Simulator) -> None:
    """A caller that times out has deleted the files nevertheless."""
    ids = simulator.remaining()[:2]
    simulator.fault("slow", delay_ms=60_000)
    with pytest.raises(requests.ReadTimeout):
        delete(simulator, ids, timeout=SOON)
    simulator.wait_for(lambda stats: stats["calls"] == 1)
    assert simulator.existing(ids) == []


def test_a_slow_start_delays_the_effect(simulator: Simulator) -> None:
    """The effect happens later, even if the caller disconnects."""
    ids = simulator.remaining()[:2]
    simulator.fault("slow_before", delay_ms=1500)
    with pytest.raises(requests.ReadTimeout):
        delete(simulator, ids, timeout=0.1)
    assert simulator.existing(ids) == ids
    simulator.wait_for(lambda stats: stats["deleted"] == 2)


def test_latency_delays_every_call(simulator: Simulator) -> None:
    """No response arrives before latency minus jitter."""
    simulator.set_latency(50, jitter_ms=20)
    started = time.monotonic()
    assert list_files(simulator).status_code == 200
    assert time.monotonic() - started >= 0.03


def test_calls_wait_in_parallel(simulator: Simulator) -> None:
    """Latency delays a call, not the server."""
    simulator.set_latency(500)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: list_files(simulator), range(5)))
    assert simulator.stats()["max_in_flight"] == 5


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_garbage_comes_in_every_shape(simulator: Simulator, shape: str) -> None:
    """The body is not what the API documents, but the files are deleted."""
    ids = simulator.remaining()[:1]
    simulator.fault("garbage", shape=shape)
    answer = delete(simulator, ids)
    assert (answer.status_code, answer.content) == (200, SHAPES[shape])
    assert simulator.existing(ids) == []


def test_an_answer_can_be_empty(simulator: Simulator) -> None:
    """200 without a byte, after the effect."""
    ids = simulator.remaining()[:1]
    simulator.fault("empty")
    answer = delete(simulator, ids)
    assert (answer.status_code, answer.content, simulator.existing(ids)) == (200, b"", [])


@pytest.mark.parametrize("status", [None, 307])
def test_a_call_can_be_redirected(simulator: Simulator, status: int | None) -> None:
    """It points to another endpoint, and nothing is deleted."""
    ids = simulator.remaining()[:1]
    simulator.fault("redirect", status=status)
    answer = delete(simulator, ids)
    assert answer.status_code == (status or 302)
    assert answer.headers["Location"] == "/v1/files"
    assert simulator.existing(ids) == ids


def test_a_call_can_be_throttled_for_any_time(simulator: Simulator) -> None:
    """429 with the given reset, without a limit."""
    ids = simulator.remaining()[:1]
    simulator.fault("throttled", reset_ms=900_000)
    answer = delete(simulator, ids)
    assert (answer.status_code, answer.headers["X-RateLimit-Reset"]) == (429, "900000")
    assert simulator.existing(ids) == ids


def test_a_share_of_the_ids_can_fail(simulator: Simulator) -> None:
    """207: each id is either deleted or under errors."""
    ids = simulator.remaining()[:10]
    simulator.fault("partial", share=0.4)
    answer = delete(simulator, ids)
    deleted = answer.json()["successfullyDeletedFileIds"]
    failed = [entry["fileId"] for entry in answer.json()["errors"]]
    assert (answer.status_code, len(failed)) == (207, 4)
    assert sorted(deleted + failed) == sorted(ids)
    assert sorted(simulator.existing(ids)) == sorted(failed)


def test_named_ids_can_be_omitted(simulator: Simulator) -> None:
    """200 that neither lists nor deletes them."""
    ids = simulator.remaining()[:3]
    simulator.fault("omit", ids=ids[:1])
    answer = delete(simulator, ids)
    assert answer.status_code == 200
    assert sorted(answer.json()["successfullyDeletedFileIds"]) == sorted(ids[1:])
    assert simulator.existing(ids) == ids[:1]


def test_an_answer_can_name_foreign_ids(simulator: Simulator) -> None:
    """200 and 404 alike list an id that was never sent."""
    simulator.fault("foreign", times=2)
    ids = simulator.remaining()[:1]
    assert delete(simulator, ids).json()["successfullyDeletedFileIds"] == [*ids, FOREIGN_ID]
    assert delete(simulator, ids).json()["missingFileIds"] == [*ids, FOREIGN_ID]


def test_any_response_can_be_set(simulator: Simulator) -> None:
    """Status, body and headers are sent as given, with or without an effect."""
    ids = simulator.remaining()[:1]
    simulator.fault("answer", status=418, body=b"\xff\x00{", headers={"X-Odd": "1", "Content-Type": "x/y"})
    answer = delete(simulator, ids)
    assert (answer.status_code, answer.content, answer.headers["X-Odd"]) == (418, b"\xff\x00{", "1")
    assert answer.headers["Content-Type"] == "x/y"
    assert simulator.existing(ids) == ids
    simulator.fault("answer", status=404, body="{}", effect=True)
    assert (delete(simulator, ids).status_code, simulator.existing(ids)) == (404, [])


def test_faults_hit_calls_in_order(simulator: Simulator) -> None:
    """The next calls get the faults in the order in which they were added."""
    simulator.fault("error_before", status=502, times=2)
    simulator.fault("throttled")
    ids = simulator.remaining()[:1]
    assert [delete(simulator, ids).status_code for _ in range(5)] == [502, 502, 429, 200, 404]
    assert simulator.stats()["faults"] == {"error_before": 2, "throttled": 1}


def test_a_fault_can_be_limited_to_an_endpoint_class(simulator: Simulator) -> None:
    """Calls of other classes are unaffected and do not use it up."""
    simulator.fault("error_before", endpoint="list")
    assert delete(simulator, simulator.remaining()[:1]).status_code == 200
    assert [list_files(simulator).status_code for _ in range(2)] == [500, 200]


def test_faults_hit_list_calls_too(simulator: Simulator) -> None:
    """A page can be cut off."""
    simulator.fault("cut_middle", endpoint="list")
    with pytest.raises(requests.RequestException):
        list_files(simulator)


def test_random_faults_follow_the_seed() -> None:
    """The same seed gives the same faults; clearing removes them."""
    rows = []
    for _ in range(2):
        with Simulator(seed=3, faults=[Fault("error_before", probability=0.5)]) as simulator:
            rows.append([list_files(simulator).status_code for _ in range(20)])
            simulator.clear_faults()
            assert list_files(simulator).status_code == 200
    assert rows[0] == rows[1]
    assert set(rows[0]) == {200, 500}


@pytest.mark.parametrize(
    "details",
    [
        {"kind": "fire"},
        {"kind": "slow", "endpoint": "upload"},
        {"kind": "garbage", "shape": "round"},
        {"kind": "slow", "probability": 1.5},
        {"kind": "slow", "times": 0},
        {"kind": "error_before", "status": 99},
    ],
)
def test_an_invalid_fault_is_refused(simulator: Simulator, details: dict[str, str]) -> None:
    """The error is raised when the fault is added."""
    with pytest.raises(ValueError, match=r"^(unknown|probability|times|status)"):
        simulator.fault(**details)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_server_survives_every_kind(simulator: Simulator, kind: str) -> None:
    """After any fault on any call the next one is served."""
    simulator.fault(kind, delay_ms=1, times=2)
    ids = simulator.remaining()[:1]
    for method, path in (("POST", "/v1/files/batch/deleteByFileIds"), ("GET", "/v1/files")):
        with contextlib.suppress(requests.RequestException):
            begin(method, simulator.url + path, ids)
    assert simulator.stats()["faults"] == {kind: 2}
    assert list_files(simulator).status_code == 200
    assert simulator.violations() == []


def begin(method: str, url: str, ids: list[str]) -> None:
    """Call, read the first bytes of the response, and disconnect."""
    body = {"fileIds": ids} if method == "POST" else None
    options: dict[str, Any] = {"timeout": SOON, "stream": True, "allow_redirects": False}
    with requests.request(method, url, json=body, auth=("k", ""), **options) as answer:
        answer.raw.read(10)


def test_an_outage_answers_503_to_all(simulator: Simulator) -> None:
    """Every call gets it, even with a wrong key, until the outage ends."""
    ids = simulator.remaining()[:1]
    simulator.outage()
    assert [delete(simulator, ids).status_code, list_files(simulator).status_code] == [503, 503]
    assert simulator.stats()["statuses"] == {"bulk_delete": {"503": 1}, "list": {"503": 1}}
    simulator.outage(None)
    assert delete(simulator, ids).status_code == 200


def test_an_outage_can_reset_connections(simulator: Simulator) -> None:
    """Calls are counted and not carried out."""
    simulator.outage("cut")
    with pytest.raises(requests.ConnectionError):
        list_files(simulator)
    assert simulator.stats()["statuses"] == {"list": {"None": 1}}


def test_an_outage_can_hang(simulator: Simulator) -> None:
    """Connections are accepted, but nothing is sent back."""
    simulator.outage("hang")
    with pytest.raises(requests.ReadTimeout):
        delete(simulator, simulator.remaining()[:1], timeout=SOON)
    assert len(simulator.remaining()) == 20


def test_an_outage_can_refuse_connections(simulator: Simulator) -> None:
    """The port is closed, open connections are reset, and the same port opens again."""
    url = simulator.url
    with requests.Session() as session:
        session.auth = ("k", "")
        session.get(f"{url}/v1/files", timeout=5)
        simulator.outage("refuse")
        with pytest.raises(requests.ConnectionError):
            session.get(f"{url}/v1/files", timeout=5)
        with pytest.raises(requests.ConnectionError, match="refused"):
            session.get(f"{url}/v1/files", timeout=5)
        simulator.outage(None)
        assert session.get(f"{url}/v1/files", timeout=5).status_code == 200
    assert simulator.url == url


@pytest.mark.parametrize("mode", ["unavailable", "refuse"])
def test_an_outage_can_end_by_itself(simulator: Simulator, mode: str) -> None:
    """It ends after `seconds`."""
    simulator.outage(mode, seconds=0.05)
    simulator.wait_for(lambda stats: stats["outage"] is None)
    assert list_files(simulator).status_code == 200


def test_a_new_outage_is_not_ended_by_the_timer_of_the_last(simulator: Simulator) -> None:
    """A new outage cancels the timer of the last."""
    simulator.outage("unavailable", seconds=0.05)
    simulator.outage("cut")
    simulator.set_latency(100)
    with pytest.raises(requests.ConnectionError):
        list_files(simulator)
    assert simulator.stats()["outage"] == "cut"


def test_stopping_resets_calls_in_flight() -> None:
    """A simulator with a hanging call stops at once, and can be started again on its port."""
    simulator = Simulator(files=1).start()
    url = simulator.url
    simulator.fault("hang")
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(delete, simulator, simulator.remaining(), 30)
        simulator.wait_for(lambda stats: stats["calls"] == 1)
        simulator.stop()
        assert isinstance(hanging.exception(10), requests.ConnectionError)
    with simulator:
        assert simulator.url == url
        assert list_files(simulator).json() == []
    simulator.stop()
