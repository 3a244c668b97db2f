"""The command line that enqueues, killed at any moment: its request is whole or not there, and on disk when asked."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chaos.honesty import await_final, check_honest, state_of
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import Rig, Server, needs_waitaof
from worker.queue.operations import CHUNK_IDS
from worker.states import State

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

GLANCE_SECONDS = 0.001
"""Between two looks at what is to be hit at a moment; a chunk takes some 35 ms."""
START_UP_SECONDS = 0.6
"""About what the command needs before its first chunk."""
IDS_A_SECOND = 130_000
"""About how fast it streams."""
PIPED = """
import subprocess, sys
file = subprocess.Popen(["cat", sys.argv[1]], stdout=subprocess.PIPE)
sys.exit(subprocess.run([sys.executable, *sys.argv[2:]], stdin=file.stdout).returncode)
"""


class Asked(NamedTuple):
    """A request that the command line is to bring in, and how often it is killed over that."""

    request_id: str
    ids: list[str]
    file: Path
    anytime: int
    """Kills at any time from the start of the process to about its end."""
    streaming: int
    """Kills spread over the stream: each comes when more ids are in than at the one before."""
    sealing: int
    """Kills around the last chunk, which seals the request, and the answer to it."""


def delete(rig: Rig, name: str, file: Path, request_id: str, *options: str, piped: bool = False) -> Proc:
    """Start `kitsweep delete` on a file, or at the end of a pipe from it."""
    arguments = ["-m", "cli", "delete", "-" if piped else str(file), "--request-id", request_id, *options]
    return rig.proc(name, ["-c", PIPED, str(file), *arguments] if piped else arguments)


def ended_well(command: Proc, seconds: float = 120) -> str:
    """Wait for the end of a command that must succeed, and return what it wrote."""
    command.wait(seconds)
    assert command.exit_status == 0, command.tail()
    return command.text()


def write_ids(file: Path, ids: Sequence[str]) -> Path:
    """Write ids to a file, one a line."""
    file.write_text("\n".join(ids) + "\n")
    return file


def called_with(rig: Rig, ids: Sequence[str]) -> set[str]:
    """Those of the ids with which any call was made."""
    wanted = set(ids)
    return {file_id for call in rig.sim.calls("bulk_delete") for file_id in call.ids if file_id in wanted}


def is_whole(rig: Rig, request_id: str, ids: Sequence[str]) -> bool:
    """Check that a request whose command is dead is whole or not sealed; returns which.

    Its last chunk may still be on the way: so the calls are read before the state.
    """
    called = called_with(rig, ids)
    if state_of(rig, request_id) in ("", State.OPEN):
        assert not called, "nothing of an unsealed request is deleted"
        return False
    assert rig.client.status(request_id)["total"] == len(ids)
    return True


def arrived(rig: Rig, request_id: str) -> int:
    """How many ids have come in of the unsealed stream that is furthest."""
    streams = rig.redis.scan_iter(rig.keys.request(request_id, "incoming") + ":*", 10_000)
    return max((int(rig.redis.llen(stream)) for stream in streams), default=0)


class Killer:
    """Kills the command line at moments that the dice choose."""

    def __init__(self, rig: Rig, dice: random.Random) -> None:
        self._rig = rig
        self._dice = dice
        self.kills = {"anytime": 0, "streaming": 0, "sealing": 0, "too late": 0}
        self.whole = 0
        """Kills after which the request was whole."""

    def attack(self, asked: Asked) -> None:
        """Start the command and kill it, again and again; what is whole once stays whole."""
        total = len(asked.ids)
        targets = sorted(self._dice.randrange(1, max(2, total - 2 * CHUNK_IDS)) for _ in range(asked.streaming))
        moments = ["anytime"] * asked.anytime + ["streaming"] * asked.streaming
        self._dice.shuffle(moments)
        whole = False
        for place, moment in enumerate(moments + ["sealing"] * asked.sealing):
            enough = targets.pop(0) if moment == "streaming" else total - CHUNK_IDS if moment == "sealing" else 0
            piped = self._dice.random() < 0.5
            command = delete(
                self._rig, f"{asked.request_id}-{place}", asked.file, asked.request_id, "--yes", piped=piped
            )
            self.strike(command, asked, moment, enough)
            was_whole, whole = whole, is_whole(self._rig, asked.request_id, asked.ids)
            assert whole or not was_whole, "what is whole once stays whole"
            self.whole += whole

    def strike(self, command: Proc, asked: Asked, moment: str, enough: int) -> None:
        """Kill a command when so many ids are in, or after a while."""
        while command.running and arrived(self._rig, asked.request_id) < enough:
            if moment == "sealing" and state_of(self._rig, asked.request_id) not in ("", State.OPEN):
                break
            time.sleep(GLANCE_SECONDS)
        linger = {"anytime": START_UP_SECONDS + len(asked.ids) / IDS_A_SECOND, "streaming": 0.03, "sealing": 0.15}
        until = time.monotonic() + self._dice.uniform(0, linger[moment])
        while command.running and time.monotonic() < until:
            time.sleep(GLANCE_SECONDS)
        self.kills[moment if command.running else "too late"] += 1
        command.kill()


def run_kills(folder: Path, plan: Sequence[tuple[int, int, int, int]], *, abandoned: int, ttl: int) -> None:
    """Attack requests of these sizes, run each to its end, leave one more behind, and check everything.

    The plan holds the number of ids of each request, and its kills at any time, while it streams and at its sealing.
    """
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    say(f"\nCHAOS_SEED={seed}")
    dice, start = random.Random(seed), time.monotonic()
    with Rig(folder, files=sum(size for size, *_ in plan), unsealed_ttl_seconds=ttl) as rig:
        rig.await_workers(rig.worker())
        killer, files, all_asked = Killer(rig, dice), rig.sim.remaining(), []
        for place, (size, *kills) in enumerate(plan):
            ids, files = files[:size], files[size:]
            asked = Asked(f"stream{place}", ids, write_ids(folder / f"{place}.txt", ids), *kills)
            all_asked.append(asked)
            killer.attack(asked)
            text = ended_well(delete(rig, f"{asked.request_id}-whole", asked.file, asked.request_id, "--yes"))
            assert text.splitlines()[-1] == asked.request_id
            assert is_whole(rig, asked.request_id, ids)
        expired = leave_one_behind(rig, killer, folder, abandoned, ttl)
        await_final(rig, [asked.request_id for asked in all_asked], 240)
        calls = rig.sim.stats()["calls"]
        for asked in all_asked:
            again = delete(rig, f"{asked.request_id}-again", asked.file, asked.request_id, "--yes")
            assert "was accepted before; nothing was changed" in ended_well(again)
        ended = check_honest(rig, {asked.request_id: asked.ids for asked in all_asked})
        assert (rig.sim.stats()["calls"], ended["deleted"]) == (calls, sum(size for size, *_ in plan))
        say(
            f"kills of the command line {killer.kills}, after {killer.whole} of them the request was whole; "
            f"{ended['deleted']} files of {len(plan)} requests deleted once; {abandoned} ids left behind unsealed were "
            f"gone after {expired:.1f} s (set: {ttl} s); {time.monotonic() - start:.1f} s in all"
        )


def leave_one_behind(rig: Rig, killer: Killer, folder: Path, size: int, ttl: int) -> float:
    """Kill a stream, and wait until nothing of it is in Redis; returns how many seconds that took."""
    ids = [f"{number:024x}" for number in range(size)]
    asked = Asked("abandoned", ids, write_ids(folder / "abandoned.txt", ids), 0, 1, 0)
    command = delete(rig, "abandoned", asked.file, asked.request_id, "--yes")
    killer.strike(command, asked, "streaming", size // 2)
    killed = time.monotonic()
    assert state_of(rig, "abandoned") == State.OPEN, command.tail()
    assert arrived(rig, "abandoned") >= size // 2
    everything = rig.keys.request("abandoned", "*") + "*"
    wait_until(lambda: not list(rig.redis.scan_iter(everything, 10_000)), ttl + 30, "it expires")
    assert state_of(rig, "abandoned") == ""
    assert not called_with(rig, ids)
    return time.monotonic() - killed


def test_the_command_killed_at_any_moment_leaves_a_complete_request_or_none(tmp_path: Path) -> None:
    """After each SIGKILL all ids are in or none is deleted; the same command then brings them in, exactly once."""
    run_kills(tmp_path, [(20_000, 1, 1, 1), (12_000, 0, 1, 2)], abandoned=40_000, ttl=4)


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
def test_the_command_killed_while_it_streams_a_million_ids(tmp_path: Path) -> None:
    """The same with a million ids in one request, killed over all of its stream, and with many kills at the sealing."""
    run_kills(tmp_path, [(1_000_000, 2, 5, 2), *[(15_000, 1, 1, 3)] * 6], abandoned=1_000_000, ttl=20)


def returned(command: Proc, seconds: float = 60) -> float:
    """Wait for a command's end, and return within a millisecond of it how many seconds that took."""
    start = time.monotonic()
    while command.running:
        assert time.monotonic() - start < seconds, command.tail()
        time.sleep(GLANCE_SECONDS)
    return time.monotonic() - start


