"""The two calls that delete files: many at once, and one."""

import json

from simulator.api.answers import (
    IDS_EMPTY,
    IDS_MISSING,
    IDS_NO_ARRAY,
    IDS_TOO_MANY,
    INVALID_FILE_ID,
    NO_SUCH_FILE,
    Answer,
    json_answer,
    missing_files,
    refusal,
    server_error,
)
from simulator.api.state import REAL_ID, State, Visit
from simulator.ledger import MAX_IDS_PER_CALL

PARTIAL_ERROR = "The file could not be deleted."


def read_ids(body: bytes) -> list[str] | Answer:
    """Read the `fileIds` of a bulk call's body, or the 400 that it deserves."""
    try:
        ids = json.loads(body)["fileIds"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return IDS_MISSING
    if not isinstance(ids, list):
        return IDS_NO_ARRAY
    if not ids:
        return IDS_EMPTY
    return ids if set(map(type, ids)) == {str} else INVALID_FILE_ID


def bulk_delete(state: State, visit: Visit) -> Answer:
    """POST /v1/files/batch/deleteByFileIds, carried out: all or nothing, unless single ids fail (207)."""
    ids = visit.ids
    unique = set(ids)
    refused = _refuse(state, ids, unique)
    if refused is not None:
        return refused
    if not state.library.files.keys() >= unique:
        missing = state.library.missing(dict.fromkeys(ids))
        state.ledger.count_missing(missing)
        return missing_files(missing)
    failing = _failing(state, visit, unique)
    omitted = _picked(state, visit, unique) if visit.fault and visit.fault.kind == "omit" else set()
    gone = _in_another_order(ids, unique, omitted | failing.keys())
    _delete(state, visit, gone)
    if not failing:
        return json_answer(200, {"successfullyDeletedFileIds": gone})
    errors = [{"fileId": file_id, "error": error} for file_id, error in failing.items()]
    return json_answer(207, {"successfullyDeletedFileIds": gone, "errors": errors})


def delete_one(state: State, visit: Visit) -> Answer:
    """DELETE /v1/files/{fileId}."""
    if visit.argument not in state.library.files:
        return INVALID_FILE_ID if not REAL_ID.fullmatch(visit.argument) else NO_SUCH_FILE
    _delete(state, visit, [visit.argument])
    return Answer(204)


def _in_another_order(ids: list[str], unique: set[str], without: set[str]) -> list[str]:
    """Turn the ids round, each once: callers must not rely on the request's order."""
    if not without and len(unique) == len(ids):
        return ids[::-1]
    return [file_id for file_id in reversed(dict.fromkeys(ids)) if file_id not in without]


def _refuse(state: State, ids: list[str], unique: set[str]) -> Answer | None:
    behaviour = state.behaviour
    if len(ids) > MAX_IDS_PER_CALL:
        return IDS_TOO_MANY
    if behaviour.malformed_ids == "refuse" and not all(map(REAL_ID.fullmatch, ids)):
        return INVALID_FILE_ID
    if behaviour.duplicates == "refuse" and len(unique) < len(ids):
        return INVALID_FILE_ID
    if not behaviour.poison.isdisjoint(unique):
        return server_error(500)
    culprits = behaviour.refused.keys() & unique
    return refusal(400, behaviour.refused[min(culprits)]) if culprits else None


def _failing(state: State, visit: Visit, unique: set[str]) -> dict[str, str]:
    partial = state.behaviour.partial
    failing = {file_id: partial[file_id] for file_id in partial.keys() & unique}
    if visit.fault and visit.fault.kind == "partial":
        failing |= dict.fromkeys(_picked(state, visit, unique), PARTIAL_ERROR)
    return failing


def _picked(state: State, visit: Visit, unique: set[str]) -> set[str]:
    """Pick the ids that a fault singles out: those it names, or its share of all, at least one."""
    if visit.fault is None or visit.fault.ids:
        return unique & visit.fault.ids if visit.fault else set()
    return set(state.dice.sample(sorted(unique), max(1, round(visit.fault.share * len(unique)))))


def _delete(state: State, visit: Visit, ids: list[str]) -> None:
    state.library.remove(ids)
    state.ledger.count_deleted(ids, visit.arrived)
    visit.deleted = ids
