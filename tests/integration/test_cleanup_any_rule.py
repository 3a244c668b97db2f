"""Random rules against a search index that may be wrong: only files that match the rule are deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from simulator import Simulator
from simulator.library.records import FOLDERS
from tests.unit.support_cleanup import KEY, RELEASED, Bench, is_kept, matching

pytestmark = pytest.mark.real_server


_TAGS = ["expired", "sale", "keep", "Keep", "größe", 'quo"te', "back\\slash"]
_PATHS = [*FOLDERS, "/Drafts/", "/products"]


@st.composite
def _rules(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    what: dict[str, Any] = {}
    if draw(st.booleans()):
        what["path"] = draw(st.sampled_from(FOLDERS))
        what["recursive"] = draw(st.booleans())
    if draw(st.booleans()) or not what:
        what["older_than_days"] = draw(st.integers(1, 200))
    if draw(st.booleans()):
        what["tags"] = draw(st.lists(st.sampled_from(_TAGS), min_size=1, max_size=3, unique=True))
    if draw(st.booleans()):
        what["file_type"] = draw(st.sampled_from(["image", "non-image"]))
    keep = {
        "tags": draw(st.lists(st.sampled_from(_TAGS), max_size=2, unique=True)),
        "paths": draw(st.lists(st.sampled_from(_PATHS), max_size=2, unique=True)),
    }
    if what.get("path") == "/" and what.get("recursive"):
        what.setdefault("older_than_days", 1)
    return what, keep


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[Simulator]:
    with Simulator(private_key=KEY) as simulator:
        yield simulator


@given(rule=_rules(), lies=st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_files_that_match_a_rule_are_deleted(
    rule: tuple[dict[str, Any], dict[str, Any]], lies: bool, real_redis: Redis, shared_sim: Simulator, tmp_path: Path
) -> None:
    """Under any rule, also if every search returns all files; what `keep` protects stays."""
    what, keep = rule
    real_redis.flushall()
    sim = shared_sim
    sim.set_strays()
    sim.take_away(sim.remaining())
    for number, folder in enumerate(FOLDERS * 6):
        tags = [_TAGS[number % 7], _TAGS[number // 7]] if number % 3 else None
        sim.add_file(
            folder=folder, tags=tags, ai_tags=["keep"] if number % 11 == 0 else [], created_at=f"{number * 5}d"
        )
    if lies:
        sim.set_strays(sim.remaining())
    bench = Bench(real_redis, sim, tmp_path)
    bench.write(_as_toml(what, keep))
    kept = {record.id for record in bench.records() if is_kept(keep, record)}
    expected = matching(what, keep, bench.records(), bench.queue.now_ms())
    gone = bench.deleted_by("any")
    assert not gone & kept
    assert gone == expected


def _as_toml(what: Mapping[str, Any], keep: Mapping[str, Any]) -> str:
    def text(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def texts(values: list[str]) -> str:
        return "[" + ", ".join(map(text, values)) + "]"

    lines = ["[rules.any]", RELEASED]
    if "path" in what:
        lines += [f"path = {text(what['path'])}", f"recursive = {str(what['recursive']).lower()}"]
    if "older_than_days" in what:
        lines.append(f'older_than = "{what["older_than_days"]}d"')
    if "tags" in what:
        lines.append(f"tags = {texts(what['tags'])}")
    if "file_type" in what:
        lines.append(f'file_type = "{what["file_type"]}"')
    lines += [f"keep.{name} = {texts(values)}" for name, values in keep.items() if values]
    return "\n".join(lines)
