"""The simulator's ledger, its control from another process, and the program."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from simulator import Call, Control, ControlError, Simulator
from simulator.control.interface import ControlInterface

ROOT = Path(__file__).parents[2]
UNKNOWN = "0123456789abcdef01234567"


def delete(url: str, ids: list[str]) -> requests.Response:
    return requests.post(f"{url}/v1/files/batch/deleteByFileIds", json={"fileIds": ids}, auth=("k", ""), timeout=5)


@contextmanager
def program(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `python -m simulator` on a free port; gives the process and the URL that it printed."""
    command = [sys.executable, "-m", "simulator", "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


@pytest.fixture(params=["in_process", "remote"])
def controlled(request: pytest.FixtureRequest) -> Iterator[tuple[str, ControlInterface]]:
    """Return the URL of a simulator, and the two ways to control it."""
    with Simulator(files=10) as simulator:
        if request.param == "in_process":
            yield simulator.url, simulator
            return
        remote = Control(simulator.url)
        yield simulator.url, remote
        remote.close()


def test_the_ledger_has_every_call(controlled: tuple[str, ControlInterface]) -> None:
    """Each call is there with its ids, status and what it deleted, in order."""
    url, control = controlled
    ids = control.remaining()[:2]
    for sent in (ids, ids, [UNKNOWN]):
        delete(url, sent)
    requests.get(f"{url}/v1/files?limit=5", auth=("k", ""), timeout=5)
    calls = control.calls("bulk_delete")
    assert [(call.status, call.ids) for call in calls] == [
        (200, tuple(ids)),
        (404, tuple(ids)),
        (404, (UNKNOWN,)),
    ]
    assert [sorted(call.deleted) for call in calls] == [sorted(ids), [], []]
    assert calls[0].at <= calls[1].at <= calls[2].at
    assert isinstance(calls[0], Call)
    assert control.calls_with(ids[0]) == calls[:2]
    assert [call.detail for call in control.calls("list")] == ["limit=5"]


def test_the_counters_add_up(controlled: tuple[str, ControlInterface]) -> None:
    """Files, deletions, ids and statuses are counted; repeated and unknown ids separately."""
    url, control = controlled
    ids = control.remaining()
    delete(url, ids[:3])
    delete(url, [*ids[:2], UNKNOWN])
    control.take_away(ids[3:5])
    stats = control.stats()
    assert stats["statuses"] == {"bulk_delete": {"200": 1, "404": 1}}
    assert (stats["added"], stats["deleted"], stats["taken_away"], stats["files"]) == (10, 3, 2, 5)
    assert (stats["ids_sent"], stats["ids_sent_again"], stats["largest_call"]) == (6, 2, 3)
    assert sorted(control.deleted()) == sorted(ids[:3])
    assert control.violations() == []


def test_violations_are_named(controlled: tuple[str, ControlInterface]) -> None:
    """Calls with more than 100 ids or with an id twice are violations."""
    url, control = controlled
    delete(url, [f"{number:024x}" for number in range(101)])
    delete(url, [UNKNOWN, UNKNOWN])
    assert control.violations() == ["a call with 101 ids", "1 calls with an id twice"]


def test_a_file_that_is_added_again_may_be_deleted_again(controlled: tuple[str, ControlInterface]) -> None:
    """Only a second deletion of the same file is a violation."""
    url, control = controlled
    ids = control.remaining()[:1]
    delete(url, ids)
    assert control.add_files(ids) == ids
    assert delete(url, ids).status_code == 200
    assert (control.stats()["deleted"], control.violations()) == (2, [])


def test_everything_can_be_controlled_both_ways(controlled: tuple[str, ControlInterface]) -> None:
    """Files, limits, latency, headers, keys, faults and outages change at once."""
    url, control = controlled
    assert len(control.add_files(5)) == 5
    made = control.add_file("f" * 24, name="x.jpg", folder="/n/", tags=["t"], created_at="30d", size=3)
    assert (made["fileId"], made["filePath"], made["tags"]) == ("f" * 24, "/n/x.jpg", ["t"])
    control.fault("answer", status=418, body=b"\xfe", headers={"A": "b"})
    assert delete(url, ["x"]).content == b"\xfe"
    control.set_key(private_key="other")
    assert delete(url, ["x"]).status_code == 403
    control.set_key(private_key=None)
    control.outage("refuse")
    with pytest.raises(requests.ConnectionError):
        delete(url, ["x"])
    control.outage(None)
    control.set_limits("1/1h", (5, 1000), count_rejected=True)
    assert [delete(url, ["x"]).status_code for _ in range(2)] == [404, 429]
    assert control.busiest(1000) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda control: control.fault("fire"),
        lambda control: control.set_limits(endpoint="upload"),
        lambda control: control.set_key(state="lost"),
        lambda control: control.set_key(colour="red"),
        lambda control: control.set_headers("sometimes"),
        lambda control: control.set_behaviour(speed=3),
        lambda control: control.outage("flood"),
        lambda control: control.set_strays([UNKNOWN]),
        lambda control: control.add_file(created_at="soon"),
    ],
)
def test_bad_arguments_are_refused_both_ways(controlled: tuple[str, ControlInterface], wrong: object) -> None:
    """Both raise the same ValueError."""
    assert callable(wrong)
    with pytest.raises(ValueError, match=r"is none of|unknown fault|no file|isoformat"):
        wrong(controlled[1])


