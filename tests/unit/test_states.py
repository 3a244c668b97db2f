"""States, outcomes and keys are written once: Python and Lua cannot drift apart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.reports.report import Report
from worker.states import FINAL_STATES, Doubt, Outcome, State
from worker.store.keys import BASES, NAMES, Keys
from worker.store.scripts import OPERATIONS, ROOMS, source_of

FILES = sorted(ROOMS.rglob("*.lua"))
QUOTED = re.compile(r"'([^'\n]*)'|\"([^\"\n]*)\"")


def code_of(text: str) -> str:
    """Return Lua text without its comments."""
    return re.sub(r"--.*", "", text)


def literals(text: str) -> set[str]:
    """Return all quoted texts but the names of events in the audit trail."""
    code = re.sub(r"write_audit\('\w+'", "write_audit(", code_of(text))
    return {first or second for first, second in QUOTED.findall(code)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3::2]))
def test_lua_spells_no_state_and_no_outcome(path: Path) -> None:
    """Each name comes from the tables that Python passes, not from a literal in Lua."""
    found = literals(path.read_text("utf-8"))
    assert not found & {state.value for state in State}
    if "cleanup" not in path.parts:  # runs of cleanup rules have other outcomes
        assert not found & {outcome.value for outcome in Outcome}


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3::2]))
def test_lua_uses_only_names_that_python_knows(path: Path) -> None:
    """A misspelt entry of a table would be nil, and no error."""
    code = code_of(path.read_text("utf-8"))
    assert set(re.findall(r"\bSTATE\.(\w+)", code)) <= {state.name for state in State}
    assert set(re.findall(r"\bOUTCOME\.(\w+)", code)) <= {outcome.name for outcome in Outcome}
    assert set(re.findall(r"\bDOUBT\.(\w+)", code)) <= {doubt.name for doubt in Doubt}
    assert set(re.findall(r"\bKEY\.(\w+)", code)) <= set(NAMES)
    assert set(re.findall(r"\bKEY\['([^']+)'\]", code)) <= {*NAMES, *BASES}


HEADER = re.compile(
    r"(-- uses: [\w, /]+\n)?-- [A-Z].+\n(-- .+\n)*--\n"
    r"-- KEYS  1 prefix.*\n(--  .+\n)*-- ARGV  1 \{.+\n(--  .+\n)*-- Returns .+"
)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_has_a_header(name: str) -> None:
    """The header says its purpose, KEYS, ARGV and what it returns, always in this form."""
    assert HEADER.match(OPERATIONS[name].read_text("utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3::2]))
def test_lua_lines_are_short(path: Path) -> None:
    """Lines have at most 120 characters, as in Python."""
    assert [line for line in path.read_text("utf-8").splitlines() if len(line) > 120] == []


SHARED = {
    name for path in FILES for name in re.findall(r"^local function (\w+)", path.read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_includes_each_function_that_it_calls_once(name: str) -> None:
    """A shared function that is left out would be nil: an error, and only on the path that calls it."""
    code = code_of(source_of(name))
    called = {each for each in SHARED if re.search(rf"(?<![\w.]){each}\(", code)}
    assert {each: code.count(f"local function {each}(") for each in called} == dict.fromkeys(called, 1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_read_no_keys_by_pattern(name: str) -> None:
    """`KEYS` and `SCAN` in a script would look at the whole server."""
    assert not {"KEYS", "SCAN", "FLUSHDB", "FLUSHALL"} & literals(source_of(name))


def test_all_keys_of_an_account_share_one_hash_tag() -> None:
    """So that one shard of a cluster holds them, and accounts do not meet."""
    keys = Keys("shop")
    some = [keys("sources"), keys.request("r"), keys.lease("t"), keys.line("s"), keys.limits("e"), keys.calls("e")]
    assert all(key.startswith("{kitsweep:shop}:") for key in some)
    assert len(set(some)) == len(some)
    with pytest.raises(KeyError):
        keys("no such key")


def test_the_contract_of_names_holds() -> None:
    """Other services are written against these words; only some reports have the last five."""
    assert {state.value for state in State} == {"OPEN", "QUEUED", "PROGRESS", "SUCCESS", "FAILURE", "REVOKED"}
    assert {state for state in State if state.is_final} == FINAL_STATES == {"SUCCESS", "FAILURE", "REVOKED"}
    names = [outcome.value for outcome in Outcome]
    assert names == ["deleted", "not_found", "presumed_deleted", "failed", "cancelled"]
    assert list(Report.__annotations__) == [
        *("request_id", "source", "reason", "state", "total", "waiting", "in_flight", *names),
        *("successfully_deleted_file_ids", "missing_file_ids", "presumed_deleted_file_ids", "errors"),
        *("truncated", "enqueued_at", "finished_at", "retry_of"),
        *("purged", "purge_pending", "purge_failed", "purge_skipped"),
    ]
