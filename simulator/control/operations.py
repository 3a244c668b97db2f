"""The control operations, with arguments and results that JSON can carry.

`Simulator`, `Control` and the control endpoint all call these; `ControlInterface` describes each of them.
"""

# ruff: noqa: D102 (ControlInterface describes each operation)

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping

from simulator.api.account import HEADER_POLICIES, SimulatedAccount, now_ms
from simulator.api.authentication import KEY_STATES
from simulator.api.routes import OUTAGES
from simulator.faults import Fault
from simulator.json_value import Json
from simulator.library.records import Record, folder_path
from simulator.library.units import parse_time
from simulator.limits import RateWindow


class Operations:
    """Each public method is an operation. All raise ValueError or TypeError for bad arguments."""

    def __init__(
        self, account: SimulatedAccount, switch_outage: Callable[[str | None, float | None], Awaitable[None]]
    ) -> None:
        self._account = account
        self._switch_outage = switch_outage

    async def do(self, name: str, arguments: Mapping[str, Json]) -> Json:
        """Carry out the operation `name`. Raises LookupError for an unknown name."""
        operation = None if name.startswith("_") or name == "do" else getattr(self, name, None)
        if operation is None:
            raise LookupError(f"unknown operation {name!r}")
        result = operation(**arguments)
        return await result if inspect.isawaitable(result) else result

    # The library

    def add_files(self, files: int | list[str]) -> list[str]:
        account = self._account
        added = account.library.add_generated(files)
        account.ledger.forget_deleted(added)
        return added

    def add_file(self, **fields: Json) -> dict[str, Json]:
        record = self._record(**fields)
        self._account.library.add(record)
        self._account.ledger.forget_deleted([record.id])
        return record.as_json()

    def take_away(self, ids: list[str]) -> int:
        return self._account.library.vanish(ids)

    def remaining(self) -> list[str]:
        return list(self._account.library.files)

    def existing(self, ids: list[str]) -> list[str]:
        return [file_id for file_id in ids if file_id in self._account.library.files]

    def set_strays(self, objects: list[str | dict[str, Json]]) -> None:
        self._account.lister.strays = [self._stray(item) for item in objects]

    # Behaviour

    def set_limits(self, windows: list[Json], endpoint: str = "delete", *, count_rejected: bool | None = None) -> None:
        limit = self._account.limits[_one_of(endpoint, self._account.limits)]
        limit.windows = tuple(RateWindow.read(window) for window in windows)
        if count_rejected is not None:
            limit.count_rejected = count_rejected

    def set_behaviour(self, **changes: Json) -> None:
        behaviour = self._account.behaviour
        _one_of(changes.get("headers", "429"), HEADER_POLICIES)
        _one_of(changes.get("duplicates", "accept"), {"accept", "refuse"})
        _one_of(changes.get("malformed_ids", "missing"), {"missing", "refuse"})
        for name, value in changes.items():
            setattr(behaviour, _one_of(name, behaviour.__slots__), set(value) if name == "poison" else value)

    def set_key(self, **changes: Json) -> None:
        key = self._account.key
        _one_of(changes.get("state", "good"), KEY_STATES)
        for name, value in changes.items():
            setattr(key, _one_of(name, {"private_key", "state"}), value)

    def add_fault(self, **fields: Json) -> None:
        self._account.faults.add(Fault.from_json(fields))

    def clear_faults(self) -> None:
        self._account.faults.clear()

    async def set_outage(self, mode: str | None = None, seconds: float | None = None) -> None:
        _one_of(mode, {None, *OUTAGES})
        await self._switch_outage(mode, seconds)

    # The ledger

    def stats(self) -> dict[str, Json]:
        account, ledger = self._account, self._account.ledger
        statuses: dict[str, dict[str, int]] = {}
        for (endpoint, status), count in ledger.statuses.items():
            statuses.setdefault(endpoint, {})[str(status)] = count
        return {
            "calls": ledger.statuses.total(),
            "statuses": statuses,
            "throttled": sum(count for (_, status), count in ledger.statuses.items() if status == 429),
            "faults": dict(account.faults.counts),
            "files": len(account.library.files),
            "added": account.library.added,
            "deleted": ledger.deletions,
            "taken_away": account.library.vanished,
            "ids_sent": ledger.ids_sent,
            "ids_sent_again": ledger.ids_sent_again,
            "ids_deleted_twice": ledger.ids_deleted_twice,
            "largest_call": ledger.largest_call,
            "full_calls": ledger.full_calls,
            "calls_with_duplicates": ledger.calls_with_duplicates,
            "in_flight": account.in_flight,
            "max_in_flight": account.max_in_flight,
            "first_call_at": ledger.first_call_at,
            "last_call_at": ledger.last_call_at,
            "outage": account.outage,
        }

    def calls(self, endpoint: str | None = None) -> list[dict[str, Json]]:
        return [call.as_json() for call in self._account.ledger.of_endpoint(endpoint)]

    def deleted(self) -> list[str]:
        return list(self._account.ledger.deleted)

    def purged(self) -> list[str]:
        return [purge.url for purge in self._account.purges.values()]

    def still_cached(self, urls: list[str]) -> list[str]:
        behaviour = self._account.behaviour
        completed = [purge for purge in self._account.purges.values() if purge.is_completed(behaviour)]
        return [url for url in urls if not any(purge.covers(url) for purge in completed)]

    def forget_purges(self) -> None:
        self._account.forgotten_purges.update(self._account.purges)

    def busiest(self, interval_ms: float, endpoint: str = "bulk_delete") -> int:
        return self._account.ledger.busiest(endpoint, interval_ms)

    def violations(self) -> list[str]:
        library, ledger = self._account.library, self._account.ledger
        left = library.added - ledger.deletions - library.vanished
        lost = [] if left == len(library.files) else [f"{len(library.files)} files exist, but {left} should be left"]
        return ledger.violations() + lost

    def _stray(self, item: str | dict[str, Json]) -> dict[str, Json]:
        if isinstance(item, dict):
            return item
        record = self._account.library.get(item)
        if record is None:
            raise ValueError(f"no file has the id {item!r}")
        return record.as_json()

    def _record(self, **fields: Json) -> Record:
        now = now_ms()
        created = _time(fields.pop("created_at", None), now, now)
        updated = _time(fields.pop("updated_at", None), created, now)
        file_id = fields.pop("file_id", None) or self._account.library.new_id()
        tags = fields.pop("tags", None)
        return Record(
            type="file",
            id=file_id,
            name=fields.pop("name", None) or f"{file_id}.jpg",
            folder=folder_path(fields.pop("folder", "/")),
            created=created,
            updated=updated,
            tags=None if tags is None else tuple(tags),
            ai_tags=tuple(fields.pop("ai_tags", ())),
            **fields,
        )


def _time(text: str | None, default: int, now: int) -> int:
    return default if text is None else parse_time(text, now)


def _one_of(value: Json, choices: Collection[Json]) -> Json:
    if value not in choices:
        raise ValueError(f"{value!r} is none of {', '.join(map(str, choices))}")
    return value
