"""Senders that die, lose their lease, are late or are asked to send again: nothing is lost or sent twice at a time."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from tests.unit.support_webhooks import DELIVERED, GIVEN_UP, Hooks, again_in
from worker.webhooks.store import Taken

RECEIVERS = ("https://a.example/", "https://b.example/")
RESULTS = (DELIVERED, GIVEN_UP, again_in(0), again_in(60_000), again_in(0, receiver_fails=True))
LISTS = ("webhooks:waiting", "webhooks:delivered", "webhooks:failed")
number = st.integers(0, 1000)


class WebhooksMachine(RuleBasedStateMachine):
    """Requests that end, senders, and the passing of time."""

    def __init__(self, client: Redis) -> None:
        super().__init__()
        raw_client: Any = client
        raw_client.flushdb()
        self.hooks = Hooks(client)
        self.known: set[str] = set()
        self.holding: list[Taken] = []
        self.dead: list[Taken] = []
        """Those whose lease has run out: they may still be sent, and recorded late."""
        self.delivered: set[str] = set()

    @initialize()
    def begin(self) -> None:
        self.end_request(0)

    @rule(which=number)
    def end_request(self, which: int) -> None:
        self.known.add(self.hooks.finish(f"r{len(self.known)}", RECEIVERS[which % len(RECEIVERS)]))

    @rule()
    def take(self) -> None:
        taken = self.hooks.store.take()
        if taken:
            assert taken.webhook_id not in {each.webhook_id for each in self.holding}, "sent twice at the same time"
            self.holding.append(taken)

    @precondition(lambda self: self.holding)
    @rule(which=number, result=st.sampled_from(RESULTS))
    def record(self, which: int, result: Any) -> None:
        taken = self.holding.pop(which % len(self.holding))
        self.hooks.store.record(taken, result)
        if result is DELIVERED:
            self.delivered.add(taken.webhook_id)

    @precondition(lambda self: self.dead)
    @rule(which=number, result=st.sampled_from(RESULTS))
    def record_late(self, which: int, result: Any) -> None:
        taken = self.dead.pop(which % len(self.dead))
        self.hooks.store.record(taken, result)
        if result is DELIVERED:
            self.delivered.add(taken.webhook_id)
            self.holding = [each for each in self.holding if each.webhook_id != taken.webhook_id]

    @rule()
    def time_passes(self) -> None:
        self.dead += self.holding
        self.holding.clear()
        self.hooks.make_due()

    @precondition(lambda self: self.known)
    @rule(which=number)
    def send_again(self, which: int) -> None:
        webhook_id = sorted(self.known)[which % len(self.known)]
        held = webhook_id in {each.webhook_id for each in self.holding}
        assert self.hooks.store.send_again(webhook_id, "ann@ops") == ("sending" if held else "queued")
        if not held:
            self.delivered.discard(webhook_id)

    @invariant()
    def each_webhook_is_in_one_place(self) -> None:
        lists = [self.hooks.redis.zrange(self.hooks.queue.keys(name), 0, -1) for name in LISTS]
        everywhere = [webhook_id for some in lists for webhook_id in some]
        assert sorted(everywhere) == sorted(self.known), "a webhook is lost, or in two places"
        assert self.delivered <= set(lists[1]), "a delivered webhook is sent again"

    def teardown(self) -> None:
        """Whatever has happened, every webhook that was not given up is delivered in the end."""
        for _ in range(3 * len(self.known) + 3):
            self.hooks.make_due()
            if taken := self.hooks.store.take():
                self.hooks.store.record(taken, DELIVERED)
        assert self.hooks.waiting() == []


def test_no_order_of_events_loses_a_webhook_or_sends_it_twice_at_a_time(redis_client: Redis) -> None:
    """Death between the POST and its record, late records, and sending again included."""

    class Machine(WebhooksMachine):
        def __init__(self) -> None:
            super().__init__(redis_client)

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=25, stateful_step_count=30, deadline=None, database=None)
    )
