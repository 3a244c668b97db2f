"""Accepting requests: whole or not at all, once, and never claimed before they are sealed."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.unit.support_queue import (
    check_invariants,
    end_all,
    files_of,
    ids,
    must_claim,
    queue_on,
    raw,
    release_holds,
    take_picture,
)
from worker.errors import RequestVanished
from worker.queue.operations import CHUNK_IDS, Chunk, NewRequest, Queue
from worker.states import State


def test_a_request_is_accepted_whole(redis_client: Redis) -> None:
    """All ids of a request wait in the order in which they came."""
    queue = queue_on(redis_client)
    reply = queue.enqueue(NewRequest("r", "s", reason="why"), ids("a", 30))
    assert (reply.state, reply.is_new, reply.total) == (State.QUEUED, True, 30)
    seen = check_invariants(queue, {"r": set(ids("a", 30))}).requests["r"]
    assert seen.waiting == ids("a", 30)
    assert seen.about["reason"] == "why"


def test_duplicates_count_once(redis_client: Redis) -> None:
    """An id that a request names twice is one item, at its first place."""
    queue = queue_on(redis_client)
    assert queue.enqueue(NewRequest("r", "s"), ["b", "a", "b", "a", "c"]).total == 3
    assert files_of(must_claim(queue, "t").items) == ["b", "a", "c"]


def test_duplicates_across_chunks_count_once(redis_client: Redis) -> None:
    """A stream of several chunks counts an id once, wherever it comes again; what counted them is dropped."""
    queue = queue_on(redis_client)
    many = ids("a", CHUNK_IDS + 10)
    assert queue.enqueue(NewRequest("r", "s"), [*many, *many[:7]]).total == len(many)
    check_invariants(queue, {"r": set(many)})
    assert [key for key in unsealed_keys(queue) if raw(queue).exists(key)] == [queue.keys.request("r")]


def unsealed_keys(queue: Queue) -> list[str]:
    """Return the keys of the request `r` while it is sent as the stream without a token."""
    return [queue.keys.request("r"), *(f"{queue.keys.request('r', part)}:" for part in ("incoming", "seen"))]


def test_an_unsealed_request_is_never_claimed_and_expires(redis_client: Redis) -> None:
    """Until the last chunk is in nothing can be claimed, and all that is there expires."""
    queue = queue_on(redis_client, unsealed_ttl_seconds=60)
    reply = queue.add_chunk(NewRequest("r", "s"), ["a", "b"], Chunk(is_last=False))
    assert (reply.state, reply.is_new) == (State.OPEN, False)
    assert queue.claim("t") is None
    assert queue.peek(10).claimable == 0
    for key in unsealed_keys(queue):
        assert 0 < raw(queue).pttl(key) <= 60_000


def test_sealing_takes_the_expiry_away(redis_client: Redis) -> None:
    """What is accepted stays until it is done."""
    queue = queue_on(redis_client)
    queue.add_chunk(NewRequest("r", "s"), ["a"], Chunk(is_last=False))
    assert queue.add_chunk(NewRequest("r", "s"), ["b"], Chunk(is_first=False)).is_new
    for part in ("about", "waiting"):
        assert raw(queue).pttl(queue.keys.request("r", part)) == -1
    check_invariants(queue, {"r": {"a", "b"}})


def test_sealing_twice_changes_nothing(redis_client: Redis) -> None:
    """The last chunk sent again (its answer was lost) finds the request as it is."""
    queue = queue_on(redis_client)
    queue.add_chunk(NewRequest("r", "s"), ["a"], Chunk(is_last=False))
    queue.add_chunk(NewRequest("r", "s"), ["b"], Chunk(is_first=False))
    reply = queue.add_chunk(NewRequest("r", "s"), ["b", "c"], Chunk(is_first=False))
    assert (reply.state, reply.is_new, reply.total) == (State.QUEUED, False, 2)
    check_invariants(queue, {"r": {"a", "b"}})


@pytest.mark.parametrize("claimed", [False, True])
def test_the_same_request_id_again_changes_nothing(redis_client: Redis, claimed: bool) -> None:
    """A request that was accepted is not accepted again, neither while it waits nor when it is done."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a", "b"])
    if claimed:
        end_all(queue, must_claim(queue, "t"))
    reply = queue.enqueue(NewRequest("r", "other"), ["a", "b", "x"])
    assert not reply.is_new
    assert reply.total == 2
    assert reply.state is (State.SUCCESS if claimed else State.QUEUED)
    check_invariants(queue, {"r": {"a", "b"}})


