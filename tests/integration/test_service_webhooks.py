"""Webhooks of a running worker: signed, received over HTTP, retried, listed and sent again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.support_cli import Ran, kitsweep
from tests.integration.support_house import House
from tests.integration.support_receiver import Receiver
from tests.integration.support_waiting import wait_until
from tests.unit.support_webhooks import SECRET

ENVIRONMENT = {
    "KITSWEEP_WEBHOOK_SECRET": SECRET,
    "KITSWEEP_WEBHOOK_ALLOW": '["127.0.0.0/8"]',
    "KITSWEEP_MAX_ATTEMPTS": "2",
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(SECRET) as started:
        yield started
        assert started.forged == 0


def run(house: House, *arguments: str, given: str = "") -> Ran:
    return kitsweep(house.environment, *arguments, given=given)


def listed(house: House, *options: str) -> dict[str, dict[str, object]]:
    """Return what `webhooks list` shows, by request."""
    ran = run(house, "webhooks", "list", "--json", *options)
    assert ran.status == 0, ran.err
    return {each["request_id"]: each for each in map(json.loads, ran.out.splitlines())}


def test_a_service_hears_of_the_end_of_its_request(house: House, receiver: Receiver) -> None:
    """It names a URL when it sends the task; the report that comes is that of the result, without the lists of ids."""
    gone, missing = house.files(3), house.no_files(1)
    request_id = house.ask([*gone, *missing], source="shop", reason="sold", callback=f"{receiver.url}/done?shop=7")
    report = house.final(request_id).report
    wait_until(lambda: receiver.of(request_id), "the webhook arrives")
    (told,) = receiver.of(request_id)
    assert told["deleted"] == 3
    assert told == {name: report[name] for name in told}
    assert receiver.received[-1].path == "/done?shop=7"
    wait_until(lambda: listed(house)[request_id]["state"] == "delivered", "it is recorded")
    assert "shop=7" not in json.dumps(listed(house))


def test_failures_and_cancellations_are_told_too(house: House, receiver: Receiver) -> None:
    """Each with its state."""
    bad = house.files(1)
    house.simulator.refuse_ids(bad, "locked")
    failed = house.ask(bad, callback=receiver.url)
    held = house.ask(house.files(1), hold_seconds=3600, callback=receiver.url)
    house.wait_for_state(held, "QUEUED")
    house.client.cancel(held)
    wait_until(lambda: receiver.of(failed) and receiver.of(held), "both webhooks arrive")
    assert [receiver.of(each)[0]["state"] for each in (failed, held)] == ["FAILURE", "REVOKED"]


def test_a_receiver_that_is_down_hears_of_it_later(house: House, receiver: Receiver) -> None:
    """The second attempt comes 5 s after the first, with the same id."""
    receiver.answer = lambda _: 503 if len(receiver.received) == 1 else 204
    request_id = house.ask(house.files(1), callback=receiver.url)
    wait_until(lambda: len(receiver.of(request_id)) == 2, "the second attempt arrives", 20)
    assert len({each.webhook_id for each in receiver.received}) == 1
    wait_until(lambda: listed(house)[request_id]["state"] == "delivered", "it is recorded")
    assert listed(house)[request_id]["attempts"] == 2


def test_a_webhook_that_was_given_up_can_be_sent_again(house: House, receiver: Receiver) -> None:
    """`--failed` shows it, and `send` sends it at once."""
    receiver.answer = lambda _: 410
    ids = house.files(1)
    ran = run(house, "delete", "-", "--callback", receiver.url, "--wait", given=ids[0])
    assert ran.status == 0, ran.err
    request_id = ran.out.strip()
    wait_until(lambda: request_id in listed(house, "--failed"), "it is given up")
    webhook_id = str(listed(house, "--failed")[request_id]["id"])
    line = next(each for each in run(house, "webhooks", "list").out.splitlines() if webhook_id in each)
    assert line.startswith(f"failed  {webhook_id}  {receiver.url}")
    receiver.answer = lambda _: 204
    sent = run(house, "webhooks", "send", webhook_id)
    assert (sent.status, sent.err) == (0, f"Webhook {webhook_id} will be sent.\n")
    wait_until(lambda: listed(house)[request_id]["state"] == "delivered", "it is delivered")
    assert len(receiver.of(request_id)) == 2


def test_wrong_use_is_told(house: House) -> None:
    """An unknown webhook, a bad URL, an address inside: each says what and why, and nothing is enqueued."""
    unknown = run(house, "webhooks", "send", "no-such-id")
    assert (unknown.status, unknown.err) == (1, "kitsweep: webhook no-such-id is unknown or expired\n")
    bad = run(house, "delete", "-", "--callback", "shop.example/hook", given="a")
    assert (bad.status, bad.err.startswith("kitsweep: --callback: must be an http or https URL")) == (2, True)
    inside = run(house, "delete", "-", "--callback", "http://10.0.0.1/hook", given="a")
    assert (inside.status, "10.0.0.1 is not a public address" in inside.err) == (2, True)
    assert "Nothing was enqueued." in inside.err


def test_a_service_hears_why_its_callback_is_refused(house: House) -> None:
    """As of every other bad argument."""
    for callback, why in (("ftp://x/", "must be an http or https URL"), ("http://[::1]/", "is not a public address")):
        seen = house.final(house.ask(["a"], callback=callback))
        assert (seen.state, seen.error) == ("FAILURE", "InvalidRequest")
        assert why in seen.text
