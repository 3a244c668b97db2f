"""The ledger: which calls were made and what they did, for tests to check."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from simulator.json_value import Json

MAX_IDS_PER_CALL = 100


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API.

    `at`: when it arrived, seconds since 1970. `endpoint`: the operation. `status`: of the response, None if a fault
    sent no complete one. `ids`, `deleted`: the ids that it sent and that it deleted, empty unless the ledger keeps ids;
    `id_count`, `deleted_count`: how many. `fault`: the kind that hit it. `detail`: the query of a list call, or the URL
    of a purge.
    """

    at: float
    endpoint: str
    status: int | None
    ids: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    id_count: int = 0
    deleted_count: int = 0
    fault: str | None = None
    request_id: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Json]:
        """Return the call as the control endpoint shows it."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, fields: dict[str, Json]) -> "Call":
        """Build a call from the result of `as_json`."""
        return cls(**{**fields, "ids": tuple(fields["ids"]), "deleted": tuple(fields["deleted"])})


class Ledger:
    """Counters of all calls, and the last `keep_calls` calls, with their ids if `keep_ids`."""

    def __init__(self, keep_calls: int, *, keep_ids: bool) -> None:
        self.calls: deque[Call] = deque(maxlen=keep_calls)
        self.keep_ids = keep_ids
        self.statuses: Counter[tuple[str, int | None]] = Counter()
        self.deleted: dict[str, float] = {}
        self.deletions = 0
        self.ids_sent = 0
        self.ids_sent_again = 0
        self.ids_deleted_twice = 0
        self.largest_call = 0
        self.calls_with_duplicates = 0
        self.full_calls = 0
        self.first_call_at: float | None = None
        self.last_call_at: float | None = None

    def add(self, call: Call) -> None:
        """Add a call."""
        self.statuses[call.endpoint, call.status] += 1
        if self.first_call_at is None:
            self.first_call_at = call.at
        self.last_call_at = call.at
        self.calls.append(call)

    def count_ids(self, ids: Sequence[str]) -> None:
        """Count the ids of a bulk call with a valid body, whatever its result."""
        size = len(ids)
        self.ids_sent += size
        self.largest_call = max(size, self.largest_call)
        self.full_calls += size == MAX_IDS_PER_CALL
        self.calls_with_duplicates += len(set(ids)) != size

    def count_deleted(self, ids: Sequence[str], at: float) -> None:
        """Count deleted files."""
        before = len(self.deleted)
        self.deleted.update(dict.fromkeys(ids, at))
        self.deletions += len(ids)
        self.ids_deleted_twice += len(ids) - (len(self.deleted) - before)

    def count_missing(self, ids: Iterable[str]) -> None:
        """Count the ids that do not exist and that an earlier call has deleted."""
        self.ids_sent_again += sum(file_id in self.deleted for file_id in ids)

    def forget_deleted(self, ids: Iterable[str]) -> None:
        """Allow ids to be deleted again: files with these ids were added again."""
        for file_id in ids if self.deleted else ():
            self.deleted.pop(file_id, None)

    def of_endpoint(self, endpoint: str | None) -> Iterator[Call]:
        """Return the calls that are kept, oldest first, all or those of one endpoint."""
        return (call for call in self.calls if endpoint in {None, call.endpoint})

    def busiest(self, endpoint: str, interval_ms: float) -> int:
        """Return the most calls in any interval of this length, without those answered 429."""
        recent: deque[float] = deque()
        most = 0
        for at in sorted(call.at for call in self.of_endpoint(endpoint) if call.status != 429):
            recent.append(at)
            while at - recent[0] >= interval_ms / 1000:
                recent.popleft()
            most = max(most, len(recent))
        return most

    def violations(self) -> list[str]:
        """Describe calls that a correct client never makes; empty if there were none."""
        found = {
            f"a call with {self.largest_call} ids": self.largest_call > MAX_IDS_PER_CALL,
            f"{self.calls_with_duplicates} calls with an id twice": self.calls_with_duplicates,
            f"{self.ids_deleted_twice} ids deleted twice": self.ids_deleted_twice,
        }
        return [words for words, broken in found.items() if broken]
