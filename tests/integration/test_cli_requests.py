"""The command line in pipes, with a worker and the simulator: requests from their ids to their reports."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.integration.support_cli import Ran, kitsweep
from tests.integration.support_house import House

ENVIRONMENT = {"KITSWEEP_MAX_ATTEMPTS": "2"}


def run(house: House, *arguments: str, given: str = "") -> Ran:
    return kitsweep(house.environment, *arguments, given=given)


def lines(*ids: str) -> str:
    return "".join(f"{each}\n" for each in ids)


def test_delete_prints_the_request_id_alone(house: House) -> None:
    """In a pipe, standard output has the id and nothing else; status 0 says that the request was accepted."""
    ids = house.files(3)
    ran = run(house, "delete", "-", "--source", "catalog", "--reason", "old [season]", given=lines(*ids, ids[0]))
    assert ran.status == 0
    request_id = ran.out.removesuffix("\n")
    assert "\n" not in request_id
    assert ran.err == "Accepted 3 file ids (1 given twice) as request\n"
    report = house.client.wait(request_id, 20)
    assert (report["deleted"], report["source"], report["reason"]) == (3, "catalog", "old [season]")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ids.txt", "# old ones\n{0}\n\n{1}\n"),
        ("ids.csv", 'name,fileId\n"a, b",{0}\nc,{1}\n'),
        ("ids.json", '["{0}", {{"fileId": "{1}", "type": "file"}}]'),
        ("ids.jsonl", '{{"file_id": "{0}"}}\n{{"fileId": "{1}"}}\n'),
    ],
)
def test_delete_and_wait(house: House, tmp_path: Path, name: str, text: str) -> None:
    """`--wait` ends with status 0 when all files are gone; the format of the file is detected."""
    ids = house.files(2)
    path = tmp_path / name
    path.write_text(text.format(*ids))
    ran = run(house, "delete", str(path), "--wait")
    assert (ran.status, house.simulator.existing(ids)) == (0, [])
    assert "SUCCESS: 2 files: deleted 2.\n" in ran.err
    assert len(ran.out.splitlines()) == 1


def test_the_form_can_be_named(house: House) -> None:
    """A named format is used even if the input looks like CSV."""
    ids = house.files(1)
    ran = run(house, "delete", "-", "--form", "lines", "--wait", given=lines("fileId", *ids))
    assert (ran.status, "deleted 1, not found 1" in ran.err) == (0, True)


def test_delete_wait_and_json(house: House) -> None:
    """With `--wait --json`, standard output is the final report and nothing else."""
    ids = house.files(2)
    missing = house.no_files(1)
    ran = run(house, "delete", "-", "--wait", "--json", given=lines(*ids, *missing))
    report = json.loads(ran.out)
    assert (ran.status, report["state"], report["deleted"], report["not_found"]) == (0, "SUCCESS", 2, 1)
    assert report["missing_file_ids"] == missing


def test_what_could_not_be_deleted_is_reported_and_replayed(house: House) -> None:
    """A refused file means status 1 in every command; `delete` reads what `report --outcome failed` writes."""
    good, bad = house.files(4), house.files(1)
    house.simulator.refuse_ids(bad, "the file is [bold]locked[/bold]")
    ran = run(house, "delete", "-", "--wait", given=lines(*good, *bad))
    request_id = ran.out.strip()
    assert (ran.status, house.simulator.existing([*good, *bad])) == (1, bad)
    assert f"  {bad[0]}: the file is [bold]locked[/bold]\n" in ran.err

    told = run(house, "status", request_id)
    assert (told.status, "FAILURE, some files could not be deleted" in told.out) == (1, True)
    assert run(house, "watch", request_id).status == 1

    failed = run(house, "report", request_id, "--outcome", "failed")
    entry = json.loads(failed.out)
    assert (failed.status, entry["file_id"], entry["outcome"], entry["attempts"]) == (0, bad[0], "failed", 1)
    house.simulator.refuse_ids([])
    again = run(house, "delete", "-", "--wait", given=failed.out)
    assert (again.status, house.simulator.existing(bad)) == (0, [])


def test_report_writes_every_file(house: House, tmp_path: Path) -> None:
    """One line per file with outcome, attempts and time, as JSONL or CSV; a file is complete or absent."""
    ids, missing = house.files(150), house.no_files(2)
    request_id = run(house, "delete", "-", "--wait", given=lines(*ids, *missing)).out.strip()
    jsonl = run(house, "report", request_id)
    entries = [json.loads(line) for line in jsonl.out.splitlines()]
    assert {entry["file_id"]: entry["outcome"] for entry in entries} == {
        **dict.fromkeys(ids, "deleted"),
        **dict.fromkeys(missing, "not_found"),
    }
    assert all(entry["attempts"] >= 1 and entry["at"].endswith("+00:00") for entry in entries)

    path = tmp_path / "report.csv"
    ran = run(house, "report", request_id, "--output", str(path), "--outcome", "not_found", "--outcome", "failed")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["file_id"] for row in rows) == sorted(missing)
    assert (ran.status, ran.out, [each.name for each in tmp_path.iterdir()]) == (0, "", ["report.csv"])


def test_report_of_an_unfinished_request(house: House) -> None:
    """A report that lacks files says so, with status 1."""
    request_id = run(house, "delete", "-", "--hold", "1h", given=lines(*house.files(2))).out.strip()
    ran = run(house, "report", request_id)
    assert (ran.status, ran.out) == (1, "")
    assert "2 files of 2 had no outcome" in ran.err
    house.client.cancel(request_id)


def test_hold_and_cancel(house: House) -> None:
    """A request on hold deletes nothing and can be cancelled; a second cancel changes nothing."""
    ids = house.files(2)
    ran = run(house, "delete", "-", "--hold", "24h", "--result-ttl", "1.5h", "--json", given=lines(*ids))
    request_id = json.loads(ran.out)["request_id"]
    waiting = run(house, "status", request_id)
    assert (waiting.status, "QUEUED" in waiting.out) == (0, True)
    cancelled = run(house, "cancel", request_id)
    assert (cancelled.status, cancelled.err) == (0, "Cancelled: 2 file ids will not be deleted.\n")
    again = run(house, "cancel", request_id, "--json")
    assert (again.status, json.loads(again.out)["state"]) == (0, "REVOKED")
    assert run(house, "status", request_id).status == 1
    assert house.simulator.existing(ids) == ids


def test_cancel_comes_too_late(house: House) -> None:
    """Cancelling a request that is done ends with status 1."""
    request_id = run(house, "delete", "-", "--wait", given=lines(*house.files(1))).out.strip()
    ran = run(house, "cancel", request_id)
    assert (ran.status, "was already done" in ran.err) == (1, True)


def test_the_same_request_id_twice(house: House) -> None:
    """An id that was accepted before changes nothing, and the command says so."""
    first, second = house.files(1), house.files(1)
    assert run(house, "delete", "-", "--request-id", "job:7", "--wait", given=lines(*first)).status == 0
    ran = run(house, "delete", "-", "--request-id", "job:7", given=lines(*second))
    assert (ran.status, ran.out) == (0, "job:7\n")
    assert "was accepted before; nothing was changed" in ran.err
    assert house.simulator.existing(second) == second


def test_pause_and_resume(house: House) -> None:
    """While paused, `stats` shows the reason; after `resume` the files are deleted."""
    ids = house.files(2)
    assert run(house, "pause", "--reason", "wrong [red]list").status == 0
    figures = json.loads(run(house, "stats", "--json").out)
    assert (figures["pause"]["by"], figures["pause"]["reason"]) == ("operator", "wrong [red]list")
    request_id = run(house, "delete", "-", given=lines(*ids)).out.strip()
    shown = run(house, "stats").out
    assert "until `kitsweep resume`: wrong [red]list" in shown
    assert "default        2          0              0        0" in shown
    resumed = run(house, "resume", "--json")
    assert (resumed.status, json.loads(resumed.out)) == (0, {"pause": None})
    watched = run(house, "watch", request_id, "--json")
    assert (watched.status, json.loads(watched.out)["deleted"]) == (0, 2)


def test_check_passes(house: House) -> None:
    """With everything in place `check` ends with 0, deletes nothing, and shows no secret."""
    before = len(house.calls())
    ran = run(house, "check")
    assert ran.status == 0, ran.out
    assert "accepts the private key" in ran.out
    assert house.environment["IMAGEKIT_PRIVATE_KEY"] not in ran.out + ran.err
    assert len(house.calls()) == before


def test_check_finds_a_wrong_key(house: House) -> None:
    """A refused key fails the check, and is shown nowhere."""
    environment = {**house.environment, "IMAGEKIT_PRIVATE_KEY": "private_wrong_one"}
    ran = kitsweep(environment, "check", "--json")
    found = {each["name"]: each for each in json.loads(ran.out)["findings"]}
    assert (ran.status, found["imagekit"]["result"], found["redis"]["result"]) == (1, "failed", "ok")
    assert "refuses the private key" in found["imagekit"]["detail"]
    assert "private_wrong_one" not in ran.out + ran.err


def test_check_without_a_key_says_whether_the_api_answers(house: House) -> None:
    """Without a key, `check` makes one call that has no credentials."""
    ran = kitsweep({**house.environment, "IMAGEKIT_PRIVATE_KEY": ""}, "check", "--json")
    found = {each["name"]: each for each in json.loads(ran.out)["findings"]}
    assert found["imagekit"]["result"] == "warning"
    assert "answers, but no private key is set" in found["imagekit"]["detail"]
