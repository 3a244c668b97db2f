"""Commands that start something: the simulator by the command line."""

from __future__ import annotations

import subprocess

import requests

from tests.integration.support_cli import command, environment_of, kitsweep

NOWHERE = environment_of("redis://127.0.0.1:1/0")


def test_the_simulator_runs_until_it_is_stopped() -> None:
    """It takes the simulator's options, prints its address, answers, and ends with status 0."""
    options = ["--port", "0", "--files", "3", "--private-key", "k"]
    with subprocess.Popen(command("simulator", *options), env=NOWHERE, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        url = simulator.stdout.readline().split()[-1]
        assert len(requests.get(f"{url}/v1/files", auth=("k", ""), timeout=10).json()) == 3
        simulator.terminate()
        assert simulator.wait(10) == 0


def test_wrong_options_of_the_simulator() -> None:
    """Errors of the simulator keep their exit status."""
    ran = kitsweep(NOWHERE, "simulator", "--port", "many")
    assert (ran.status, "--port" in ran.err) == (2, True)


def test_help_of_all_commands() -> None:
    """The help names every command of the contract, and needs neither settings nor Redis."""
    ran = kitsweep(NOWHERE | {"KITSWEEP_NO_SUCH": "1"}, "--help")
    assert ran.status == 0
    names = ["up", "delete", "status", "watch", "report", "cancel", "stats", "pause", "resume", "check", "simulator"]
    assert all(f"│ {name} " in ran.out for name in names)


def test_help_has_examples() -> None:
    """A command's help has examples, line by line."""
    ran = kitsweep(NOWHERE, "delete", "--help")
    assert (ran.status, "   kitsweep delete ids.txt  " in ran.out) == (0, True)