def test_a_durable_command_has_returned_when_its_request_is_on_disk(tmp_path: Path) -> None:
    """Exit status 0 at `appendfsync everysec`, the server killed at that moment: it comes back with all of it."""
    server = Server(tmp_path, appendfsync="everysec")
    with Rig(tmp_path, files=12_021, server=server) as rig:
        needs_waitaof(server)
        files = rig.sim.remaining()
        asked: dict[str, list[str]] = {}
        seconds: dict[str, list[float]] = {"plain": [], "--durable": []}
        for size in (1, 12_000, 5, 5):
            request_id = f"durable{len(asked)}"
            asked[request_id], files = files[:size], files[size:]
            file = write_ids(tmp_path / f"{request_id}.txt", asked[request_id])
            command = delete(rig, request_id, file, request_id, "--durable")
            seconds["--durable"].append(returned(command))
            server.proc.kill()
            assert command.exit_status == 0, command.tail()
            server.start()
            report = rig.client.status(request_id)
            assert (report["state"], report["total"]) == (State.QUEUED, size)
            assert str(rig.celery.AsyncResult(request_id).state) == State.QUEUED
        for place in range(2):
            asked[f"plain{place}"], files = files[:5], files[5:]
            file = write_ids(tmp_path / f"plain{place}.txt", asked[f"plain{place}"])
            seconds["plain"].append(returned(delete(rig, f"plain{place}", file, f"plain{place}")))
        rig.worker()
        await_final(rig, asked, 60)
        check_honest(rig, asked)
        say(
            f"\nthe command `delete --durable` at appendfsync everysec: {min(seconds['--durable']):.2f} to "
            f"{max(seconds['--durable']):.2f} s, without --durable {statistics.median(seconds['plain']):.2f} s"
        )


