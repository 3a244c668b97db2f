"""Alert rules and dashboard: valid, tested, explained, and about metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from redis import Redis
from ruamel.yaml import YAML

from tests.conftest import IN_CI
from tests.unit.support_queue import ids, queue_on, raw, settings_for_tests
from web.metrics.families import Families
from worker.limiter.slots import Call, Kind, Limiter
from worker.metrics.reading import Reader
from worker.queue.operations import NewRequest, Queue

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RUNBOOK = ROOT / "docs/operations.md"
DASHBOARD = json.loads((ROOT / "deploy/grafana/kitsweep.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SAMPLE = re.compile(r"^(kitsweep_\w+(?:\{.*\})?) (\S+)$", re.MULTILINE)


def rules_in(path: Path) -> list[dict[str, Any]]:
    content = YAML(typ="safe", pure=True).load(path)
    return [rule for group in content["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules_in(PROMETHEUS / "alerts.yml")}
EXPRESSIONS = [
    *(rule["expr"] for rule in ALERTS.values()),
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
    *re.findall(r"label_values\((.*?),", json.dumps(DASHBOARD)),
]


@pytest.fixture(scope="session")
def promtool() -> str:
    """Give the path of Prometheus' tool. Without it, tests are skipped at home, and fail in CI."""
    found = shutil.which("promtool")
    if not found:
        reason = "promtool is not on PATH; it is in Debian's package prometheus"
        if IN_CI:
            raise FileNotFoundError(reason)
        pytest.skip(reason)
    return found


