"""The API without the network: which operation a call means, whether it may pass, and what it is answered."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from simulator.api.answers import (
    INVALID_FILE_ID,
    NO_SUCH_FILE,
    NO_SUCH_PATH,
    TOO_MANY_CALLS,
    Answer,
    json_answer,
    refusal,
)
from simulator.api.deleting import bulk_delete, delete_one, read_ids
from simulator.api.purging import purge, purge_status
from simulator.api.spoiling import spoil
from simulator.api.state import REAL_ID, State, Visit, now_ms
from simulator.faults import Fault
from simulator.ledger import Call
from simulator.library.listing import BadParameterError, read_listing
from simulator.limits import limit_headers

BULK_DELETE_PATH = "/v1/files/batch/deleteByFileIds"
FOREIGN_ID = "f0" * 12
UNREAD = Answer(200)

# Endings in which no whole answer reaches the caller.
UNANSWERED = frozenset({"cut_before", "cut_after", "cut_middle", "hang", "endless"})

OUTAGES: dict[str, Fault] = {
    "unavailable": Fault("error_before", status=503),
    "cut": Fault("cut_before"),
    "hang": Fault("hang", effect=False),
    "refuse": Fault("cut_before"),  # for connections that were open before the port was closed
}


def route(method: str, path: str) -> tuple[str, str, str]:
    """(operation, limit class, argument in the path); the operation is "" where there is none.

    Case and a last slash do not count.
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


def gate(state: State, visit: Visit, authorization: str | None) -> Answer | None:
    """Refuse the call by key or by limit, or let it pass and settle which fault hits it.

    An outage lets nothing through.
    """
    if state.outage:
        visit.fault = OUTAGES[state.outage]
        return None
    refused = state.key.refuse(authorization)
    if refused is not None or not visit.endpoint:
        return refused or NO_SUCH_PATH
    visit.verdict = state.limits[visit.limit].admit(visit.arrived * 1000)
    if not visit.verdict.allowed:
        return TOO_MANY_CALLS
    visit.fault = state.faults.pick(visit.limit)
    return None


def perform(state: State, visit: Visit) -> Answer:
    """Carry the call out, unless its fault prevents that, and give the answer that the fault leaves of it."""
    fault = visit.fault
    if visit.endpoint == "bulk_delete":
        ids = read_ids(visit.body)
        if isinstance(ids, Answer):
            return ids if fault is None else spoil(state, visit, fault, ids)
        visit.ids = ids
        state.ledger.count_ids(ids)
    done = _OPERATIONS[visit.endpoint](state, visit) if fault is None or fault.takes_effect else UNREAD
    return done if fault is None else spoil(state, visit, fault, done)


def announce(state: State, visit: Visit, answer: Answer) -> Answer:
    """Add the rate headers to an answer headers, where they are wanted."""
    policy = state.behaviour.headers
    if policy == "always" or (policy == "429" and answer.status == 429):
        headers = limit_headers(visit.verdict, state.behaviour.header_overrides)
        return replace(answer, headers={**headers, **answer.headers}) if headers else answer
    return answer


def record(state: State, visit: Visit, answer: Answer) -> None:
    """Enter the call into the ledger and tell the observer, if there is one."""
    fault = visit.fault.kind if visit.fault else None
    keep = state.ledger.keep_ids
    call = Call(
        at=visit.arrived,
        endpoint=visit.endpoint or "unknown",
        status=None if fault in UNANSWERED else answer.status,
        ids=tuple(visit.ids) if keep else (),
        deleted=tuple(visit.deleted) if keep else (),
        id_count=len(visit.ids),
        deleted_count=len(visit.deleted),
        fault=fault,
        request_id=visit.request_id,
        detail=visit.detail,
    )
    state.ledger.write(call)
    if state.on_call is not None:
        state.on_call(call)


def list_files(state: State, visit: Visit) -> Answer:
    """GET /v1/files."""
    visit.detail = "&".join(f"{name}={value}" for name, value in visit.parameters.items())
    try:
        listing = read_listing(visit.parameters, now_ms())
    except BadParameterError as error:
        return refusal(400, f"Your request contains invalid {error} parameter.")
    dice = state.dice if state.behaviour.shuffle_ties else None
    return json_answer(200, state.lister.page(listing, dice))


def details(state: State, visit: Visit) -> Answer:
    """GET /v1/files/{fileId}/details."""
    found = state.library.get(visit.argument)
    if found is None:
        return INVALID_FILE_ID if not REAL_ID.fullmatch(visit.argument) else NO_SUCH_FILE
    return json_answer(200, found.as_json())


_OPERATIONS: Mapping[str, Callable[[State, Visit], Answer]] = {
    "bulk_delete": bulk_delete,
    "list": list_files,
    "details": details,
    "delete": delete_one,
    "purge": purge,
    "purge_status": purge_status,
}
