"""How tests and benchmarks steer a simulator: the same methods in this process and from another."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypedDict

from simulator.faults import Fault
from simulator.ledger import Call
from simulator.limits import Window
from simulator.plain import Json

WindowForm = str | Window | tuple[int, int]
_POLL_SECONDS = 0.01


class Stats(TypedDict):
    """Counts since the start; `statuses` by operation and status ("None": no answer was meant to arrive)."""

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


class Steering(ABC):
    """What can be done to a running simulator.

    All methods raise ValueError for arguments that make no sense.
    """

    @abstractmethod
    def _do(self, operation: str, **arguments: Json) -> Json:
        """Carry out one operation where the simulator runs."""

    # The library

    def add_files(self, files: int | Iterable[str]) -> list[str]:
        """Add so many generated files, or one for each id, and return their ids."""
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

        Moments are ISO dates or ages such as `30d`. `more`: ai_tags, size (bytes), file_type, mime, width,
        height, versions, and `extra`, a dict that is laid over the object in answers.
        """
        given = {"name": name, "folder": folder, "created_at": created_at, "updated_at": updated_at}
        listed = None if tags is None else list(tags)
        return dict(self._do("add_file", file_id=file_id, tags=listed, **given, **more))

    def take_away(self, ids: Iterable[str]) -> int:
        """Remove files as another user of the account would, outside the ledger; how many there were."""
        return int(self._do("take_away", ids=list(ids)))

    def remaining(self) -> list[str]:
        """List the ids of all files that exist."""
        return list(self._do("remaining"))

    def existing(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that are files now."""
        return list(self._do("existing", ids=list(ids)))

    def set_strays(self, objects: Iterable[str | Mapping[str, Json]] = ()) -> None:
        """Let every search answer these besides what fits: ids of existing files, or objects as they are."""
        self._do("set_strays", objects=[item if isinstance(item, str) else dict(item) for item in objects])

    # Behaviour

    def set_limits(self, *windows: WindowForm, endpoint: str = "delete", count_rejected: bool | None = None) -> None:
        """Set the windows that hold from now on, none for no limit.

        `endpoint` is a class of calls: delete, list or purge. With `count_rejected` a 429 takes room as well.
        """
        pairs = [(window.limit, window.interval_ms) for window in map(Window.read, windows)]
        self._do("set_limits", windows=pairs, endpoint=endpoint, count_rejected=count_rejected)

    def set_behaviour(self, **changes: Json) -> None:
        """Change any field of `simulator.api.state.Behaviour`, such as latency_ms, headers or duplicates."""
        self._do("set_behaviour", **changes)

    def set_latency(self, latency_ms: float, jitter_ms: float = 0.0) -> None:
        """How long every call takes before its effect, give or take the jitter."""
        self._do("set_behaviour", latency_ms=latency_ms, jitter_ms=jitter_ms)

    def set_headers(self, policy: str, **overrides: str | None) -> None:
        """When rate headers come (always, 429, never), and with which values: limit, interval, reset.

        A value of None drops that header.
        """
        named = {f"X-RateLimit-{name.title()}": value for name, value in overrides.items()}
        self._do("set_behaviour", headers=policy, header_overrides=named)

    def set_key(self, **changes: str | None) -> None:
        """`private_key` (None: any will do) and `state`: good, wrong, expired or disabled."""
        self._do("set_key", **changes)

    def refuse_ids(self, ids: Iterable[str], message: str = "Your request contains invalid fileId parameter.") -> None:
        """From now on each call with one of these ids, and no others, is answered 400."""
        self._do("set_behaviour", refused=dict.fromkeys(ids, message))

    def poison_ids(self, ids: Iterable[str]) -> None:
        """From now on each call with one of these ids, and no others, is answered 500."""
        self._do("set_behaviour", poison=list(ids))

    def fail_ids(self, ids: Iterable[str], error: str = "The file could not be deleted.") -> None:
        """From now on these ids, and no others, come back under `errors` of a 207."""
        self._do("set_behaviour", partial=dict.fromkeys(ids, error))

    def fault(self, kind: str, **details: Json) -> None:
        """Set a fault: `times=3` for the next calls, or `probability=0.02`; without either, for one call.

        The other details are the fields of `simulator.faults.Fault`; `body` may be bytes.
        """
        if details.get("times") is None and not details.get("probability"):
            details["times"] = 1
        self._do("add_fault", kind=kind, **{name: _plain(value) for name, value in details.items()})

    def add_fault(self, fault: Fault) -> None:
        """Set a fault that is ready made."""
        self.fault(**{name: getattr(fault, name) for name in Fault.__slots__})

    def clear_faults(self) -> None:
        """Nothing fails any more (ids that are refused, poison or failing stay so)."""
        self._do("clear_faults")

    def outage(self, mode: str | None = "unavailable", seconds: float | None = None) -> None:
        """Start an outage; None ends it, and so do `seconds`.

        `unavailable` answers 503, `cut` resets connections, `hang` never answers, `refuse` closes the port.
        """
        self._do("set_outage", mode=mode, seconds=seconds)

    # The ledger

    def stats(self) -> Stats:
        """All counters."""
        found: Stats = self._do("stats")
        return found

    def calls(self, endpoint: str | None = None) -> list[Call]:
        """Give the last calls, oldest first, all or those of one endpoint.

        Endpoints: bulk_delete, delete, list, details, purge, purge_status, unknown.
        """
        return [Call.from_json(call) for call in self._do("calls", endpoint=endpoint)]

    def calls_with(self, file_id: str) -> list[Call]:
        """Give the bulk calls that sent this id (where the ledger keeps ids)."""
        return [call for call in self.calls("bulk_delete") if file_id in call.ids]

    def deleted(self) -> list[str]:
        """All ids that were deleted by calls, in order."""
        return list(self._do("deleted"))

    def purged(self) -> list[str]:
        """All URLs that were purged, in order."""
        return list(self._do("purged"))

    def busiest(self, interval_ms: float, endpoint: str = "bulk_delete") -> int:
        """Count the most calls that were not refused by 429 in any stretch of so many ms."""
        return int(self._do("busiest", interval_ms=interval_ms, endpoint=endpoint))

    def violations(self) -> list[str]:
        """Tell what was done that a well-behaved caller never does, in words; empty when all is well."""
        return list(self._do("violations"))

    def wait_for(self, condition: Callable[[Stats], bool], timeout: float = 10.0) -> Stats:
        """Wait until the counters fulfil the condition, and return them.

        Raises TimeoutError after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not condition(stats := self.stats()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout} s; the counters are {stats}")
            time.sleep(_POLL_SECONDS)
        return stats


def _plain(value: Json) -> Json:
    """Bring the value into a form that JSON can carry."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def read_windows(
    limits: Sequence[WindowForm] | Mapping[str, Sequence[WindowForm]],
) -> dict[str, list[Window]]:
    """Windows by endpoint class; a bare sequence is meant for delete."""
    by_class = limits if isinstance(limits, Mapping) else {"delete": limits}
    return {endpoint: [Window.read(window) for window in windows] for endpoint, windows in by_class.items()}
