"""What the command line refuses, and how: one line on standard error, and the exit status that the contract names."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.support_cli import Ran, command, environment_of, kitsweep


@pytest.fixture
def environment(new_redis_url: Callable[[], str]) -> dict[str, str]:
    return environment_of(new_redis_url())


def refused(ran: Ran, status: int = 2) -> str:
    """Check that a run was refused in one line and wrote no data; return the line."""
    assert (ran.status, ran.out) == (status, ""), ran
    assert ran.err.startswith("kitsweep: ")
    assert ran.err.count("\n") == 1
    return ran.err.strip()


def test_bad_input(environment: dict[str, str]) -> None:
    """Bad input ends with status 2 and names the line; unit tests have all the cases."""
    told = refused(kitsweep(environment, "delete", "-", given="good\nwith space\n"))
    assert "standard input, line 2: " in told


def test_bad_input_after_many_ids(environment: dict[str, str], tmp_path: Path) -> None:
    """A mistake after ids that were already sent still enqueues nothing."""
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"id{number}\n" for number in range(12_000)) + "not good\n")
    assert f"{path}, line 12001: " in refused(kitsweep(environment, "delete", str(path)))
    with Redis.from_url(environment["KITSWEEP_REDIS_URL"]) as redis:
        assert redis.keys("*request*") == []


def test_no_command(environment: dict[str, str]) -> None:
    """Without a command, the help is shown, with status 2."""
    ran = kitsweep(environment)
    assert (ran.status, "kitsweep up" in ran.out) == (2, True)


@pytest.mark.parametrize("name", ["status", "watch", "report", "cancel"])
def test_unknown_request(environment: dict[str, str], name: str) -> None:
    """An unknown id ends with status 1, and nothing on standard output."""
    assert "request nobody-knows-it: unknown or expired" in refused(kitsweep(environment, name, "nobody-knows-it"), 1)


@pytest.mark.parametrize("arguments", [["delete", "-"], ["status", "x"]])
def test_redis_unreachable(arguments: list[str]) -> None:
    """Without Redis, one line names its address, and never the password."""
    environment = environment_of("redis://someone:secret-word@127.0.0.1:1/3")
    line = refused(kitsweep(environment, *arguments, given="good\n"))
    assert "Redis at 127.0.0.1:1/3 cannot be reached" in line
    assert "secret-word" not in line
    assert "someone" not in line


def test_bad_settings(environment: dict[str, str]) -> None:
    """Bad settings end every command with 2, and a line for each problem."""
    environment |= {"KITSWEEP_BATCH_SIZ": "5", "KITSWEEP_RATE_SHARE": "7"}
    ran = kitsweep(environment, "stats")
    assert (ran.status, ran.out) == (2, "")
    assert "KITSWEEP_BATCH_SIZ: unknown setting; did you mean KITSWEEP_BATCH_SIZE?" in ran.err
    assert all(line.startswith("kitsweep: KITSWEEP_") for line in ran.err.splitlines())
    assert len(ran.err.splitlines()) == 2


def test_check_of_bad_settings(environment: dict[str, str]) -> None:
    """For `check`, bad settings are a finding: status 1."""
    ran = kitsweep(environment | {"KITSWEEP_BATCH_SIZE": "101"}, "check")
    assert ran.status == 1
    assert "failed   settings  KITSWEEP_BATCH_SIZE='101'" in ran.out


@pytest.mark.parametrize("key", ["private_x", ""])
def test_check_without_redis_and_api(key: str) -> None:
    """`check` continues after a failure, and names everything that cannot be reached, even without a private key."""
    ran = kitsweep(environment_of("redis://u:secret-word@127.0.0.1:1/0", IMAGEKIT_PRIVATE_KEY=key), "check")
    assert ran.status == 1
    assert "failed   redis     Redis at 127.0.0.1:1/0 cannot be reached" in ran.out
    assert "failed   imagekit  http://127.0.0.1:9 cannot be reached" in ran.out
    assert "user and password hidden" in ran.out
    assert "secret-word" not in ran.out + ran.err


@pytest.fixture
def policy(environment: dict[str, str]) -> Iterator[Callable[[str], object]]:
    """Sets the server's eviction policy, and restores it."""
    with Redis.from_url(environment["KITSWEEP_REDIS_URL"]) as redis:
        yield lambda name: redis.config_set("maxmemory-policy", name)
        redis.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("name", ["allkeys-lru", "volatile-ttl"])
def test_check_refuses_eviction(environment: dict[str, str], policy: Callable[[str], object], name: str) -> None:
    """A server that may drop our keys fails the check, and the finding says how to fix it."""
    policy(name)
    ran = kitsweep(environment, "check", "--json")
    found = {each["name"]: each for each in json.loads(ran.out)["findings"]}
    assert (ran.status, found["eviction"]["result"]) == (1, "failed")
    assert f"maxmemory-policy is {name}" in found["eviction"]["detail"]
    assert "CONFIG SET maxmemory-policy noeviction" in found["eviction"]["detail"]


def test_check_where_the_server_does_not_tell(environment: dict[str, str]) -> None:
    """If INFO and CONFIG are forbidden, unknown facts are warnings and no failures."""
    with Redis.from_url(environment["KITSWEEP_REDIS_URL"]) as redis:
        user = f"mute{redis.connection_pool.connection_kwargs['db']}"
        forbidden = ["-info", "-config"]
        redis.acl_setuser(user, enabled=True, passwords=["+pass"], keys=["*"], commands=["+@all", *forbidden])
        url = environment["KITSWEEP_REDIS_URL"].replace("redis://", f"redis://{user}:pass@")
        try:
            ran = kitsweep(environment | {"KITSWEEP_REDIS_URL": url}, "check", "--json")
        finally:
            redis.acl_deluser(user)
    found = {each["name"]: each["result"] for each in json.loads(ran.out)["findings"]}
    assert (found["redis"], found["eviction"], found["durability"]) == ("ok", "warning", "remark")


def test_a_reader_that_closes_the_pipe(environment: dict[str, str]) -> None:
    """`kitsweep report … | head -1` ends without a traceback."""
    given = "".join(f"id{number}\n" for number in range(20_000))
    request_id = kitsweep(environment, "delete", "-", given=given).out.strip()
    assert kitsweep(environment, "cancel", request_id).status == 0
    with subprocess.Popen(
        command("report", request_id), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as report:
        assert report.stdout is not None
        assert report.stderr is not None
        assert json.loads(report.stdout.readline())["outcome"] == "cancelled"
        report.stdout.close()
        assert report.stderr.read() == ""
    assert report.returncode == 1
