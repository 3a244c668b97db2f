"""The rules file: every mistake is told with its line and a hint, all at once, and stops all rules."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cleanup.rules.file import RulesError, RulesFile, parse_rules
from worker.cleanup.rules.schedule import Cron, Every

ROOT = Path(__file__).parents[2]
SOUND = '[rules.a]\npath = "/a/"\nevery = "6h"\n'


def problems(text: str) -> list[str]:
    """What is wrong with a file, one line each."""
    with pytest.raises(RulesError) as caught:
        parse_rules(text.encode(), "f")
    return str(caught.value).splitlines()


def test_the_example_is_sound() -> None:
    """What a newcomer copies can be used as it is."""
    rules = parse_rules((ROOT / "cleanup.example.toml").read_bytes()).by_name
    drafts = rules["old-drafts"]
    assert set(rules) == {"old-drafts", "expired", "incoming"}
    assert drafts.schedule == Cron("0 3 * * *", "Europe/Berlin")
    assert (drafts.hold_seconds, drafts.what.older_than, drafts.hold_first) == (86_400, 30 * 86_400, True)
    assert drafts.keep.tags == ("keep",)
    assert drafts.keep.paths == ("/drafts/final/",)
    assert rules["expired"].guards.max_share == 0.1
    assert rules["incoming"].enabled is False


def test_what_is_left_out_is_careful() -> None:
    """Without a word about it: guarded, the first run held, enabled, made up for once, and no undo window."""
    rule = parse_rules(SOUND.encode()).by_name["a"]
    assert rule.schedule == Every(21_600)
    assert (rule.guards.max_files, rule.guards.max_share, rule.guards.usual_factor) == (1000, 0.5, 5.0)
    assert (rule.hold_first, rule.enabled, rule.dry_run, rule.catch_up, rule.hold_seconds) == (
        True,
        True,
        False,
        True,
        0,
    )


@pytest.mark.parametrize(
    ("added", "line", "told"),
    [
        ("tagz = ['x']\n", 4, "did you mean tags?"),
        ("olderthan = '3d'\n", 4, "did you mean older_than?"),
        ("older_than = '1y'\n", 4, "older_than must be a number with a unit"),
        ("older_than = 30\n", 4, "older_than must be"),
        ("tags = 'x'\n", 4, "tags must be a list"),
        ("tags = []\n", 4, "tags must be a list"),
        ("tags = [' x']\n", 4, "tags must be a list"),
        ("file_type = 'video'\n", 4, "image or non-image"),
        ("recursive = 'yes'\n", 4, "true or false"),
        ("enabled = 1\n", 4, "true or false"),
        ("first_run = 'now'\n", 4, "hold or release"),
        ("missed = 'twice'\n", 4, "once or skip"),
        ("hold = '1 day'\n", 4, "hold must be"),
        ("query = 'a) OR (b'\n", 4, "closes a parenthesis"),
        ("query = 'name = \"x'\n", 4, "never closed"),
        ("query = ['x']\n", 4, "in one line"),
        ("schedule = '0 3 * * *'\n", 1, "either schedule"),
        ("timezone = 'UTC'\n", 4, "timezone goes with schedule"),
        ("guards.max_files = 1.5\n", 4, "whole number"),
        ("guards.max_share = 2\n", 4, "from 0 (no bound) to 1"),
        ("guards.usual_factor = -1\n", 4, "from 0 (no bound)"),
        ("\n[rules.a.guards]\nmax_file = 3\n", 6, "did you mean max_files?"),
        ("keep.paths = ['x']\n", 4, "a path starts with /"),
        ("keep = 3\n", 4, "must be a table"),
        ("\n[rules.b]\nevery = '1h'\n", 5, "whole library"),
        ("\n[rules.b]\nevery = '1h'\npath = '/'\nrecursive = true\n", 7, "whole library"),
        ("\n[rules.b]\nevery = '30s'\npath = '/b'\n", 6, "at least 60"),
        ("\n[rules.b]\nevery = '1h'\npath = 'b'\n", 7, "path must be one folder"),
        ("\n[rules.b]\nevery = '1h'\npath = '/b/*'\n", 7, "no wildcards"),
        ("\n[rules.b]\nschedule = '0 3 * *'\npath = '/b'\n", 6, "five fields"),
        ("\n[rules.b]\nschedule = '0 3 * * *'\ntimezone = 'Mars'\npath = '/b'\n", 7, "unknown time zone"),
        ("\n[rules.b]\nschedule = 3\npath = '/b'\n", 6, "must be a text"),
        ("\n[rules.'a b']\nevery = '1h'\npath = '/b'\n", 5, "a rule's name"),
        ("\n[rulez.b]\nevery = '1h'\n", 5, "did you mean rules?"),
        ("\n[keep]\npath = ['/a']\n", 6, "did you mean paths?"),
        ("older_than = \n", 4, "not TOML"),
        ("path = '/b'\n", 4, "not TOML"),
    ],
)
def test_a_mistake_is_told_with_its_line(added: str, line: int, told: str) -> None:
    """The line in which it stands, and what to write instead."""
    found = problems(SOUND + added)
    assert any(each.startswith(f"f:{line}: ") and told in each for each in found), found


def test_all_mistakes_are_told_at_once() -> None:
    """One look shows them all, in the order of the file."""
    found = problems('[rules.a]\npath = "a"\nevery = "x"\n[rules.b]\ntags = 3\n')
    assert [each.split(":")[1] for each in found] == ["2", "3", "4", "5"]


@given(st.binary(max_size=200))
def test_no_file_breaks_the_reader(content: bytes) -> None:
    """Any bytes are rules, or a list of problems."""
    with contextlib.suppress(RulesError):
        parse_rules(content)


_VALUES = st.sampled_from(
    ["'x'", "3", "true", "['x']", "[]", "{}", "1.5", "'30d'", "'/a/'", "nan", "1979-05-27", "[[1]]"]
)
_NAMES = st.sampled_from(
    [
        "path",
        "query",
        "tags",
        "older_than",
        "recursive",
        "file_type",
        "keep",
        "guards",
        "hold",
        "every",
        "schedule",
        "timezone",
        "enabled",
        "dry_run",
        "first_run",
        "missed",
        "keep.tags",
        "guards.max_share",
        "unknown",
    ]
)


@given(st.dictionaries(_NAMES, _VALUES, max_size=6))
def test_no_value_breaks_the_reader(values: dict[str, str]) -> None:
    """A value of any type under any name is a rule, or a problem."""
    text = "[rules.a]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
    with contextlib.suppress(RulesError):
        parse_rules(text.encode())


def test_a_changed_file_counts_at_once(tmp_path: Path) -> None:
    """Rules can be changed without a restart; a file that is broken gives none, and one that is gone no rules."""
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


def test_the_words_of_a_rule_have_a_fingerprint() -> None:
    """What is meant or kept changes it; guards, schedule and hold do not."""

    def words(added: str, every: str = "6h") -> str:
        return parse_rules(SOUND.replace("6h", every).encode() + added.encode()).by_name["a"].words

    same = words("")
    assert same == words("hold = '1h'\nguards.max_files = 3\nenabled = false\n", every="1h")
    assert same != words("recursive = true\n")
    assert same != words("keep.tags = ['k']\n")


@pytest.mark.parametrize("page", ["docs/cleanup.md", "README.md"])
def test_every_rule_in_the_documents_is_sound(page: str) -> None:
    """What people copy from a page can be used as it stands."""
    found = re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    rules = [text for text in found if "[rules." in text]
    assert rules
    for text in rules:
        assert parse_rules(text.encode()).by_name
