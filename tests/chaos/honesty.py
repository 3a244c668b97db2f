"""What must hold after any attack: the simulator's ledger on one side, every report and outcome on the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tests.chaos.processes import wait_until
from tests.chaos.rig import Rig
from worker.errors import UnknownRequest
from worker.states import Outcome, State

GONE = {Outcome.DELETED, Outcome.PRESUMED_DELETED}
ABSENT = {Outcome.NOT_FOUND, Outcome.PRESUMED_DELETED}
COUNTS = ("waiting", "in_flight", *(outcome.value for outcome in Outcome))


def await_final(rig: Rig, request_ids: Collection[str], seconds: float) -> None:
    """Wait until every request is final and its result is where Celery's callers look."""
    left = set(request_ids)

    def all_final() -> bool:
        for request_id in list(left):
            result = rig.celery.AsyncResult(request_id)
            if State.SUCCESS != result.state != State.FAILURE:
                return False
            left.discard(request_id)
        return True

    wait_until(all_final, seconds, f"all of {len(request_ids)} requests are final and published")


def state_of(rig: Rig, request_id: str) -> str:
    """The request's state; empty when it is not known."""
    try:
        return rig.client.status(request_id)["state"]
    except UnknownRequest:
        return ""


def check_honest(
    rig: Rig, asked: Mapping[str, Sequence[str]], *, never: Collection[str] = (), failed: Collection[str] = ()
) -> Counter[str]:
    """Check every invariant over requests that have ended; returns how many items ended in which outcome.

    `never` are ids that never existed, `failed` those that must have failed; all others must be gone.
    """
    never, failed = set(never), set(failed)
    ended: Counter[str] = Counter()
    for request_id, ids in asked.items():
        wanted = dict.fromkeys(ids)
        report = rig.client.status(request_id)
        assert report["total"] == len(wanted), report
        assert sum(report[name] for name in COUNTS) == report["total"], report  # type: ignore[literal-required]
        assert report["state"] == (State.FAILURE if failed & set(wanted) else State.SUCCESS), report
        published = rig.celery.AsyncResult(request_id)
        assert published.state == report["state"]
        outcomes = list(rig.client.outcomes(request_id))
        assert sorted(each.file_id for each in outcomes) == sorted(wanted), "each id has one outcome"
        for each in outcomes:
            ended[each.outcome.value] += 1
            assert _is_honest(each.file_id, each.outcome, never, failed), each
    _check_calls(rig, failed)
    check_nothing_left(rig)
    return ended


def _is_honest(file_id: str, outcome: Outcome, never: set[str], failed: set[str]) -> bool:
    if file_id in failed:
        return outcome is Outcome.FAILED
    return outcome in (ABSENT if file_id in never else GONE)


def _check_calls(rig: Rig, failed: set[str]) -> None:
    """Every file is gone exactly once, and no call broke the vendor's rules."""
    stats = rig.sim.stats()
    assert set(rig.sim.remaining()) <= failed
    assert stats["ids_deleted_twice"] == 0
    assert stats["largest_call"] <= 100
    assert stats["calls_with_duplicates"] == 0


def check_nothing_left(rig: Rig) -> None:
    """No counter, lease or line is left once all requests are final."""
    keys, redis = rig.keys, rig.redis
    for name in ("waiting", "in_flight", "leased"):
        assert redis.hgetall(keys(name)) == {}, name
    for name in ("sources", "retries", "holds", "leases", "outbox"):
        assert redis.zrange(keys(name), 0, -1) == [], name
    for part in ("waiting", "incoming", "seen", "retries", "tried"):
        assert list(redis.scan_iter(keys.request("*", part))) == [], part
    assert list(redis.scan_iter(keys.lease("*"))) == []
