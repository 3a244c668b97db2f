"""The intake in a worker: which queues it takes from Celery, how it shares time with batches, and revocations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state as worker_state
from redis import Redis

from config.settings import Settings
from tests.unit.support_messages import Sender, put, undecoded
from tests.unit.support_queue import raw, settings_for_tests
from worker.intake.intake import Intake
from worker.runtime import intake as intake_module
from worker.runtime.intake import BATCHES_RAN_SECONDS, REST, IntakeStep, Pace, take_from_celery
from worker.runtime.process import App, create_app
from worker.states import State

SENDER = Sender()


def app_on(client: Redis, **overrides: Any) -> App:
    return create_app(settings_for_tests(**overrides), client)


def test_celery_consumes_what_is_forwarded(fake_redis: Redis) -> None:
    """Neither queue of the intake; what our own app sends still goes there."""
    app = app_on(fake_redis)
    assert take_from_celery(app) == ["kitsweep.requests", "celery"]
    assert list(app.amqp.queues.consume_from) == ["kitsweep.unusual"]
    assert {"kitsweep.requests", "celery"} <= set(app.amqp.queues)


def test_an_account_with_a_name_has_one_queue(fake_redis: Redis) -> None:
    """Celery's default queue belongs to the account "default"."""
    app = app_on(fake_redis, account="shop")
    assert take_from_celery(app) == ["kitsweep.requests.shop"]
    assert list(app.amqp.queues.consume_from) == ["kitsweep.unusual.shop"]


@pytest.mark.parametrize(
    ("chosen", "taken", "consumed"),
    [
        (["kitsweep.requests"], ["kitsweep.requests"], ["kitsweep.unusual"]),
        (["celery", "kitsweep.unusual"], ["celery"], ["kitsweep.unusual"]),
        (["kitsweep.unusual"], [], ["kitsweep.unusual"]),
    ],
)
def test_a_worker_takes_from_the_queues_that_it_was_given(
    fake_redis: Redis, chosen: list[str], taken: list[str], consumed: list[str]
) -> None:
    """As chosen with `-Q`; without any of them it leaves all messages to others."""
    app = app_on(fake_redis)
    app.amqp.queues.select(chosen)
    assert take_from_celery(app) == taken
    assert sorted(app.amqp.queues.consume_from) == consumed


def test_the_intake_rests_only_while_batches_run() -> None:
    """A share of the time it worked; not before any batch ran here, and not when the last one is long over."""
    now, claimed_at = [100.0], [-math.inf]
    pace = Pace(lambda: claimed_at[0], lambda: now[0])
    assert pace.rest_after(0.02) == 0
    claimed_at[0] = now[0]
    assert pace.rest_after(0.02) == 0.02 * REST
    now[0] += BATCHES_RAN_SECONDS * 0.9
    assert pace.rest_after(0.01) == 0.01 * REST
    now[0] += BATCHES_RAN_SECONDS * 0.2
    assert pace.rest_after(0.02) == 0


@pytest.fixture
def _no_revoked_ids() -> Iterator[None]:
    yield
    worker_state.revoked.clear()


@pytest.mark.usefixtures("_no_revoked_ids")
def test_what_is_revoked_while_it_is_accepted_is_cancelled(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revocation comes after the message was read, and finds no request yet."""
    app = app_on(redis_client)
    step = IntakeStep(SimpleNamespace(app=app, steps=[]))
    put(app.account.queue, SENDER.send(["a"], task_id="r1"), SENDER.send(["b"], task_id="r2"))

    def connect(settings: Settings, **_: object) -> Redis:
        return undecoded(redis_client)

    monkeypatch.setattr(intake_module, "connect", connect)
    intake, read = intake_module.intake_of(app, "celery"), Intake._accept

    def revoked_after_reading(self: Intake, taken: Any, is_revoked: Any) -> list[str]:
        accepted = read(self, taken, is_revoked)
        worker_state.revoked.add("r1")
        return accepted

    monkeypatch.setattr(Intake, "_accept", revoked_after_reading)
    monkeypatch.setattr(app.publisher, "publish_reports", lambda _: None)
    step._take_one_turn(intake, Pace(lambda: -math.inf))
    states = [raw(app.account.queue).hget(app.account.keys.request(each), "state") for each in ("r1", "r2")]
    assert states == [State.REVOKED, State.QUEUED]
