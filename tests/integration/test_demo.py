"""`make run` as a program."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simulator import Simulator
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.real_server,
    pytest.mark.slow,
    pytest.mark.usefixtures("redis_binary"),
]
PROJECT = Path(__file__).resolve().parents[2]
KEY = "private_real"


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a run, whose temporary folder is in `folder`."""
    told = {"KITSWEEP_REDIS_URL": "", "IMAGE_KIT_BASE_URL": "", "TMPDIR": str(folder), **settings}
    return {**os.environ, "PYTHONPATH": str(PROJECT), **told}


def make_run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local.demo", *arguments],
        cwd=folder,
        env=environment(folder, **settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def processes_in(folder: Path) -> list[str]:
    """List command lines that name the folder."""
    listed = subprocess.run(["ps", "-eww", "-o", "command"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]


def rows(output: str) -> dict[str, tuple[str, str]]:
    """Read the table of both tallies."""
    found = re.findall(r"^([a-z ]+?|answered 429) +([\d,.]+) +([\d,.]+)   agree$", output, re.MULTILINE)
    return {name: (ours, theirs) for name, ours, theirs in found}


def test_both_tallies_agree_and_nothing_is_left(tmp_path: Path) -> None:
    """The command line and ImageKit's SDK delete, report and ledger agree, a failed file is retried, all is stopped."""
    done = make_run(tmp_path, "--files", "800")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Genuine: request make-run-purge, 3 files" in done.stdout + done.stderr
    found = rows(done.stdout)
    assert found["deleted"] == ("802", "802")
    assert found["not found"] == ("2", "2")
    assert found["failed"] == ("1", "1")
    assert found["answered 429"][0] == found["answered 429"][1]
    assert set(found) >= {"calls made", "ids per call"}
    assert "deletes 100 more files" in done.stdout
    assert "of 702" in done.stderr
    assert "Both agree, file by file." in done.stdout
    assert "Accepted 1 file as 1 request." in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_a_file_without_a_key_is_rehearsed(tmp_path: Path) -> None:
    """Without a key, a file of ids is tried out on the simulator."""
    (tmp_path / "ids.txt").write_text("# mine\none\ntwo\none\n")
    done = make_run(tmp_path, "ids.txt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing real is deleted." in done.stdout
    assert rows(done.stdout)["deleted"] == ("2", "2")


def test_a_key_alone_deletes_nothing_real(tmp_path: Path) -> None:
    """With a key and no file, it says so, uses the simulator, and never calls the real address."""
    with Simulator(5, private_key=KEY) as real:
        done = make_run(tmp_path, "--files", "100", IMAGEKIT_PRIVATE_KEY=KEY, IMAGE_KIT_BASE_URL=real.url)
        assert real.stats()["calls"] == 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing real is deleted" in done.stdout
    assert KEY not in done.stdout + done.stderr


def test_real_files_are_deleted_only_after_confirmation(tmp_path: Path) -> None:
    """With a key and a file, it needs an answer at a terminal, or `--yes`."""
    with Simulator(5, private_key=KEY) as real:
        (tmp_path / "ids.txt").write_text("\n".join(real.remaining()))
        told = {"IMAGEKIT_PRIVATE_KEY": KEY, "IMAGE_KIT_BASE_URL": real.url}
        refused = make_run(tmp_path, "ids.txt", **told)
        assert refused.returncode == 2
        assert "YES=1" in refused.stdout
        assert real.stats()["calls"] == 0
        done = make_run(tmp_path, "ids.txt", "--yes", **told)
        assert done.returncode == 0, done.stdout + done.stderr
        assert real.remaining() == []


def test_a_bad_file_is_wrong_use(tmp_path: Path) -> None:
    """The error names the file and line, before anything is started."""
    (tmp_path / "ids.txt").write_text("good\nnot good\n")
    for name, words in (("ids.txt", "line 2"), ("none.txt", "No such file")):
        done = make_run(tmp_path, name)
        assert done.returncode == 2
        assert words in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]


def test_a_signal_stops_everything(tmp_path: Path) -> None:
    """On SIGTERM it cancels what waits, shows the report, and leaves nothing running."""
    output = tmp_path / "output"
    command = [sys.executable, "-m", "local.demo", "--files", "20000"]
    with (
        output.open("wb") as stream,
        subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stdout=stream, stderr=stream) as run,
    ):
        wait_until(lambda: re.search(r"of 19,\d{3}.*deleted [1-9]", output.read_text()), 90)
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 1
    assert "stopped by a signal" in output.read_text()
    assert re.search(r"cancelled +[\d,]+", output.read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
    assert processes_in(tmp_path) == []
