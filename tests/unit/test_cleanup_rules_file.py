"""The rules file: every problem is reported at once, with its line and a hint, and stops all rules."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cleanup.rules.file import RulesError, RulesFile, parse_rules
from worker.cleanup.rules.rule import RuleTable
from worker.cleanup.rules.schedule import Cron, Every

ROOT = Path(__file__).parents[2]
SOUND = '[rules.a]\npath = "/a/"\nevery = "6h"\n'


def problems(text: str) -> list[str]:
    """The problems of a file, one line each."""
    with pytest.raises(RulesError) as caught:
        parse_rules(text.encode(), "f")
    return str(caught.value).splitlines()


def test_the_example_file_is_valid() -> None:
    """Rules copied from the example work unchanged."""
    rules = parse_rules((ROOT / "cleanup.example.toml").read_bytes()).by_name
    drafts = rules["old-drafts"]
    assert set(rules) == {"old-drafts", "expired", "incoming"}
    assert drafts.schedule == Cron("0 3 * * *", "Europe/Berlin")
    assert (drafts.hold_seconds, drafts.older_than, drafts.first_run) == (86_400, 30 * 86_400, "hold")
    assert drafts.keep.tags == ("keep",)
    assert drafts.keep.paths == ("/drafts/final/",)
    assert rules["expired"].guards.max_share == 0.1
    assert rules["incoming"].enabled is False


def test_defaults_are_careful() -> None:
    """By default a rule is enabled and guarded, its first run is held, and missed runs are made up for once."""
    rule = parse_rules(SOUND.encode()).by_name["a"]
    assert rule.schedule == Every(21_600)
    assert (rule.guards.max_files, rule.guards.max_share, rule.guards.usual_factor) == (1000, 0.5, 5.0)
    assert (rule.first_run, rule.missed, rule.hold_seconds) == ("hold", "once", 0)
    assert (rule.enabled, rule.dry_run) == (True, False)


def test_a_rule_changes_only_the_guards_that_it_sets() -> None:
    """The others keep their defaults."""
    guards = parse_rules(f"{SOUND}guards.max_files = 7\n".encode()).by_name["a"].guards
    assert (guards.max_files, guards.max_share, guards.usual_factor) == (7, 0.5, 5.0)


@pytest.mark.parametrize(
    ("added", "line", "text"),
    [
        ("tagz = ['x']\n", 4, "did you mean tags?"),
        ("olderthan = '3d'\n", 4, "did you mean older_than?"),
        ("older_than = '1y'\n", 4, "older_than must be a number with a unit"),
        ("older_than = 30\n", 4, "older_than must be"),
        ("tags = 'x'\n", 4, "tags must be a list"),
        ("tags = []\n", 4, "tags must not be empty"),
        ("tags = [' x']\n", 4, "tags must be one line"),
        ("file_type = 'video'\n", 4, "must be 'image' or 'non-image'"),
        ("recursive = 'yes'\n", 4, "true or false"),
        ("enabled = 1\n", 4, "true or false"),
        ("first_run = 'now'\n", 4, "must be 'hold' or 'release'"),
        ("missed = 'twice'\n", 4, "must be 'once' or 'skip'"),
        ("hold = '1 day'\n", 4, "hold must be"),
        ("query = 'a) OR (b'\n", 4, "closes a parenthesis"),
        ("query = 'name = \"x'\n", 4, "never closed"),
        ("query = ['x']\n", 4, "query must be text"),
        ("schedule = '0 3 * * *'\n", 3, "either schedule"),
        ("timezone = 'UTC'\n", 4, "timezone goes with schedule"),
        ("guards.max_files = 1.5\n", 4, "whole number"),
        ("guards.max_share = 2\n", 4, "max_share must be at most 1"),
        ("guards.usual_factor = -1\n", 4, "usual_factor must be at least 0"),
        ("guards.usual_factor = 0.5\n", 4, "must be 0 (no limit) or at least 1"),
        ("guards.usual_factor = true\n", 4, "must be a number"),
        ("guards.usual_factor = nan\n", 4, "must be a number"),
        ("recursive = 3\ntagz = 1\n", 4, "rules.a.recursive must be true or false"),
        ("\n[rules.a.guards]\nmax_file = 3\n", 6, "did you mean max_files?"),
        ("keep.paths = ['x']\n", 4, "paths must start with /, not 'x'"),
        ("keep = 3\n", 4, "must be a table"),
        ("\n[rules.b]\nevery = '1h'\n", 5, "whole library"),
        ("\n[rules.b]\nevery = '1h'\nolder_than = '0d'\n", 5, "whole library"),
        ("\n[rules.b]\nevery = '1h'\npath = '/'\nrecursive = true\n", 8, "whole library"),
        ("\n[rules.b]\nevery = '1h'\ntags = ['x']\nrecursive = true\n", 8, "recursive goes with path"),
        ("\n[rules.b]\ntags = ['x']\n", 5, "either schedule"),
        ("\n[rules.b]\nevery = '59s'\npath = '/b'\n", 6, "at least 60"),
        ("\n[rules.b]\nevery = '1h'\npath = 'b'\n", 7, "path must be one folder"),
        ("\n[rules.b]\nevery = '1h'\npath = '/b/*'\n", 7, "without wildcards"),
        ("\n[rules.b]\nschedule = '0 3 * *'\npath = '/b'\n", 6, "five fields"),
        ("\n[rules.b]\nschedule = '0 3 * * *'\ntimezone = 'Mars'\npath = '/b'\n", 7, "must be a time zone"),
        ("\n[rules.b]\nschedule = 3\npath = '/b'\n", 6, "schedule must be text"),
        ("\n[rules.'a b']\nevery = '1h'\npath = '/b'\n", 5, "not a rule name"),
        ("\n[rulez.b]\nevery = '1h'\n", 5, "did you mean rules?"),
        ("\n[keep]\npath = ['/a']\n", 6, "did you mean paths?"),
        ("older_than = \n", 4, "not TOML"),
        ("path = '/b'\n", 4, "not TOML"),
    ],
)
def test_a_problem_is_reported_with_its_line(added: str, line: int, text: str) -> None:
    """The message names the line and says what to write instead."""
    found = problems(SOUND + added)
    assert any(each.startswith(f"f:{line}: ") and text in each for each in found), found


@pytest.mark.parametrize("cron", ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 30 2 *", "x * * * *", "@daily"])
def test_a_cron_expression_that_is_invalid_or_never_due_is_refused(cron: str) -> None:
    """It must have five fields and be due at some time."""
    (problem,) = problems(f'[rules.a]\npath = "/a"\nschedule = "{cron}"\n')
    assert problem.startswith("f:3: rules.a.schedule ")
    assert ("one line of" if cron == "" else "cron expression") in problem


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "Europe"])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    """Only names of the time zone database are valid."""
    (problem,) = problems(f'[rules.a]\npath = "/a"\nschedule = "0 3 * * *"\ntimezone = "{zone}"\n')
    assert problem.startswith("f:4: rules.a.timezone must be ")


def test_every_may_be_a_minute() -> None:
    """The shortest interval is valid."""
    assert parse_rules(SOUND.replace("6h", "60s").encode()).by_name["a"].schedule == Every(60)


def test_all_problems_are_reported_at_once() -> None:
    """One check shows them all, in the order of the file."""
    found = problems('[rules.a]\npath = "a"\nevery = "x"\n[rules.b]\ntags = 3\n')
    assert [each.split(":")[1] for each in found] == ["2", "3", "4", "5"]


@given(st.binary(max_size=200))
def test_any_bytes_give_rules_or_problems(content: bytes) -> None:
    """The reader raises nothing but `RulesError`."""
    with contextlib.suppress(RulesError):
        parse_rules(content)


_VALUES = st.sampled_from(
    ["'x'", "3", "true", "['x']", "[]", "{}", "1.5", "'30d'", "'/a/'", "nan", "1979-05-27", "[[1]]"]
)
_NAMES = st.sampled_from(
    [*RuleTable.model_fields, "hold", "schedule", "keep.tags", "guards.max_share", "guards.usual_factor", "unknown"]
)


@given(st.dictionaries(_NAMES, _VALUES, max_size=6))
def test_any_values_give_a_rule_or_problems(values: dict[str, str]) -> None:
    """A value of any type under any name raises nothing but `RulesError`."""
    text = "[rules.a]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
    with contextlib.suppress(RulesError):
        parse_rules(text.encode())


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """Changes need no restart; an invalid file is an error, and a missing one has no rules."""
    file = RulesFile(tmp_path / "cleanup.toml")
    assert file.rules().by_name == {}
    file.path.write_text(SOUND)
    assert set(file.rules().by_name) == {"a"}
    file.path.write_text(SOUND.replace("[rules.a]", "[rules.b]"))
    assert set(file.rules().by_name) == {"b"}
    file.path.write_text(SOUND + "x = 1\n")
    with pytest.raises(RulesError):
        file.rules()
    file.path.write_text(SOUND)
    assert set(file.rules().by_name) == {"a"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (SOUND.encode() + b"# \xff", ":4: must be text in UTF-8"),
        (b"#" * 1_000_001, ":1: is longer than 1000000 bytes"),
        (b"x = " + b"[" * 100_000, ":1: is nested too deeply"),
    ],
    ids=["encoding", "size", "depth"],
)
def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path, content: bytes, problem: str) -> None:
    """The message names the file, the line and the reason."""
    file = RulesFile(tmp_path / "cleanup.toml")
    file.path.write_bytes(content)
    with pytest.raises(RulesError) as caught:
        file.rules()
    assert str(caught.value) == f"{file.path}{problem}"


def test_the_fingerprint_covers_conditions_and_keep() -> None:
    """It does not change with guards, schedule and hold."""

    def fingerprint(added: str, every: str = "6h") -> str:
        return parse_rules(SOUND.replace("6h", every).encode() + added.encode()).by_name["a"].fingerprint

    same = fingerprint("")
    assert same == fingerprint("hold = '1h'\nguards.max_files = 3\nenabled = false\n", every="1h")
    assert same != fingerprint("recursive = true\n")
    assert same != fingerprint("keep.tags = ['k']\n")


@pytest.mark.parametrize("page", ["docs/cleanup.md", "README.md"])
def test_every_rule_in_the_docs_is_valid(page: str) -> None:
    """Rules copied from a page work unchanged."""
    found = re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    rules = [text for text in found if "[rules." in text]
    assert rules
    for text in rules:
        assert parse_rules(text.encode()).by_name