def test_two_callers_may_send_the_same_chunks_at_once(redis_client: Redis) -> None:
    """Chunks of the same request from two callers, in any interleaving, make one request with each id once."""
    queue = queue_on(redis_client)
    first, second, third = ids("a", 5), ids("b", 5), ids("c", 5)
    queue.add_chunk(NewRequest("r", "s"), first, Chunk(is_last=False))
    queue.add_chunk(NewRequest("r", "s"), first, Chunk(is_last=False))
    queue.add_chunk(NewRequest("r", "s"), second, Chunk(is_first=False, is_last=False))
    queue.add_chunk(NewRequest("r", "s"), second, Chunk(is_first=False, is_last=False))
    assert queue.add_chunk(NewRequest("r", "s"), third, Chunk(is_first=False)).is_new
    late = queue.add_chunk(NewRequest("r", "s"), third, Chunk(is_first=False))
    assert not late.is_new
    assert check_invariants(queue, {"r": {*first, *second, *third}}).requests["r"].waiting == first + second + third


def test_a_whole_resend_completes_a_stream_that_broke_off(redis_client: Redis) -> None:
    """A caller that died in the middle may send everything again."""
    queue = queue_on(redis_client)
    queue.add_chunk(NewRequest("r", "s"), ["a", "b"], Chunk(is_last=False))
    assert queue.enqueue(NewRequest("r", "s"), ["a", "b", "c"]) == (State.QUEUED, True, 3, "")
    check_invariants(queue, {"r": {"a", "b", "c"}})


@pytest.mark.parametrize("how", ["whole", "as a stream"])
def test_what_a_broken_stream_left_is_not_deleted_with_another(redis_client: Redis, how: str) -> None:
    """Nothing beyond what was asked: who sends a corrected list under the same id gets that list, and no more."""
    queue = queue_on(redis_client)
    queue.add_chunk(NewRequest("r", "a", reason="first try"), ids("old", 7), Chunk(is_last=False, stream="1"))
    if how == "whole":
        reply = queue.enqueue(NewRequest("r", "b"), ["x", "y"])
    else:
        queue.add_chunk(NewRequest("r", "b"), ["x"], Chunk(is_last=False, stream="2"))
        reply = queue.add_chunk(NewRequest("r", "b"), ["y"], Chunk(is_first=False, stream="2"))
    assert (reply.state, reply.is_new, reply.total) == (State.QUEUED, True, 2)
    picture = check_invariants(queue, {"r": {"x", "y"}})
    assert picture.requests["r"].source == "b"
    assert "reason" not in picture.requests["r"].about
    assert raw(queue).hgetall(queue.keys("waiting")) == {"b": "2"}
    late = queue.add_chunk(NewRequest("r", "a"), ["old8"], Chunk(is_first=False, stream="1"))
    assert (late.state, late.is_new, late.total) == (State.QUEUED, False, 2)


def test_of_two_streams_at_once_the_first_to_end_makes_the_request(redis_client: Redis) -> None:
    """As when a message was delivered twice: the other caller sees that the request exists."""
    queue = queue_on(redis_client)
    for stream in ("1", "2"):
        queue.add_chunk(NewRequest("r", "s"), ["a", "b"], Chunk(is_last=False, stream=stream))
    assert queue.add_chunk(NewRequest("r", "s"), ["c"], Chunk(is_first=False, stream="2")).is_new
    assert not queue.add_chunk(NewRequest("r", "s"), ["c"], Chunk(is_first=False, stream="1")).is_new
    check_invariants(queue, {"r": {"a", "b", "c"}})