def run(*command: object, given: str = "") -> None:
    done = subprocess.run([*map(str, command)], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def page_of(redis: Redis) -> str:
    """Return the page of an account on which everything has happened."""
    return generate_latest(Families(Reader(redis).read([settings_for_tests()]), "1")).decode()


@pytest.fixture
def queue(real_redis: Redis) -> Queue:
    return queue_on(real_redis, guards={"guarded": {"max_files": 1}})


def test_the_rules_are_valid(promtool: str) -> None:
    """Names, expressions and templates."""
    run(promtool, "check", "rules", PROMETHEUS / "alerts.yml")
    run(promtool, "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")


def test_each_alert_fires_when_it_should(promtool: str) -> None:
    """And not in the state that is easily mistaken for it."""
    run(promtool, "test", "rules", PROMETHEUS / "alerts_test.yml")


def test_no_alert_lacks_a_test() -> None:
    """Each is expected to fire in one of the tests above."""
    content = YAML(typ="safe", pure=True).load(PROMETHEUS / "alerts_test.yml")
    expected = [each for test in content["tests"] for each in test.get("alert_rule_test", [])]
    assert {each["alertname"] for each in expected if each.get("exp_alerts")} == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_section_in_the_runbook(alert: str) -> None:
    """To which its annotation points."""
    assert f"\n### {alert}\n" in RUNBOOK.read_text("utf-8")
    assert ALERTS[alert]["annotations"]["runbook_url"] == f"docs/operations.md#{alert.lower()}"
    assert ALERTS[alert]["labels"]["severity"] in {"critical", "warning", "info"}


def test_the_page_follows_the_conventions(promtool: str, queue: Queue) -> None:
    """Names, units, types and help texts, as far as promtool knows them."""
    let_everything_happen(queue)
    run(promtool, "check", "metrics", given=page_of(queue.redis))


def test_expressions_name_only_metrics_that_exist(queue: Queue) -> None:
    """A misspelt name is no error to Prometheus: the alert would never fire."""
    let_everything_happen(queue)
    there = {sample.partition("{")[0] for sample, _ in SAMPLE.findall(page_of(queue.redis))}
    named = {name for expression in EXPRESSIONS for name in re.findall(r"\bkitsweep_\w+", expression)}
    assert named - there == set()
    assert len(named) > 20


def let_everything_happen(queue: Queue) -> None:
    limiter = Limiter(queue.redis, settings_for_tests())
    queue.enqueue(NewRequest("r", "s"), ids("a", 3))
    queue.enqueue(NewRequest("held", "s", hold_seconds=60), ["h"])
    limiter.record(Call(Kind.OK, status=200, elapsed_ms=20, files=3))
    limits: dict[str, str] = {"window:1000": f"5 {queue.now_ms()}"}
    raw(queue).hset(queue.keys.limits("delete"), mapping=limits)


def test_the_dashboard_is_whole() -> None:
    """Panels have ids of their own, say what they show, and do not overlap."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [cell for panel in DASHBOARD["panels"] for cell in cells_of(panel["gridPos"])]
    assert len(cells) == len(set(cells))
    assert all(panel["title"] and panel["targets"] for panel in PANELS)
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in PANELS for target in panel["targets"])


def cells_of(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    assert place["x"] + place["w"] <= 24
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


def test_the_expressions_of_the_dashboard_are_valid(promtool: str, tmp_path: Path) -> None:
    """With Grafana's variables replaced."""
    rules = [
        {"record": f"test:{number}", "expr": expression.replace("$__rate_interval", "1m").replace("$account", ".*")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", path)


def no_workers(_: Queue, __: Limiter) -> None:
    """Nothing has sent a heartbeat."""


def paused(_: Queue, limiter: Limiter) -> None:
    limiter.pause("maintenance")


def key_refused(_: Queue, limiter: Limiter) -> None:
    limiter.record(Call(Kind.KEY_REFUSED, "bad key", status=403, elapsed_ms=20, files=1))


def imagekit_down(_: Queue, limiter: Limiter) -> None:
    for _call in range(3):
        limiter.record(Call(Kind.TROUBLE, "no answer", elapsed_ms=20, files=1))


def throttled(_: Queue, limiter: Limiter) -> None:
    limiter.record(Call(Kind.THROTTLED, "429", reset_ms=3_600_000, status=429, elapsed_ms=20, files=1))


def unapproved(queue: Queue, _: Limiter) -> None:
    queue.enqueue(NewRequest("big", "guarded"), ids("g", 2))


def unaccepted(queue: Queue, _: Limiter) -> None:
    raw(queue).lpush("celery", "message")


def unpublished(queue: Queue, _: Limiter) -> None:
    raw(queue).zadd(queue.keys("outbox"), {"late": 1})


def stuck(queue: Queue, _: Limiter) -> None:
    queue.enqueue(NewRequest("r", "s"), ["a"])
    raw(queue).hset(queue.keys.request("r"), "enqueued_at", 1)


def receiver_fails(queue: Queue, _: Limiter) -> None:
    raw(queue).zadd(queue.keys("webhooks:waiting"), {"w": 1})
    raw(queue).hset(queue.keys("webhooks:resting"), "example.com:443", "1 3")


def purged(queue: Queue, _: Limiter) -> None:
    month = datetime.fromtimestamp(queue.now_ms() / 1000, UTC).strftime("%Y-%m")
    raw(queue).hset(queue.keys("purges:quota"), mapping={month: 900, "2020-01": 5})


STATES: dict[Callable[[Queue, Limiter], None], set[str]] = {
    no_workers: {"KitsweepNoWorkers"},
    paused: {"KitsweepPausedByOperator"},
    key_refused: {"KitsweepKeyRefused"},
    imagekit_down: {"KitsweepImageKitDown"},
    throttled: {"KitsweepThrottled"},
    unapproved: {"KitsweepApprovalsWaiting"},
    unaccepted: {"KitsweepIntakeStuck"},
    unpublished: {"KitsweepResultsLate"},
    stuck: {"KitsweepNoProgress", "KitsweepDispatchStuck"},
    receiver_fails: {"KitsweepWebhooksFail"},
    purged: {"KitsweepPurgeQuota"},
}


def test_real_states_fire_the_alerts(promtool: str, queue: Queue, tmp_path: Path) -> None:
    """What the page says in a state of the queue that lasts five hours fires its alert, and no other."""
    tests = []
    for state, alerts in STATES.items():
        raw(queue).flushdb()
        limiter = Limiter(queue.redis, settings_for_tests())
        if state is not no_workers:
            raw(queue).zadd(queue.keys("workers"), {"w": queue.now_ms()})
        state(queue, limiter)
        tests.append(lasting(page_of(queue.redis), state.__name__, alerts))
    path = tmp_path / "states.yml"
    path.write_text(json.dumps({"rule_files": [str(PROMETHEUS / "alerts.yml")], "tests": tests}))
    run(promtool, "test", "rules", path)


def lasting(page: str, name: str, alerts: set[str]) -> dict[str, Any]:
    """Return a test for promtool in which a page stays the same for five hours, and then some alerts fire."""
    firing = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)]
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": sample, "values": f"{float(value):g}x300"}
            for sample, value in SAMPLE.findall(page)
            if "_bucket" not in sample
        ],
        "promql_expr_test": [
            {"expr": 'sum by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "5h", "exp_samples": firing}
        ],
    }
