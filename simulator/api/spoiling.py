"""What a fault leaves of an answer, before it goes over the wire."""

import json
from collections.abc import Callable, Mapping

from simulator.api.answers import JSON_TYPE, TOO_MANY_CALLS, Answer, json_answer, server_error
from simulator.api.state import State, Visit
from simulator.faults import SHAPES, Fault
from simulator.limits import Verdict, Window

FOREIGN_ID = "f0" * 12


def spoil(state: State, visit: Visit, fault: Fault, answer: Answer) -> Answer:
    """Make of a good answer what the fault turns it into; faults of the connection leave it as it is."""
    if fault.kind == "garbage":
        return _garbage(fault, fault.shape or state.dice.choice(sorted(SHAPES)))
    if fault.kind == "throttled":
        window = visit.verdict.window or Window(100, 1000)
        visit.verdict = Verdict(allowed=False, window=window, reset_ms=fault.reset_ms)
    make = _MADE_BY.get(fault.kind)
    return answer if make is None else make(fault, answer)


def _garbage(fault: Fault, shape: str) -> Answer:
    content_type = "text/html" if shape == "html" else JSON_TYPE
    return Answer(fault.status or 200, SHAPES[shape], content_type, fault.headers)


def _error(fault: Fault, _: Answer) -> Answer:
    return server_error(fault.status or 500)


def _empty(fault: Fault, _: Answer) -> Answer:
    return Answer(fault.status or 200)


def _redirect(fault: Fault, _: Answer) -> Answer:
    return Answer(fault.status or 302, headers={"Location": "/v1/files", **fault.headers})


def _throttled(_: Fault, __: Answer) -> Answer:
    return TOO_MANY_CALLS


def _foreign(_: Fault, answer: Answer) -> Answer:
    content = json.loads(answer.body) if answer.body else {}
    for key in ("successfullyDeletedFileIds", "missingFileIds"):
        if isinstance(content, dict) and key in content:
            content[key].append(FOREIGN_ID)
    return json_answer(answer.status, content)


def _given(fault: Fault, _: Answer) -> Answer:
    body = fault.body.encode("utf-8", "surrogateescape")
    return Answer(fault.status or 200, body, headers=fault.headers)


_MADE_BY: Mapping[str, Callable[[Fault, Answer], Answer]] = {
    "error_before": _error,
    "error_after": _error,
    "empty": _empty,
    "redirect": _redirect,
    "throttled": _throttled,
    "foreign": _foreign,
    "answer": _given,
}