def test_a_durable_command_is_refused_where_there_is_no_append_only_file(tmp_path: Path) -> None:
    """Exit status 2, one line that says how to mend it, and nothing in Redis."""
    with Rig(tmp_path, server=Server(tmp_path, appendonly="no")) as rig:
        file = write_ids(tmp_path / "ids.txt", [f"{number:024x}" for number in range(12_000)])
        command = delete(rig, "durable", file, "durable", "--durable", "--yes")
        command.wait(60)
        assert command.exit_status == 2
        (line,) = command.text().strip().splitlines()
        assert "`appendonly yes`" in line
        assert "Nothing was enqueued" in line
        assert list(rig.redis.scan_iter("*")) == []


def test_a_durable_command_waits_for_the_disk_and_not_for_the_answer(tmp_path: Path) -> None:
    """On a server that never syncs, the status is 2, and the message says whether the request was accepted."""
    with Rig(tmp_path, server=Server(tmp_path, appendfsync="no")) as rig:
        needs_waitaof(rig.server)
        file = write_ids(tmp_path / "ids.txt", [f"{1:024x}"])
        command = delete(rig, "durable", file, "durable", "--durable")
        command.wait(60)
        assert command.exit_status == 2
        (line,) = command.text().strip().splitlines()
        assert "The request was accepted, but is not known to be on disk. Its id is durable" in line
        assert state_of(rig, "durable") == State.QUEUED