def test_waiting_times_out_with_the_counters() -> None:
    """The TimeoutError shows the counters."""
    with Simulator() as simulator, pytest.raises(TimeoutError, match="'calls': 0"):
        simulator.wait_for(lambda stats: stats["calls"] > 0, timeout=0.02)


def test_the_ledger_is_bounded_and_may_be_kept_without_ids() -> None:
    """The last calls are kept; the counters count all."""
    with Simulator(files=9, keep_calls=2, keep_ids=False) as simulator:
        for file_id in simulator.remaining():
            delete(simulator.url, [file_id])
        calls = simulator.calls()
        assert [(call.ids, call.deleted, call.id_count, call.deleted_count) for call in calls] == [
            ((), (), 1, 1),
            ((), (), 1, 1),
        ]
        assert simulator.stats()["calls"] == 9


def test_the_busiest_interval_is_found() -> None:
    """Any interval of the length counts, not only whole seconds."""
    with Simulator() as simulator:
        for _ in range(5):
            delete(simulator.url, ["x"])
        assert simulator.busiest(60_000) == 5
        assert simulator.busiest(0.0001) == 1


def test_an_observer_may_control_the_simulator() -> None:
    """It runs after the effect of each call and before the next one."""
    seen: list[Call] = []
    with Simulator(files=2) as simulator:

        def vanish(call: Call) -> None:
            seen.append(call)
            simulator.take_away(simulator.remaining())

        simulator.on_call(vanish)
        ids = simulator.remaining()
        assert [delete(simulator.url, [file_id]).status_code for file_id in ids] == [200, 404]
    assert [call.endpoint for call in seen] == ["bulk_delete", "bulk_delete"]


def test_a_library_can_be_prepared_before_the_start() -> None:
    """Operations work before the start."""
    simulator = Simulator()
    simulator.add_file("f" * 24)
    with simulator:
        assert delete(simulator.url, ["f" * 24]).status_code == 200


def test_control_needs_no_key_and_speaks_json() -> None:
    """Any HTTP client works; an unknown operation is a 404, bad arguments are a 400."""
    with Simulator(files=3, private_key="secret") as simulator:
        base = f"{simulator.url}/_simulator"
        assert requests.get(base, timeout=5).json()["control_url"] == simulator.control_url
        assert requests.get(f"{base}/stats", timeout=5).json()["result"]["files"] == 3
        assert requests.post(f"{base}/nothing", timeout=5).status_code == 404
        assert requests.post(f"{base}/do", timeout=5).status_code == 404
        for body in ("{", "[1]", '{"x": 1}'):
            assert requests.post(f"{base}/stats", data=body, timeout=5).status_code == 400
        assert "secret" not in requests.get(f"{base}/stats", timeout=5).text
        assert simulator.calls() == []


def test_control_reports_an_unknown_operation() -> None:
    """A client that is newer than the simulator gets a clear error."""
    with Simulator() as simulator:
        control = Control(simulator.url)
        with pytest.raises(ControlError, match="dance"):
            control._do("dance")
        control.close()


def test_a_taken_port_is_an_error() -> None:
    """Two simulators cannot share one."""
    with Simulator() as simulator, pytest.raises(OSError, match="in use"):
        Simulator(port=int(simulator.url.rpartition(":")[2])).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_until_it_is_stopped(number: signal.Signals) -> None:
    """It prints one line with its URL; SIGTERM and SIGINT end it with status 0, even with calls in flight."""
    with program("--files", "7", "--seed", "3", "--latency-ms", "1") as (process, url):
        control = Control(url)
        assert control.stats()["files"] == 7
        control.fault("hang")
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{url}/v1/files", auth=("k", ""), timeout=0.2)
        control.close()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


def test_the_program_takes_ids_limits_and_faults(tmp_path: Path) -> None:
    """Its options reach the simulator."""
    ids_file = tmp_path / "ids.txt"
    ids_file.write_text("# comment\none\n\n two \n", encoding="utf-8")
    options = ["--ids-file", str(ids_file), "--limit", "2/1h", "--limit", "9/1s", "--private-key", "k"]
    with program(*options, "--faults", "error_before*1@delete,slow=0", "--headers", "always") as (_, url):
        answers = [delete(url, ["one", "two"]) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [500, 200, 429]
        assert [answer.headers["X-RateLimit-Limit"] for answer in answers] == ["2", "2", "2"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulator", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_help() -> None:
    """`--help` names every option and every kind of fault."""
    shown = run("--help").stdout
    for word in ("--port", "--files", "--seed", "--limit", "--latency-ms", "--ids-file", "cut_after"):
        assert word in shown


@pytest.mark.parametrize(
    "options",
    [("--limit", "fast"), ("--faults", "fire=1"), ("--faults", "slow"), ("--files", "1", "--ids-file", "x")],
)
def test_wrong_options_are_reported(options: tuple[str, ...]) -> None:
    """Exit status 2 and the reason."""
    done = run(*options)
    assert done.returncode == 2
    assert "error" in done.stderr


def test_a_taken_port_and_a_missing_file_are_reported() -> None:
    """Exit status 1 and one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--port", str(taken.getsockname()[1]))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert run("--ids-file", "/nowhere/ids").returncode == 1
