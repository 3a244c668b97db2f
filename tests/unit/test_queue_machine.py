"""The queue under any sequence of operations: hypothesis looks for one that loses, doubles or starves an id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import fakeredis
import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from tests.unit.support_queue import (
    FIXED_KEYS,
    LONG_AGO_MS,
    Picture,
    check_invariants,
    make_retries_due,
    queue_on,
    raw,
    release_holds,
    run_out,
    settings_for_tests,
    take_picture,
)
from worker.limiter.slots import Limiter
from worker.queue.approvals import Approvals
from worker.queue.claims import Claim, Item, Settlements, end, park, retry
from worker.queue.operations import Chunk, NewRequest, Queue
from worker.states import Doubt, Outcome

SOURCES = ("alpha", "beta", "gamma")
POOL = [f"{number:02d}-of-few-files" for number in range(14)]
"""Few file ids, so that several requests ask for the same one. Up to four of them fit into a request's hash."""
SIZE = 5
GUARDED = 3
"""Ids that a request of the source gamma may have without approval."""
ENDINGS = {outcome.value: outcome for outcome in (Outcome.DELETED, Outcome.NOT_FOUND, Outcome.FAILED)}
SETTLEMENTS = (*ENDINGS, "retry", "retry doubtful", "park", "park doubtful", "park suspect", "nothing")
FOR_EVER = FIXED_KEYS | {"unsuccessful", "source:gamma:sizes"}

some_files = st.lists(st.sampled_from(POOL), min_size=1, max_size=9)
some_settlements = st.lists(st.sampled_from(SETTLEMENTS), min_size=1, max_size=SIZE)
number = st.integers(0, 10**6)


def make_groups_due(queue: Queue) -> None:
    """Let all parked groups become due at one moment: their order must not depend on how fast the steps ran."""
    client = raw(queue)
    for token in client.smembers(queue.keys("parked")):
        client.zadd(queue.keys("leases"), {token: LONG_AGO_MS})


