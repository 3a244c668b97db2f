"""Builds queues for tests, moves their time, and checks the invariants of all keys.

Time never passes by sleeping: due times are moved in Redis, as if the clock had advanced.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from config.settings import Settings, load_settings
from worker.queue.claims import Claim, Item, end
from worker.queue.operations import Queue
from worker.states import FINAL_STATES, Outcome, State

LONG_AGO_MS = 1
"""A moment that is past on any clock."""
LONGEST_DELAY_MS = 120_000
"""More than any delay of a parked group."""
FIXED_KEYS = frozenset({"format", "sequence", "totals", "metrics", "account", "audit", "ended", "unfinished"})
"""Keys of fixed size that stay when all is done; streams are empty, or cut by the age of their entries."""


def settings_for_tests(**overrides: Any) -> Settings:
    """Return settings without a rate limit, so that only what a test sets up delays calls."""
    return load_settings(**{"rate_limits": (), "private_key": "private_test", **overrides})


def queue_on(client: Redis, **overrides: Any) -> Queue:
    """Return a queue on a client; `overrides` are settings."""
    return Queue(client, settings_for_tests(**overrides))


def ids(prefix: str, count: int) -> list[str]:
    """Return `count` file ids in order."""
    return [f"{prefix}{number:05d}" for number in range(count)]


def raw(queue: Queue) -> Any:
    """Return the Redis client without the types of its answers, which depend on how it was built."""
    return queue.redis


def must_claim(queue: Queue, token: str, fewest: int = 1) -> Claim:
    """Claim, and fail if there is nothing to claim."""
    claim = queue.claim(token, fewest)
    assert claim is not None, "there was nothing to claim"
    return claim


def files_of(items: Iterable[Item]) -> list[str]:
    """Return the file ids of items."""
    return [item.file_id for item in items]


def end_all(queue: Queue, claim: Claim, outcome: Outcome = Outcome.DELETED, error: str = "") -> list[str]:
    """Settle a whole claim with one outcome; return the requests that are final now."""
    return queue.settle(claim.token, end(claim.items, outcome, error))


def run_out(queue: Queue, token: str) -> None:
    """Let the lease of a claim expire, as if its worker had died."""
    assert raw(queue).exists(queue.keys.lease(token))
    raw(queue).zadd(queue.keys("leases"), {token: LONG_AGO_MS})


def make_groups_due(queue: Queue) -> None:
    """Let the delay of all parked groups pass; their order stays."""
    client = raw(queue)
    for token in client.smembers(queue.keys("parked")):
        client.zincrby(queue.keys("leases"), -LONGEST_DELAY_MS, token)


def make_retries_due(queue: Queue) -> None:
    """Let the delay of all retries pass."""
    client = raw(queue)
    for key in client.keys(queue.keys.request("*", "retries").replace("{", r"\{").replace("}", r"\}")):
        client.zadd(key, dict.fromkeys(client.zrange(key, 0, -1), LONG_AGO_MS))
    for request in client.zrange(queue.keys("retries"), 0, -1):
        client.zadd(queue.keys("retries"), {request: LONG_AGO_MS})


def release_holds(queue: Queue) -> None:
    """Let all holds end."""
    for request in raw(queue).zrange(queue.keys("holds"), 0, -1):
        raw(queue).zadd(queue.keys("holds"), {request: LONG_AGO_MS})


def waiting_ids(queue: Queue, request: str) -> list[str]:
    """Return the ids of a request that no claim has taken yet, wherever they are stored."""
    client = raw(queue)
    in_hash: str = client.hget(queue.keys.request(request), "ids") or ""
    return in_hash.split() + [str(file) for file in client.lrange(queue.keys.request(request, "waiting"), 0, -1)]


def line_of(queue: Queue, source: str) -> list[str]:
    """Return the requests in a source's line: those that came back, and the new ones."""
    back: list[str] = raw(queue).zrange(queue.keys.line(source), 0, -1)
    unfinished = {
        entry.partition("-")[0]: fields["request"] for entry, fields in raw(queue).xrange(queue.keys("unfinished"))
    }
    fresh = raw(queue).lrange(queue.keys.fresh(source), 0, -1)
    return back + [unfinished.get(sequence, "a request that is final") for sequence in fresh]


