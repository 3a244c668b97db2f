"""The API without the network: find a call's operation, admit or refuse it, carry it out, record it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from simulator.api.account import REAL_ID, PendingCall, SimulatedAccount, now_ms
from simulator.api.deleting import bulk_delete, delete_one, read_ids
from simulator.api.fault_responses import apply_fault
from simulator.api.purging import purge, purge_status
from simulator.api.responses import (
    INVALID_FILE_ID,
    NO_SUCH_FILE,
    NO_SUCH_PATH,
    TOO_MANY_CALLS,
    Response,
    json_response,
    refusal,
)
from simulator.faults import Fault
from simulator.ledger import Call
from simulator.library.listing import BadParameterError, read_listing
from simulator.limits import limit_headers

BULK_DELETE_PATH = "/v1/files/batch/deleteByFileIds"
_NOT_CARRIED_OUT = Response(200)

# Faults with which no complete response reaches the caller.
WITHOUT_RESPONSE = frozenset({"cut_before", "cut_after", "cut_middle", "hang", "endless"})

OUTAGES: dict[str, Fault] = {
    "unavailable": Fault("error_before", status=503),
    "cut": Fault("cut_before"),
    "hang": Fault("hang", effect=False),
    "refuse": Fault("cut_before"),  # for connections that are still open
}


def route(method: str, path: str) -> tuple[str, str, str]:
    """Return operation, endpoint class and the argument in the path; all are "" for an unknown path.

    Case and a trailing slash are ignored.
    """
    if path == BULK_DELETE_PATH and method == "POST":
        return "bulk_delete", "delete", ""
    given = path.rstrip("/").split("/")[1:]
    found = ("", "", "")
    match method, *(part.lower() for part in given):
        case "POST", "v1", "files", "batch", "deletebyfileids":
            found = "bulk_delete", "delete", ""
        case "GET", "v1", "files":
            found = "list", "list", ""
        case "POST", "v1", "files", "purge":
            found = "purge", "purge", ""
        case "GET", "v1", "files", "purge", _:
            found = "purge_status", "purge", given[-1]
        case "GET", "v1", "files", _, "details":
            found = "details", "list", given[-2]
        case "DELETE", "v1", "files", _:
            found = "delete", "delete", given[-1]
    return found


def admit(account: SimulatedAccount, call: PendingCall, authorization: str) -> Response | None:
    """Return the refusal of a call, by key, path or limit; None admits it, with the fault that hits it if any.

    An outage hits every call.
    """
    if account.outage:
        call.fault = OUTAGES[account.outage]
        return None
    refused = account.key.refuse(authorization)
    if refused is not None or not call.endpoint:
        return refused or NO_SUCH_PATH
    call.admission = account.limits[call.limit].admit(call.arrived * 1000)
    if not call.admission.allowed:
        return TOO_MANY_CALLS
    call.fault = account.faults.pick(call.limit)
    return None


def perform(account: SimulatedAccount, call: PendingCall) -> Response:
    """Carry the call out, unless its fault prevents that, and return the response after its fault."""
    fault = call.fault
    if call.endpoint == "bulk_delete":
        ids = read_ids(call.body)
        if isinstance(ids, Response):
            return ids if fault is None else apply_fault(account, call, fault, ids)
        call.ids = ids
        account.ledger.count_ids(ids)
    done = _OPERATIONS[call.endpoint](account, call) if fault is None or fault.takes_effect else _NOT_CARRIED_OUT
    return done if fault is None else apply_fault(account, call, fault, done)


def add_rate_headers(account: SimulatedAccount, call: PendingCall, response: Response) -> Response:
    """Return the response with rate headers, if the policy says so."""
    policy = account.behaviour.headers
    if policy == "always" or (policy == "429" and response.status == 429):
        headers = limit_headers(call.admission, account.behaviour.header_overrides)
        return replace(response, headers={**headers, **response.headers}) if headers else response
    return response


def record(account: SimulatedAccount, call: PendingCall, response: Response) -> None:
    """Add the call to the ledger and tell the observer, if there is one."""
    fault = call.fault.kind if call.fault else None
    keep = account.ledger.keep_ids
    entry = Call(
        at=call.arrived,
        endpoint=call.endpoint or "unknown",
        status=None if fault in WITHOUT_RESPONSE else response.status,
        ids=tuple(call.ids) if keep else (),
        deleted=tuple(call.deleted) if keep else (),
        id_count=len(call.ids),
        deleted_count=len(call.deleted),
        fault=fault,
        request_id=call.request_id,
        detail=call.detail,
    )
    account.ledger.add(entry)
    if account.on_call is not None:
        account.on_call(entry)


def list_files(account: SimulatedAccount, call: PendingCall) -> Response:
    """GET /v1/files."""
    call.detail = "&".join(f"{name}={value}" for name, value in call.parameters.items())
    try:
        listing = read_listing(call.parameters, now_ms())
    except BadParameterError as error:
        return refusal(400, f"Your request contains invalid {error} parameter.")
    rng = account.rng if account.behaviour.shuffle_ties else None
    return json_response(200, account.lister.page(listing, rng))


def details(account: SimulatedAccount, call: PendingCall) -> Response:
    """GET /v1/files/{fileId}/details."""
    found = account.library.get(call.argument)
    if found is None:
        return INVALID_FILE_ID if not REAL_ID.fullmatch(call.argument) else NO_SUCH_FILE
    return json_response(200, found.as_json())


_OPERATIONS: Mapping[str, Callable[[SimulatedAccount, PendingCall], Response]] = {
    "bulk_delete": bulk_delete,
    "list": list_files,
    "details": details,
    "delete": delete_one,
    "purge": purge,
    "purge_status": purge_status,
}