def test_cancelling_an_unsealed_request_leaves_nothing(redis_client: Redis) -> None:
    """Also of several streams."""
    queue = queue_on(redis_client)
    for stream in ("1", "2"):
        queue.add_chunk(NewRequest("r", "s"), ["a", "b"], Chunk(is_last=False, stream=stream))
    queue.cancel("r")
    assert raw(queue).keys("*request*") == []


def test_an_unpublished_request_is_published_by_a_worker(redis_client: Redis) -> None:
    """Its producer may die between the seal and the publication."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s", hold_seconds=3600), ["a"])
    assert raw(queue).smembers(queue.keys("changed")) == {"r"}


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_the_tail_of_a_vanished_request_is_refused(redis_client: Redis, how: str) -> None:
    """All or nothing: when earlier chunks are gone, later ones do not make a request."""
    queue = queue_on(redis_client)

    def stream() -> list[str]:
        return ids("a", CHUNK_IDS)

    queue.add_chunk(NewRequest("r", "s"), stream(), Chunk(is_last=False))
    if how == "cancelled":
        queue.cancel("r")
    else:
        raw(queue).delete(*unsealed_keys(queue))
    with pytest.raises(RequestVanished):
        queue.add_chunk(NewRequest("r", "s"), ["z"], Chunk(is_first=False))
    assert not raw(queue).exists(queue.keys.request("r"))
    assert queue.claim("t") is None


def test_an_empty_request_leaves_nothing_behind(redis_client: Redis) -> None:
    """Nothing is accepted of a request without ids."""
    queue = queue_on(redis_client)
    assert not queue.enqueue(NewRequest("r", "s"), []).is_new
    assert not raw(queue).exists(queue.keys.request("r"))


def test_a_hold_keeps_a_request_back_until_it_ends(redis_client: Redis) -> None:
    """A held request counts as waiting, is not claimed, and is claimed as usual after its hold."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s", hold_seconds=3600), ["a"])
    check_invariants(queue, {"r": {"a"}})
    assert queue.peek(10).claimable == 0
    left_ms = raw(queue).zscore(queue.keys("holds"), "r") - queue.now_ms()
    assert 3_500_000 < left_ms <= 3_600_000
    assert queue.claim("t") is None
    release_holds(queue)
    assert files_of(must_claim(queue, "t").items) == ["a"]
    check_invariants(queue, {"r": {"a"}})


def test_a_released_request_keeps_its_place_in_the_line(redis_client: Redis) -> None:
    """Requests of a source are served in the order of their coming, a hold notwithstanding."""
    queue = queue_on(redis_client, batch_size=1)
    queue.enqueue(NewRequest("first", "s", hold_seconds=60), ["a"])
    queue.enqueue(NewRequest("second", "s"), ["b"])
    release_holds(queue)
    assert files_of(must_claim(queue, "t").items) == ["a"]


def test_a_first_result_is_written_only_by_the_call_that_seals(redis_client: Redis) -> None:
    """The first report goes where callers poll in the same step; a resend does not write it again."""
    queue = queue_on(redis_client)
    queue.enqueue_many([(NewRequest("r", "s"), ["a"])], ["queued"])
    assert raw(queue).get(queue.keys.result("r")) == "queued"
    queue.enqueue_many([(NewRequest("r", "s"), ["a"])], ["again"])
    assert raw(queue).get(queue.keys.result("r")) == "queued"


def test_accounts_are_separate(redis_client: Redis) -> None:
    """Two accounts on one server see nothing of each other."""
    one, two = queue_on(redis_client, account="one"), queue_on(redis_client, account="two")
    one.enqueue(NewRequest("r", "s"), ["a"])
    assert two.claim("t") is None
    two.enqueue(NewRequest("r", "s"), ["b"])
    assert take_picture(one, ["r"]).requests["r"].waiting == ["a"]
    assert all(key.startswith("{kitsweep:") for key in raw(one).keys("*"))