@dataclass
class Seen:
    """Where every id of one request is."""

    source: str
    state: State
    about: dict[str, str]
    waiting: list[str]
    retries: list[str]
    in_flight: list[str]
    parked: list[str]
    ended: list[tuple[str, Outcome]]

    @property
    def everywhere(self) -> list[str]:
        """All ids, in all places."""
        return self.waiting + self.retries + self.in_flight + self.parked + [file for file, _ in self.ended]


@dataclass
class Picture:
    """All of an account's queue at one moment."""

    requests: dict[str, Seen] = field(default_factory=dict)
    leases: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Token → (request, file id)."""
    tokens_in_flight: set[str] = field(default_factory=set)

    def outcomes(self) -> dict[tuple[str, str], Outcome]:
        """Return how each item that has ended did."""
        return {(name, file): how for name, seen in self.requests.items() for file, how in seen.ended}


def take_picture(queue: Queue, requests: Iterable[str]) -> Picture:
    """Read all keys of some sealed requests, and all leases."""
    client, picture = raw(queue), Picture()
    prefix = queue.keys.lease("")
    parked = client.smembers(queue.keys("parked"))
    for key in client.keys(f"{prefix}*".replace("{", r"\{").replace("}", r"\}")):
        fields = client.hgetall(key)
        token = key.removeprefix(prefix)
        runs = json.loads(fields["items"])
        picture.leases[token] = [(request, file) for request, _, _, files in runs for file in files]
        if token not in parked:
            picture.tokens_in_flight.add(token)
    for request in requests:
        picture.requests[request] = _see(queue, request, picture)
    return picture


def _see(queue: Queue, request: str, picture: Picture) -> Seen:
    client = raw(queue)
    about = client.hgetall(queue.keys.request(request))
    ended = [
        (file, outcome)
        for outcome in Outcome
        for group in client.lrange(queue.keys.request(request, outcome), 0, -1)
        for file in json.loads(group)[3:]
    ]
    withdrawn = client.lrange(queue.keys.request(request, "withdrawn"), 0, -1)
    leased: dict[bool, list[str]] = {True: [], False: []}
    for token, items in picture.leases.items():
        leased[token in picture.tokens_in_flight] += [file for owner, file in items if owner == request]
    retries = client.zrange(queue.keys.request(request, "retries"), 0, -1)
    assert sorted(retries) == sorted(client.hkeys(queue.keys.request(request, "tried")))
    return Seen(
        source=about["source"],
        state=State(about["state"]),
        about=about,
        waiting=waiting_ids(queue, request),
        retries=retries,
        in_flight=leased[True],
        parked=leased[False],
        ended=ended + [(file, Outcome.CANCELLED) for file in withdrawn],
    )


def check_invariants(queue: Queue, expected: Mapping[str, set[str]]) -> Picture:
    """Read all keys and check what must hold at any moment; `expected` has the ids of every sealed request."""
    picture = take_picture(queue, expected)
    for request, seen in picture.requests.items():
        _check_request(queue, request, seen, expected[request])
    _check_streams(queue, picture)
    _check_leases(queue, picture)
    _check_counters(queue, picture)
    _check_lines(queue, picture)
    return picture


def _check_request(queue: Queue, request: str, seen: Seen, expected: set[str]) -> None:
    """No id is lost, none is in two places, the counts add up, and the state says what is."""
    places = Counter(seen.everywhere)
    assert set(places) == expected, f"{request}: ids were lost or came from nowhere"
    assert max(places.values()) == 1, f"{request}: an id is in two places"
    about = seen.about
    assert int(about["total"]) == len(expected)
    assert int(about.get("in_flight", 0)) == len(seen.in_flight)
    by_outcome = Counter(outcome for _, outcome in seen.ended)
    assert {outcome: int(about.get(outcome, 0)) for outcome in Outcome} == {
        outcome: by_outcome[outcome] for outcome in Outcome
    }
    assert (seen.state in FINAL_STATES) == (len(seen.ended) == len(expected))
    if seen.state in FINAL_STATES:
        _check_final(queue, request, seen, by_outcome)


def _check_final(queue: Queue, request: str, seen: Seen, by_outcome: Counter[Outcome]) -> None:
    wanted = State.SUCCESS
    if by_outcome[Outcome.CANCELLED]:
        wanted = State.REVOKED
    elif by_outcome[Outcome.FAILED]:
        wanted = State.FAILURE
    assert seen.state is wanted
    pattern = queue.keys.request(request, "*").replace("{", r"\{").replace("}", r"\}")
    for key in raw(queue).keys(pattern):
        assert raw(queue).pttl(key) > 0, f"{key} never expires"


def _check_streams(queue: Queue, picture: Picture) -> None:
    """One stream names the requests that are not final, in their order, another those that did not succeed."""

    def named_by(stream: str) -> list[str]:
        return [fields["request"] for _, fields in raw(queue).xrange(queue.keys(stream))]

    states = {name: seen.state for name, seen in picture.requests.items()}
    unfinished = {name: int(picture.requests[name].about["sequence"]) for name in states if not states[name].is_final}
    assert named_by("unfinished") == sorted(unfinished, key=lambda name: unfinished[name])
    assert sorted(named_by("unsuccessful")) == sorted(
        name for name, state in states.items() if state in (State.FAILURE, State.REVOKED)
    )


def _check_leases(queue: Queue, picture: Picture) -> None:
    """A file id is in one lease at most, and the index of leased ids says which."""
    client = raw(queue)
    where = [(file, token) for token, items in picture.leases.items() for _, file in items]
    assert len(where) == len({file for file, _ in where}), "a file id is claimed twice"
    assert client.hgetall(queue.keys("leased")) == dict(where)
    assert set(client.zrange(queue.keys("leases"), 0, -1)) == set(picture.leases)
    assert all(picture.leases.values()), "an empty lease was left behind"


def _check_counters(queue: Queue, picture: Picture) -> None:
    """The counters of each source are what is really there; no field is left at zero."""
    waiting: Counter[str] = Counter()
    in_flight: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    retrying: Counter[str] = Counter()
    on_hold: Counter[str] = Counter()
    client, keys = raw(queue), queue.keys
    holds = {*client.zrange(keys("holds"), 0, -1), *client.zrange(keys("approvals"), 0, -1)}
    for request, seen in picture.requests.items():
        retrying[seen.source] += len(seen.retries)
        on_hold[seen.source] += len(seen.waiting) if request in holds else 0
        waiting[seen.source] += len(seen.waiting) + len(seen.retries) + len(seen.parked)
        in_flight[seen.source] += len(seen.in_flight)
        ended.update(outcome.value for _, outcome in seen.ended)
    counters = {"waiting": waiting, "in_flight": in_flight, "totals": ended, "retrying": retrying, "on_hold": on_hold}
    for name, counter in counters.items():
        stored = {key: int(value) for key, value in client.hgetall(keys(name)).items()}
        assert stored == {key: value for key, value in counter.items() if value}, name
    assert client.smembers(keys("parked")) == set(picture.leases) - picture.tokens_in_flight


def _check_lines(queue: Queue, picture: Picture) -> None:
    """What can be claimed is in its source's line, or waits where its time will bring it there."""
    client = raw(queue)
    sources = set(client.zrange(queue.keys("sources"), 0, -1))
    holds = {name for key in ("holds", "approvals") for name in client.zrange(queue.keys(key), 0, -1)}
    retrying = dict(client.zrange(queue.keys("retries"), 0, -1, withscores=True))
    for request, seen in picture.requests.items():
        in_line = request in line_of(queue, seen.source)
        if seen.waiting:
            assert in_line != (request in holds), f"{request} waits nowhere, or in two places"
        if seen.retries and not in_line:
            first = client.zrange(queue.keys.request(request, "retries"), 0, 0, withscores=True)[0][1]
            assert retrying.get(request, float("inf")) <= first, f"a retry of {request} is forgotten"
    for source in {seen.source for seen in picture.requests.values()}:
        assert (source in sources) == bool(line_of(queue, source)), f"{source} is not served"
