"""The two endpoints that delete files: in bulk, and one at a time."""

import json

from simulator.api.account import REAL_ID, PendingCall, SimulatedAccount
from simulator.api.responses import (
    IDS_EMPTY,
    IDS_MISSING,
    IDS_NO_ARRAY,
    IDS_TOO_MANY,
    INVALID_FILE_ID,
    NO_SUCH_FILE,
    Response,
    json_response,
    missing_files,
    refusal,
    server_error,
)
from simulator.ledger import MAX_IDS_PER_CALL

PARTIAL_ERROR = "The file could not be deleted."


def read_ids(body: bytes) -> list[str] | Response:
    """Return the `fileIds` in the body of a bulk call, or the 400 for a bad body."""
    try:
        ids = json.loads(body)["fileIds"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return IDS_MISSING
    if not isinstance(ids, list):
        return IDS_NO_ARRAY
    if not ids:
        return IDS_EMPTY
    return ids if set(map(type, ids)) == {str} else INVALID_FILE_ID


def bulk_delete(account: SimulatedAccount, call: PendingCall) -> Response:
    """POST /v1/files/batch/deleteByFileIds: delete all files or none, unless single ids fail (207)."""
    ids = call.ids
    unique = set(ids)
    refused = _refuse(account, ids, unique)
    if refused is not None:
        return refused
    if not account.library.files.keys() >= unique:
        missing = account.library.missing(dict.fromkeys(ids))
        account.ledger.count_missing(missing)
        return missing_files(missing)
    failing = _failing(account, call, unique)
    omitted = _picked(account, call, unique) if call.fault and call.fault.kind == "omit" else set()
    deleted = _reordered(ids, unique, omitted | failing.keys())
    _delete(account, call, deleted)
    if not failing:
        return json_response(200, {"successfullyDeletedFileIds": deleted})
    errors = [{"fileId": file_id, "error": error} for file_id, error in failing.items()]
    return json_response(207, {"successfullyDeletedFileIds": deleted, "errors": errors})


def delete_one(account: SimulatedAccount, call: PendingCall) -> Response:
    """DELETE /v1/files/{fileId}."""
    if call.argument not in account.library.files:
        return INVALID_FILE_ID if not REAL_ID.fullmatch(call.argument) else NO_SUCH_FILE
    _delete(account, call, [call.argument])
    return Response(204)


def _reordered(ids: list[str], unique: set[str], without: set[str]) -> list[str]:
    """Return each id once, in reverse: callers must not rely on the order of the request."""
    if not without and len(unique) == len(ids):
        return ids[::-1]
    return [file_id for file_id in reversed(dict.fromkeys(ids)) if file_id not in without]


def _refuse(account: SimulatedAccount, ids: list[str], unique: set[str]) -> Response | None:
    behaviour = account.behaviour
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


def _failing(account: SimulatedAccount, call: PendingCall, unique: set[str]) -> dict[str, str]:
    partial = account.behaviour.partial
    failing = {file_id: partial[file_id] for file_id in partial.keys() & unique}
    if call.fault and call.fault.kind == "partial":
        failing |= dict.fromkeys(_picked(account, call, unique), PARTIAL_ERROR)
    return failing


def _picked(account: SimulatedAccount, call: PendingCall, unique: set[str]) -> set[str]:
    """Return the ids that the fault hits: those it names, or else a random share, at least one."""
    if call.fault is None or call.fault.ids:
        return unique & call.fault.ids if call.fault else set()
    return set(account.rng.sample(sorted(unique), max(1, round(call.fault.share * len(unique)))))


def _delete(account: SimulatedAccount, call: PendingCall, ids: list[str]) -> None:
    account.library.remove(ids)
    account.ledger.count_deleted(ids, call.arrived)
    call.deleted = ids