class QueueMachine(RuleBasedStateMachine):
    """Producers, workers that may die, cancellations, pauses and the passing of time, in any order."""

    def __init__(self, client: Redis) -> None:
        super().__init__()
        raw_client: Any = client
        raw_client.flushdb()
        self.queue = queue_on(client, batch_size=SIZE, guards={"gamma": {"max_files": GUARDED}})
        self.approvals = Approvals(self.queue)
        self.limiter = Limiter(client, settings_for_tests())
        self.expected: dict[str, set[str]] = {}
        self.unsealed: dict[str, set[str]] = {}
        self.sources: dict[str, str] = {}
        self.claims: list[Claim] = []
        self.ended: dict[tuple[str, str], Outcome] = {}
        self.gone: set[str] = set()
        self.touched: set[str] = set()
        self.left_out: Counter[str] = Counter()
        self.made = 0

    def new_name(self, kind: str) -> str:
        self.made += 1
        return f"{kind}{self.made:03d}"

    # Producers --------------------------------------------------------------------------------------------------

    @initialize(first=some_files, second=some_files)
    def start_with_work(self, first: list[str], second: list[str]) -> None:
        self.produce("alpha", first, "now")
        self.produce("beta", second, "now")

    @rule(source=st.sampled_from(SOURCES), files=some_files, how=st.sampled_from(["now", "now", "held", "in parts"]))
    def produce(self, source: str, files: list[str], how: str) -> None:
        request = self.new_name("r")
        self.sources[request] = source
        if how == "in parts":
            self.queue.add_chunk(NewRequest(request, source), files, Chunk(is_last=False))
            self.unsealed[request] = set(files)
            return
        reply = self.queue.enqueue(NewRequest(request, source, hold_seconds=3600 if how == "held" else 0), files)
        assert reply.is_new
        assert reply.total == len(set(files))
        self.expected[request] = set(files)

    @rule(which=number, files=some_files)
    def send_again_or_seal(self, which: int, files: list[str]) -> None:
        request = sorted(self.sources)[which % len(self.sources)]
        reply = self.queue.add_chunk(NewRequest(request, self.sources[request]), files, Chunk(is_first=False))
        unsealed = request in self.unsealed
        assert reply.is_new == unsealed
        if unsealed:
            self.expected[request] = self.unsealed.pop(request) | set(files)
        assert reply.total == len(self.expected[request])

    @precondition(lambda self: self.expected)
    @rule(which=number)
    def cancel(self, which: int) -> None:
        request = sorted(self.expected)[which % len(self.expected)]
        before = self.picture().requests[request]
        reply = self.queue.cancel(request)
        assert reply is not None
        went = len(before.waiting) + len(before.retries) + len(before.parked)
        assert reply[1] == (0 if before.state.is_final else went)
        assert reply[0].is_final == (not before.in_flight)

    @precondition(lambda self: self.approvals.waiting())
    @rule(which=number, wanted=st.booleans())
    def decide(self, which: int, wanted: bool) -> None:
        waiting = self.approvals.waiting()
        request = waiting[which % len(waiting)].request_id
        if wanted:
            assert self.approvals.approve(request, "somebody") == "approved"
        else:
            assert self.approvals.reject(request, "somebody") == "rejected"

    # Workers ----------------------------------------------------------------------------------------------------

    @rule(fewest=st.sampled_from([1, 1, 1, SIZE]))
    def claim(self, fewest: int) -> None:
        token = self.new_name("t")
        before = self.picture()
        claim = self.queue.claim(token, fewest)
        for lost in before.tokens_in_flight - self.picture().tokens_in_flight:
            self.touched |= {file for _, file in before.leases[lost]}
        if claim is not None:
            self.claims.append(claim)
            self.check_claim(claim, before)
            again = self.queue.claim(token)
            assert again is not None
            assert sorted(again.items) == sorted(claim.items), "the same token gives the same claim"
        if fewest == 1:
            self.check_shares(before, claim.items if claim else [])

    def check_claim(self, claim: Claim, before: Picture) -> None:
        """A claim holds at most a batch, no file twice, no suspect with others, and what is known of each file."""
        files = [item.file_id for item in claim.items]
        assert 0 < len(files) <= SIZE
        assert len(set(files)) == len(files)
        for item in claim.items:
            assert item.request_id in self.expected, "an unsealed request was claimed"
            wanted = Doubt.UNANSWERED if item.file_id in self.touched else Doubt.NONE
            assert item.doubt is (Doubt.GONE if item.file_id in self.gone else wanted)
        if claim.suspect:
            assert {(item.request_id, item.file_id) for item in claim.items} <= {
                item for token, items in before.leases.items() for item in items
            }

    def check_shares(self, before: Picture, items: list[Item]) -> None:
        """A source with ids that are in no other request is left out of at most one claim in a row."""
        wanted = Counter(
            file
            for seen in before.requests.values()
            for file in seen.waiting + seen.retries + seen.in_flight + seen.parked
        )
        free = self.claimable(before)
        served = {self.sources[item.request_id] for item in items}
        for source in SOURCES:
            files = [file for owner, file in free if owner == source]
            if source in served or not files or any(wanted[file] > 1 for file in files):
                self.left_out[source] = 0
            else:
                self.left_out[source] += 1
                assert self.left_out[source] <= 1, f"{source} starves"

    def claimable(self, before: Picture) -> list[tuple[str, str]]:
        """Return pairs of source and file id that wait without any reason to wait."""
        client, keys = raw(self.queue), self.queue.keys
        holds = {*client.zrange(keys("holds"), 0, -1), *client.zrange(keys("approvals"), 0, -1)}
        return [
            (seen.source, file)
            for request, seen in before.requests.items()
            if request not in holds
            for file in seen.waiting
        ]

    @rule(plan=some_settlements)
    def claim_and_settle(self, plan: list[str]) -> None:
        self.claim(1)
        if self.claims:
            self.settle(len(self.claims) - 1, plan, twice=False)

    @precondition(lambda self: self.claims)
    @rule(which=number, plan=some_settlements, twice=st.booleans())
    def settle(self, which: int, plan: list[str], twice: bool) -> None:
        claim = self.claims[which % len(self.claims)]
        before = self.picture()
        self.note_ended(before)  # A claim in the same step may have ended items of cancelled requests.
        mine = set(before.leases.get(claim.token, [])) if claim.token in before.tokens_in_flight else set()
        settlements, wanted = self.settlements_of(claim, plan)
        self.queue.settle(claim.token, settlements)
        if twice:
            self.queue.settle(claim.token, settlements)
        outcomes = self.picture().outcomes()
        for item, word in wanted:
            self.check_settled(item, word, outcomes, held=(item.request_id, item.file_id) in mine)

    def settlements_of(self, claim: Claim, plan: list[str]) -> tuple[Settlements, list[tuple[Item, str]]]:
        """Return settlements that deal the plan's words out to the items in turn."""
        settlements = Settlements()
        wanted = [(item, plan[place % len(plan)]) for place, item in enumerate(claim.items)]
        for item, word in wanted:
            doubt = Doubt.UNANSWERED if "doubtful" in word else Doubt.NONE
            if word in ENDINGS:
                settlements += end([item], ENDINGS[word])
            elif word.startswith("retry"):
                settlements += retry([item], 60_000, doubt)
        for word in ("park", "park doubtful", "park suspect"):
            doubt = Doubt.UNANSWERED if "doubtful" in word else Doubt.NONE
            group = [item for item, said in wanted if said == word]
            settlements += park(group, delay_ms=60_000, suspect="suspect" in word, doubt=doubt)
        return settlements, wanted

    def check_settled(self, item: Item, word: str, outcomes: dict[tuple[str, str], Outcome], *, held: bool) -> None:
        """The holder's word counts; of one who lost the claim only a definite "deleted" does."""
        key = (item.request_id, item.file_id)
        if word == Outcome.DELETED:
            self.gone.add(item.file_id)
            assert outcomes[key] is self.ended.get(key, Outcome.DELETED)
        elif held and word in ENDINGS:
            assert outcomes[key] is ENDINGS[word]
        elif held and word != "nothing":
            revoked = "revoked" in self.picture().requests[item.request_id].about
            assert outcomes.get(key) is (Outcome.CANCELLED if revoked else None)
            if "doubtful" in word:
                self.touched.add(item.file_id)
        else:
            assert outcomes.get(key) is self.ended.get(key)

    @precondition(lambda self: self.claims)
    @rule(which=number)
    def die(self, which: int) -> None:
        token = self.claims[which % len(self.claims)].token
        if token in self.picture().tokens_in_flight:
            run_out(self.queue, token)

    # Time and operators -----------------------------------------------------------------------------------------

    @rule(what=st.sampled_from([make_groups_due, make_retries_due, release_holds]))
    def let_pass(self, what: Callable[[Queue], None]) -> None:
        what(self.queue)

    @rule()
    def look_and_renew(self) -> None:
        before = self.picture()
        work = self.queue.peek(1000)
        assert work.claimable >= len(self.claimable(before))
        assert work.groups <= len(before.leases)
        assert self.queue.renew([claim.token for claim in self.claims] or ["none"]) == len(before.tokens_in_flight)

    @rule()
    def pause_and_resume(self) -> None:
        call = self.new_name("c")
        self.limiter.pause("a test")
        assert not self.limiter.acquire(call, 0).granted
        self.limiter.resume()
        assert self.limiter.acquire(call, 0).granted

    # What must hold ---------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        return take_picture(self.queue, self.expected)

    @invariant()
    def nothing_is_lost_doubled_or_miscounted(self) -> None:
        self.note_ended(check_invariants(self.queue, self.expected))

    def note_ended(self, picture: Picture) -> None:
        outcomes = picture.outcomes()
        assert self.ended.items() <= outcomes.items(), "what has ended never changes"
        self.ended = outcomes

    def teardown(self) -> None:
        """All work can be brought to its end, in few claims, and then nothing is left behind that grows."""
        for claim in self.claims:
            self.delete_all(claim)
        left = self.picture()
        items = sum(len(files) for files in self.expected.values()) - len(left.outcomes())
        for held in self.approvals.waiting():
            self.approvals.approve(held.request_id, "somebody")
        for _ in range(items + len(self.expected) + 1):
            for let_pass in (make_groups_due, make_retries_due, release_holds):
                let_pass(self.queue)
            if found := self.queue.claim(self.new_name("t")):
                self.delete_all(found)
        self.nothing_is_lost_doubled_or_miscounted()
        assert all(seen.state.is_final for seen in self.picture().requests.values()), "some work never ends"
        self.check_leftovers()

    def delete_all(self, claim: Claim) -> None:
        self.queue.settle(claim.token, end(claim.items, Outcome.DELETED))

    def check_leftovers(self) -> None:
        """Every key expires but those of fixed size, and the outbox, which its reader empties."""
        client, prefix = raw(self.queue), self.queue.keys.prefix
        client.delete(self.queue.keys("outbox"))
        for key in client.keys("*"):
            name = key.removeprefix(prefix)
            assert client.pttl(key) > 0 or name in FOR_EVER, f"{name} never expires"


def test_no_sequence_of_operations_breaks_the_queue(redis_client: Redis) -> None:
    """Counts add up, no id is lost, claimed twice or settled twice, and no source starves, whatever happens."""
    is_fake = isinstance(redis_client, fakeredis.FakeRedis)

    class OnThisServer(QueueMachine):
        def __init__(self) -> None:
            super().__init__(redis_client)

    run_state_machine_as_test(
        OnThisServer,
        settings=settings(
            max_examples=20 if is_fake else 30,
            stateful_step_count=20 if is_fake else 30,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
