"""The methods that control a simulator, the same from this process and from another."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypedDict

from simulator.faults import Fault
from simulator.json_value import Json
from simulator.ledger import Call
from simulator.limits import RateWindow

RateWindowForm = str | RateWindow | tuple[int, int]
_POLL_SECONDS = 0.01


class Counters(TypedDict):
    """Counts since the start. `statuses`: by operation and status ("None": a fault sent no complete response)."""

    calls: int
    statuses: dict[str, dict[str, int]]
    throttled: int
    faults: dict[str, int]
    files: int
    added: int
    deleted: int
    taken_away: int
    ids_sent: int
    ids_sent_again: int
    ids_deleted_twice: int
    largest_call: int
    full_calls: int
    calls_with_duplicates: int
    in_flight: int
    max_in_flight: int
    first_call_at: float | None
    last_call_at: float | None
    outage: str | None


class ControlInterface(ABC):
    """What can be done to a simulator. All methods raise ValueError for bad arguments."""

    @abstractmethod
    def _do(self, operation: str, **arguments: Json) -> Json:
        """Carry out one operation in the simulator."""

    # The library

    def add_files(self, files: int | Iterable[str]) -> list[str]:
        """Add this many generated files, or one for each id, and return their ids."""
        return list(self._do("add_files", files=files if isinstance(files, int) else list(files)))

    def add_file(
        self,
        file_id: str | None = None,
        *,
        name: str | None = None,
        folder: str = "/",
        tags: Iterable[str] | None = None,
        created_at: str | None = None,
        updated_at: str | None = None,
        **more: Json,
    ) -> dict[str, Json]:
        """Add one file and return it as the API shows it.

        Times are ISO 8601 dates or ages such as `30d`. `more`: ai_tags, size (bytes), file_type, mime, width, height,
        versions, and `extra`, a dict whose fields replace those of the object in responses.
        """
        given = {"name": name, "folder": folder, "created_at": created_at, "updated_at": updated_at}
        listed = None if tags is None else list(tags)
        return dict(self._do("add_file", file_id=file_id, tags=listed, **given, **more))

    def take_away(self, ids: Iterable[str]) -> int:
        """Remove files as another user of the account would, outside the ledger. Return how many existed."""
        return int(self._do("take_away", ids=list(ids)))

    def remaining(self) -> list[str]:
        """Return the ids of all files that exist."""
        return list(self._do("remaining"))

    def existing(self, ids: Iterable[str]) -> list[str]:
        """Return those of the ids that exist."""
        return list(self._do("existing", ids=list(ids)))

    def set_strays(self, objects: Iterable[str | Mapping[str, Json]] = ()) -> None:
        """Add these to the results of every search: ids of existing files, or whole objects."""
        self._do("set_strays", objects=[item if isinstance(item, str) else dict(item) for item in objects])

    # Behaviour

    def set_limits(
        self, *windows: RateWindowForm, endpoint: str = "delete", count_rejected: bool | None = None
    ) -> None:
        """Replace the rate windows; none means no limit.

        `endpoint`: the endpoint class (delete, list or purge). With `count_rejected`, calls answered 429 count.
        """
        pairs = [(window.limit, window.interval_ms) for window in map(RateWindow.read, windows)]
        self._do("set_limits", windows=pairs, endpoint=endpoint, count_rejected=count_rejected)

    def set_behaviour(self, **changes: Json) -> None:
        """Change fields of `simulator.api.account.Behaviour`, such as latency_ms, headers or duplicates."""
        self._do("set_behaviour", **changes)

    def set_latency(self, latency_ms: float, jitter_ms: float = 0.0) -> None:
        """Delay every call before its effect by latency_ms, plus or minus jitter_ms."""
        self._do("set_behaviour", latency_ms=latency_ms, jitter_ms=jitter_ms)

    def set_headers(self, policy: str, **overrides: str | None) -> None:
        """Set when rate headers are sent (always, 429, never), and replace their values: limit, interval, reset.

        None drops a header.
        """
        named = {f"X-RateLimit-{name.title()}": value for name, value in overrides.items()}
        self._do("set_behaviour", headers=policy, header_overrides=named)

    def set_key(self, **changes: str | None) -> None:
        """Change `private_key` (None accepts any) and `state`: good, wrong, expired or disabled."""
        self._do("set_key", **changes)

    def refuse_ids(self, ids: Iterable[str], message: str = "Your request contains invalid fileId parameter.") -> None:
        """Answer 400 to each call with one of these ids. Replaces earlier ones."""
        self._do("set_behaviour", refused=dict.fromkeys(ids, message))

    def poison_ids(self, ids: Iterable[str]) -> None:
        """Answer 500 to each call with one of these ids. Replaces earlier ones."""
        self._do("set_behaviour", poison=list(ids))

    def fail_ids(self, ids: Iterable[str], error: str = "The file could not be deleted.") -> None:
        """List these ids under `errors` of a 207 instead of deleting them. Replaces earlier ones."""
        self._do("set_behaviour", partial=dict.fromkeys(ids, error))

    def fault(self, kind: str, **details: Json) -> None:
        """Add a fault for the next calls (`times=3`) or random ones (`probability=0.02`); by default for one call.

        Other details are fields of `simulator.faults.Fault`; `body` may be bytes.
        """
        if details.get("times") is None and not details.get("probability"):
            details["times"] = 1
        self._do("add_fault", kind=kind, **{name: _as_json(value) for name, value in details.items()})

    def add_fault(self, fault: Fault) -> None:
        """Add a `Fault`."""
        self.fault(**{name: getattr(fault, name) for name in Fault.__slots__})

    def clear_faults(self) -> None:
        """Remove all faults. Ids set by `refuse_ids`, `poison_ids` and `fail_ids` stay."""
        self._do("clear_faults")

    def outage(self, mode: str | None = "unavailable", seconds: float | None = None) -> None:
        """Start an outage. It ends after `seconds`, if given, or with mode None.

        `unavailable` answers 503, `cut` resets connections, `hang` never answers, `refuse` closes the port.
        """
        self._do("set_outage", mode=mode, seconds=seconds)

    # The ledger

    def stats(self) -> Counters:
        """Return all counters."""
        found: Counters = self._do("stats")
        return found

    def calls(self, endpoint: str | None = None) -> list[Call]:
        """Return the calls in the ledger, oldest first, all or those of one endpoint.

        Endpoints: bulk_delete, delete, list, details, purge, purge_status, unknown.
        """
        return [Call.from_json(call) for call in self._do("calls", endpoint=endpoint)]

    def calls_with(self, file_id: str) -> list[Call]:
        """Return the bulk calls that sent this id, if the ledger keeps ids."""
        return [call for call in self.calls("bulk_delete") if file_id in call.ids]

    def deleted(self) -> list[str]:
        """Return the ids that calls deleted, in order."""
        return list(self._do("deleted"))

    def purged(self) -> list[str]:
        """Return the URLs of all purges that were accepted, in order."""
        return list(self._do("purged"))

    def still_cached(self, urls: Iterable[str]) -> list[str]:
        """Return those URLs that no completed purge covers."""
        return list(self._do("still_cached", urls=list(urls)))

    def forget_purges(self) -> None:
        """Answer 400 to each question about a purge that was accepted so far."""
        self._do("forget_purges")

    def busiest(self, interval_ms: float, endpoint: str = "bulk_delete") -> int:
        """Return the most calls in any interval of this length, without those answered 429."""
        return int(self._do("busiest", interval_ms=interval_ms, endpoint=endpoint))

    def violations(self) -> list[str]:
        """Describe calls that a correct client never makes; empty if there were none."""
        return list(self._do("violations"))

    def wait_for(self, condition: Callable[[Counters], bool], timeout: float = 10.0) -> Counters:
        """Wait until the counters meet the condition, and return them. Raises TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition(stats := self.stats()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"condition not met within {timeout} s; counters: {stats}")
            time.sleep(_POLL_SECONDS)
        return stats


def _as_json(value: Json) -> Json:
    """Convert a value to one that JSON can carry."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def read_rate_windows(
    limits: Sequence[RateWindowForm] | Mapping[str, Sequence[RateWindowForm]],
) -> dict[str, list[RateWindow]]:
    """Return the windows of each endpoint class; a plain sequence is for delete."""
    by_class = limits if isinstance(limits, Mapping) else {"delete": limits}
    return {endpoint: [RateWindow.read(window) for window in windows] for endpoint, windows in by_class.items()}
