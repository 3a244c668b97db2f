"""The responses that faults produce. Faults of the connection itself are in `simulator.serving.wire`."""

import json
from collections.abc import Callable, Mapping

from simulator.api.account import PendingCall, SimulatedAccount
from simulator.api.responses import JSON_TYPE, TOO_MANY_CALLS, Response, json_response, server_error
from simulator.faults import SHAPES, Fault
from simulator.limits import Admission, RateWindow

FOREIGN_ID = "f0" * 12


def apply_fault(account: SimulatedAccount, call: PendingCall, fault: Fault, response: Response) -> Response:
    """Return what the fault turns a good response into; faults of the connection leave it unchanged."""
    if fault.kind == "garbage":
        return _garbage(fault, fault.shape or account.rng.choice(sorted(SHAPES)))
    if fault.kind == "throttled":
        window = call.admission.window or RateWindow(100, 1000)
        call.admission = Admission(allowed=False, window=window, reset_ms=fault.reset_ms)
    make = _MADE_BY.get(fault.kind)
    return response if make is None else make(fault, response)


def _garbage(fault: Fault, shape: str) -> Response:
    content_type = "text/html" if shape == "html" else JSON_TYPE
    return Response(fault.status or 200, SHAPES[shape], content_type, fault.headers)


def _error(fault: Fault, _: Response) -> Response:
    return server_error(fault.status or 500)


def _empty(fault: Fault, _: Response) -> Response:
    return Response(fault.status or 200)


def _redirect(fault: Fault, _: Response) -> Response:
    return Response(fault.status or 302, headers={"Location": "/v1/files", **fault.headers})


def _throttled(_: Fault, __: Response) -> Response:
    return TOO_MANY_CALLS


def _foreign(_: Fault, response: Response) -> Response:
    content = json.loads(response.body) if response.body else {}
    for key in ("successfullyDeletedFileIds", "missingFileIds"):
        if isinstance(content, dict) and key in content:
            content[key].append(FOREIGN_ID)
    return json_response(response.status, content)


def _given(fault: Fault, _: Response) -> Response:
    body = fault.body.encode("utf-8", "surrogateescape")
    return Response(fault.status or 200, body, headers=fault.headers)


_MADE_BY: Mapping[str, Callable[[Fault, Response], Response]] = {
    "error_before": _error,
    "error_after": _error,
    "empty": _empty,
    "redirect": _redirect,
    "throttled": _throttled,
    "foreign": _foreign,
    "answer": _given,
}
