"""Webhooks in Redis: queued with the end of their request, sent by one at a time, kept until they are delivered."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from redis import Redis

from tests.unit.support_queue import end_all, ids, must_claim
from tests.unit.support_webhooks import DELIVERED, GIVEN_UP, URL, Hooks, again_in
from tests.waiting import wait_until
from worker.errors import InvalidRequest
from worker.limiter.slots import Limiter
from worker.queue.approvals import Approvals
from worker.queue.operations import Chunk, NewRequest
from worker.reports.audit import Audit
from worker.reports.stats import read_stats
from worker.states import Outcome
from worker.webhooks.schedule import GIVE_UP_MS
from worker.webhooks.store import Taken


@pytest.fixture
def hooks(redis_client: Redis) -> Hooks:
    return Hooks(redis_client)


@pytest.mark.parametrize(("outcome", "state"), [(Outcome.DELETED, "SUCCESS"), (Outcome.FAILED, "FAILURE")])
def test_the_last_outcome_queues_the_webhook(hooks: Hooks, outcome: Outcome, state: str) -> None:
    """In the same step as the final state, with the counts; not before."""
    hooks.queue.enqueue(NewRequest("r", "shop", reason="why", callback=URL), ids("a", 130))
    end_all(hooks.queue, must_claim(hooks.queue, "t1"))
    assert hooks.waiting() == []
    assert end_all(hooks.queue, must_claim(hooks.queue, "t2"), outcome) == ["r"]
    (webhook_id,) = hooks.waiting()
    report = hooks.report(webhook_id)
    assert report["state"] == state
    assert (report["request_id"], report["source"], report["reason"], report["total"]) == ("r", "shop", "why", 130)
    assert sum(report[each] for each in Outcome) == 130
    assert 0 < report["enqueued_at"] <= report["finished_at"]


def test_a_cancelled_request_is_reported_too(hooks: Hooks) -> None:
    """Whoever asked for a webhook hears of every end."""
    hooks.queue.enqueue(NewRequest("r", "shop", callback=URL), ["a", "b"])
    hooks.queue.cancel("r")
    (webhook_id,) = hooks.waiting()
    assert hooks.report(webhook_id)["state"] == "REVOKED"
    assert hooks.report(webhook_id)["cancelled"] == 2


def test_a_rejected_request_is_reported_too(redis_client: Redis) -> None:
    """What a guard held and somebody rejected has ended."""
    hooks = Hooks(redis_client, guards={"shop": {"max_files": 1}})
    hooks.queue.enqueue(NewRequest("r", "shop", callback=URL), ["a", "b"])
    assert hooks.waiting() == []
    Approvals(hooks.queue).reject("r", "somebody")
    assert len(hooks.waiting()) == 1


def test_a_request_sent_in_parts_keeps_its_callback(hooks: Hooks) -> None:
    """It is that of the stream which makes the request."""
    hooks.queue.add_chunk(NewRequest("r", "shop", callback=URL), ["a"], Chunk(is_last=False))
    hooks.queue.add_chunk(NewRequest("r", "shop", callback=URL), ["b"], Chunk(is_first=False))
    end_all(hooks.queue, must_claim(hooks.queue, "t"))
    assert hooks.take().url == URL


def test_a_source_may_have_a_callback(redis_client: Redis) -> None:
    """It is used where a request names none."""
    hooks = Hooks(redis_client, callbacks={"shop": "https://shop.example/", "*": "https://rest.example/"})
    wanted = {
        hooks.finish("own", URL): URL,
        hooks.finish("source", None): "https://shop.example/",
        hooks.finish("other", None, source="other"): "https://rest.example/",
    }
    taken = [hooks.take() for _ in wanted]
    assert {each.webhook_id: each.url for each in taken} == wanted


def test_without_a_callback_nothing_is_stored(hooks: Hooks) -> None:
    """A request that nobody asked to report costs what it did before."""
    assert hooks.finish("r", None) == ""
    assert [key for key in hooks.redis.keys("*") if "webhook" in key] == []
    assert "callback" not in hooks.redis.hgetall(hooks.queue.keys.request("r"))


def test_the_url_leaves_the_request_when_it_is_final(hooks: Hooks) -> None:
    """It may hold a token: it is stored in one place, as long as the webhook can be sent."""
    hooks.queue.enqueue(NewRequest("r", "shop", callback="https://shop.example/?token=tok3n"), ["a"])
    end_all(hooks.queue, must_claim(hooks.queue, "t"))
    holders = [text for text in hooks.stored_texts() if "tok3n" in text]
    assert len(holders) == 1
    assert holders[0].startswith(hooks.queue.keys.webhook(""))


def test_a_callback_without_a_secret_is_refused(redis_client: Redis) -> None:
    """Nothing could be signed; the error says so before anything is enqueued."""
    hooks = Hooks(redis_client, webhook_secret="")
    with pytest.raises(InvalidRequest, match="callback: webhooks are not set up: KITSWEEP_WEBHOOK_SECRET is not set"):
        hooks.queue.enqueue(NewRequest("r", "shop", callback=URL), ["a"])
    assert not hooks.redis.exists(hooks.queue.keys.request("r"))


def test_a_callback_to_an_inside_address_is_refused(hooks: Hooks) -> None:
    """An address in the URL is checked at once; a name when it is resolved."""
    with pytest.raises(InvalidRequest, match=r"10\.0\.0\.5 is not a public address; .* KITSWEEP_WEBHOOK_ALLOW"):
        hooks.queue.enqueue(NewRequest("r", "shop", callback="http://10.0.0.5/"), ["a"])
    hooks.queue.enqueue(NewRequest("r", "shop", callback="http://127.0.0.5/"), ["a"])


def test_ids_are_new_and_have_no_full_stop(hooks: Hooks) -> None:
    """A full stop would make the signed text ambiguous; a request id may be used again after its result has expired."""
    first = hooks.finish("a.b.c")
    assert first.startswith("a~b~c:")
    hooks.redis.delete(hooks.queue.keys.request("a.b.c"))
    hooks.redis.zrem(hooks.queue.keys("webhooks:waiting"), first)
    wait_until(lambda: hooks.queue.now_ms() > int(first.rpartition(":")[2]))
    assert hooks.finish("a.b.c") not in {"", first}


def test_one_sender_at_a_time(hooks: Hooks) -> None:
    """What is taken nobody else gets until its lease has run out."""
    webhook_id = hooks.finish()
    assert hooks.take().webhook_id == webhook_id
    assert hooks.store.take() is None


def test_many_senders_at_once_share_the_webhooks(redis_client: Redis) -> None:
    """Each webhook goes to exactly one of them."""
    hooks = Hooks(redis_client)
    wanted = {hooks.finish(f"r{number}") for number in range(40)}
    got: list[str] = []

    def send() -> None:
        while taken := hooks.store.take():
            got.append(taken.webhook_id)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert Counter(got) == Counter(wanted)


def late_and_heir(hooks: Hooks) -> tuple[Taken, Taken]:
    """Return what a sender took that lost its lease, and what another took then."""
    hooks.finish()
    late = hooks.take()
    hooks.make_due()
    return late, hooks.take()


def test_a_sender_that_dies_after_the_post_loses_nothing(hooks: Hooks) -> None:
    """Its lease runs out, and another sends the webhook again under the same id."""
    dead, heir = late_and_heir(hooks)
    assert heir.webhook_id == dead.webhook_id
    assert heir.token != dead.token
    hooks.store.record(heir, DELIVERED)
    assert [(each["state"], each["attempts"]) for each in hooks.seen()] == [("delivered", 1)]


def test_a_sender_that_lost_its_lease_records_no_failure(hooks: Hooks) -> None:
    """What it knows is old: another is sending by now."""
    late, heir = late_and_heir(hooks)
    hooks.store.record(late, GIVEN_UP)
    hooks.store.record(late, again_in(0))
    assert hooks.store.take() is None
    assert [(each["state"], each["attempts"]) for each in hooks.seen()] == [("waiting", 0)]
    hooks.store.record(heir, again_in(0))
    assert hooks.take().attempts == 1


def test_a_late_delivery_counts(hooks: Hooks) -> None:
    """The receiver has it: whoever sends it now need not send it again."""
    late, heir = late_and_heir(hooks)
    hooks.store.record(late, DELIVERED)
    hooks.store.record(heir, again_in(0))
    assert [each["state"] for each in hooks.seen()] == ["delivered"]


def test_a_result_counts_once(hooks: Hooks) -> None:
    """redis-py may send an operation again after a lost answer."""
    hooks.finish()
    taken = hooks.take()
    for _ in range(2):
        hooks.store.record(taken, again_in(60_000))
    (seen,) = hooks.seen()
    assert (seen["attempts"], seen["status"], seen["error"]) == (1, 503, "HTTP 503")
    assert hooks.store.take() is None


def test_a_failed_attempt_comes_back_when_it_is_due(hooks: Hooks) -> None:
    """Not sooner, and with its attempts counted."""
    hooks.finish()
    hooks.store.record(hooks.take(), again_in(60_000))
    assert hooks.store.take() is None
    hooks.make_due()
    assert hooks.take().attempts == 1


@pytest.mark.parametrize("result", [DELIVERED, GIVEN_UP], ids=["delivered", "given up"])
def test_an_ended_webhook_is_kept_as_long_as_a_result(hooks: Hooks, result: object) -> None:
    """It can be listed and sent again until then; its URL is gone afterwards."""
    webhook_id = hooks.finish()
    hooks.store.record(hooks.take(), DELIVERED if result is DELIVERED else GIVEN_UP)
    left = hooks.redis.pttl(hooks.queue.keys.webhook(webhook_id)) / 1000
    assert 0 < left <= hooks.settings.result_ttl_seconds
    assert hooks.redis.pttl(hooks.queue.keys.webhook(webhook_id)) > (hooks.settings.result_ttl_seconds - 60) * 1000


def test_the_lists_forget_what_has_expired(hooks: Hooks) -> None:
    """The next webhook that ends takes old ids off its list."""
    for number in range(2):
        hooks.finish(f"r{number}")
    delivered = hooks.queue.keys("webhooks:delivered")
    hooks.store.record(hooks.take(), DELIVERED)
    (old,) = hooks.redis.zrange(delivered, 0, -1)
    hooks.redis.zadd(delivered, {old: 1})
    hooks.store.record(hooks.take(), DELIVERED)
    assert old not in hooks.redis.zrange(delivered, 0, -1)
    assert hooks.redis.zcard(delivered) == 1


def test_a_webhook_whose_hash_is_lost_blocks_no_other(hooks: Hooks) -> None:
    """It cannot be sent; it leaves the line."""
    lost = hooks.finish("lost")
    hooks.redis.zadd(hooks.queue.keys("webhooks:waiting"), {lost: 1})
    hooks.redis.delete(hooks.queue.keys.webhook(lost))
    other = hooks.finish("other")
    assert hooks.take().webhook_id == other
    assert lost not in hooks.waiting()


def test_a_receiver_that_fails_gets_one_webhook_at_a_time(hooks: Hooks) -> None:
    """Its others wait, and those of other receivers go on; when it succeeds, all are sent."""
    for number in range(3):
        hooks.finish(f"bad{number}", "https://u:p@BAD.example/x?y")
    hooks.store.record(hooks.take(), again_in(0, receiver_fails=True))
    assert hooks.store.take() is None, "the receiver rests"
    good = hooks.finish("good", "https://good.example/")
    taken = hooks.take()
    assert taken.webhook_id == good
    hooks.store.record(taken, DELIVERED)
    hooks.make_due()
    probe = hooks.take()
    assert hooks.store.take() is None, "one is on its way"
    hooks.store.record(probe, DELIVERED)
    hooks.make_due()
    assert {hooks.take().report["request_id"] for _ in range(2)} < {"bad0", "bad1", "bad2"}


def test_the_rest_of_a_receiver_grows_up_to_a_minute(hooks: Hooks) -> None:
    """1 s, 2 s, 4 s … 60 s; and as long as the receiver itself asks for."""
    hooks.finish()
    rests = []
    for _ in range(8):
        hooks.make_due()
        taken = hooks.take()
        before = hooks.queue.now_ms()
        hooks.store.record(taken, again_in(0, receiver_fails=True))
        (rest,) = hooks.redis.hvals(hooks.queue.keys("webhooks:resting"))
        rests.append(round((int(rest.split()[0]) - before) / 1000))
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60]
    hooks.make_due()
    hooks.store.record(hooks.take(), again_in(0, receiver_fails=True)._replace(rest_ms=600_000))
    (rest,) = hooks.redis.hvals(hooks.queue.keys("webhooks:resting"))
    assert int(rest.split()[0]) - hooks.queue.now_ms() > 590_000


def test_what_a_failing_receiver_never_got_is_given_up_in_the_end(hooks: Hooks) -> None:
    """Otherwise the webhooks of a receiver that is gone for good would pile up."""
    hooks.finish("first")
    hooks.store.record(hooks.take(), again_in(60_000, receiver_fails=True))
    never = hooks.finish("never")
    assert hooks.store.take() is None
    hooks.redis.hincrby(hooks.queue.keys.webhook(never), "since", -GIVE_UP_MS)
    hooks.redis.zadd(hooks.queue.keys("webhooks:waiting"), {never: 1})
    assert hooks.store.take() is None
    assert {each["id"]: each["error"] for each in hooks.seen() if each["state"] == "failed"} == {
        never: "not sent: other webhooks to this receiver fail"
    }


@pytest.mark.parametrize("result", [DELIVERED, GIVEN_UP, again_in(60_000, receiver_fails=True)], ids=str)
def test_a_webhook_can_be_sent_again(hooks: Hooks, result: object) -> None:
    """At once, also to a receiver that rests, under the same id; its schedule starts anew, and it does not expire."""
    webhook_id = hooks.finish()
    hooks.store.record(hooks.take(), result)  # type: ignore[arg-type]
    assert hooks.store.send_again(webhook_id, "ann@ops") == "queued"
    taken = hooks.take()
    assert (taken.webhook_id, taken.attempts) == (webhook_id, 0)
    assert hooks.redis.pttl(hooks.queue.keys.webhook(webhook_id)) == -1
    assert [each["state"] for each in hooks.seen()] == ["waiting"]
    (entry,) = (each for each in Audit(hooks.redis, hooks.settings).entries() if each["event"] == "resent")
    assert (entry["by"], entry["request"]) == ("ann@ops", "r")
    assert entry["detail"] == {"webhook": webhook_id}


def test_stats_count_webhooks_that_wait_and_have_failed(hooks: Hooks) -> None:
    """Failed ones as long as they are kept."""
    for name, result in (("waits", again_in(60_000)), ("failed", GIVEN_UP), ("delivered", DELIVERED)):
        hooks.finish(name)
        hooks.store.record(hooks.take(), result)

    def counted() -> tuple[int, int]:
        stats = read_stats(hooks.queue, Limiter(hooks.redis, hooks.settings))
        return stats["webhooks_waiting"], stats["webhooks_failed"]

    assert counted() == (1, 1)
    failed = hooks.queue.keys("webhooks:failed")
    hooks.redis.zadd(failed, dict.fromkeys(hooks.redis.zrange(failed, 0, -1), 1))
    assert hooks.store.take() is None
    assert counted() == (1, 0)


def test_what_is_on_its_way_is_not_sent_twice_at_a_time(hooks: Hooks) -> None:
    """Sending again waits for the end of the attempt; an unknown id is told."""
    webhook_id = hooks.finish()
    hooks.take()
    assert hooks.store.send_again(webhook_id, "ann@ops") == "sending"
    assert hooks.store.take() is None
    hooks.make_due()
    assert hooks.store.send_again(webhook_id, "ann@ops") == "queued"
    assert hooks.store.send_again("no-such-webhook", "ann@ops") == "unknown"


def test_the_list_hides_what_a_url_may_hold(hooks: Hooks) -> None:
    """User, password and query are not shown; any number of webhooks is listed, the newest first."""
    for number in range(450):
        hooks.finish(f"r{number:03d}", "https://user:secret@shop.example/hook?token=secret")
    for number, webhook_id in enumerate(hooks.waiting()):
        hooks.redis.zadd(hooks.queue.keys("webhooks:waiting"), {webhook_id: number + 1})
    seen = hooks.seen()
    assert {each["url"] for each in seen} == {"https://shop.example/hook?…"}
    assert len({each["request_id"] for each in seen}) == 450
    assert [each["next_at"] for each in seen] == sorted((str(each["next_at"]) for each in seen), reverse=True)
