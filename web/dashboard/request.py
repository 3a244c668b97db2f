"""One request: what happened to it, why it waits, and what became of its files."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from starlette.responses import Response

from tasks.search import History
from web.api.outcomes import streamed_outcomes
from web.dashboard.export import FORMS, as_file, form_of
from web.dashboard.live import stream
from web.dashboard.sampler import Look
from web.dashboard.visits import Visit, back_to, route
from web.dashboard.waiting import hold_seconds, why_waiting
from web.dashboard.words import counted
from web.problems import Problem
from worker.errors import NotPossible
from worker.reports.report import FileOutcome, Report
from worker.states import Outcome, State

FILES_SHOWN = 50


@dataclass(frozen=True)
class Event:
    """One point of the timeline."""

    name: str
    at: str | None
    more: str = ""
    is_to_come: bool = False


async def shown(visit: Visit) -> Response:
    """Show one request."""
    report = await _report(visit)
    history = await visit.run(visit.search.history, report)
    wanted = _wanted(visit, report)
    files = await visit.run(_first_files, visit, report, wanted)
    values = _values(visit, report, history, await visit.sampler.look())
    return await visit.page("request.html", files=files, wanted=wanted, **values)


async def live(visit: Visit) -> Response:
    """Send the request again whenever it changes."""
    report = await _report(visit)
    first = report, await visit.run(visit.search.history, report)

    def render(look: Look) -> str:
        known = look.sample.requests.get(report["request_id"], first)
        return visit.rendered("_request.html", look, **_values(visit, *known, look))

    return stream(visit, render, [report["request_id"]])


async def download(visit: Visit) -> Response:
    """Send the outcome of each file as CSV or NDJSON."""
    report = await _report(visit)
    form = form_of(visit)
    response = streamed_outcomes(visit.context, visit.client.outcomes(report["request_id"]), FORMS[form])
    response.headers.update(as_file(f"{report['request_id']}.{form}"))
    return response


async def ask_cancel(visit: Visit) -> Response:
    """Ask whether to cancel."""
    return await visit.page("cancel.html", report=await _report(visit))


async def cancel(visit: Visit) -> Response:
    """Cancel what still waits."""
    report = await _report(visit)
    if not visit.may_cancel(report["source"]):
        raise Problem(403, f"The {visit.by} may not cancel requests of the source {report['source']}.")
    if report["state"] in (State.SUCCESS, State.FAILURE):
        raise NotPossible(f"request {report['request_id']} is done: there is nothing left to cancel")
    await visit.run(visit.client.cancel, report["request_id"], visit.by)
    return back_to(visit.request, f"/requests/{report['request_id']}", "cancelled")


async def _report(visit: Visit) -> Report:
    return await visit.run(visit.client.status, visit.request.path_params["request_id"])


def _wanted(visit: Visit, report: Report) -> Outcome | None:
    """Return the outcome whose files are listed: the URL's, or that of failed files, or the first there is."""
    asked = visit.request.query_params.get("outcome")
    if asked in set(Outcome):
        return Outcome(asked)
    return next((each for each in (Outcome.FAILED, *Outcome) if report[each.value]), None)  # type: ignore[literal-required]


def _first_files(visit: Visit, report: Report, wanted: Outcome | None) -> list[FileOutcome]:
    if wanted is None:
        return []
    return list(islice(visit.client.outcomes(report["request_id"], [wanted]), FILES_SHOWN))


def _values(visit: Visit, report: Report, history: History, look: Look) -> dict[str, Any]:
    is_final = State(report["state"]).is_final
    now = look.sample.stats["now"] if look.sample.stats else ""
    return {
        "report": report,
        "history": history,
        "events": _events(report, history),
        "why": why_waiting(report, history, look, visit.zone),
        "undo_seconds": hold_seconds(history, now) if now and not is_final else 0,
        "is_final": is_final,
        "may_cancel": visit.may_cancel(report["source"]) and not is_final and not history.cancelled_at,
        "outcomes": list(Outcome),
    }


def _events(report: Report, history: History) -> list[Event]:
    """Return what happened, in its order, and what is to come."""
    is_final = State(report["state"]).is_final
    events = [Event("Accepted", report["enqueued_at"], _by(history.by))]
    if history.hold_until:
        is_ahead = not is_final and not history.first_ended_at
        events.append(Event("Undo window ends", history.hold_until, is_to_come=is_ahead))
    if history.guard:
        events.append(Event("Stopped by a guard", report["enqueued_at"], history.guard))
    if history.decided_by:
        name = "Approved" if history.is_approved else "Rejected"
        events.append(Event(name, history.decided_at, f"by {history.decided_by}"))
    if history.first_ended_at:
        events.append(Event("First file done", history.first_ended_at))
    if history.cancelled_at:
        events.append(Event("Cancelled", history.cancelled_at, _by(history.cancelled_by)))
    if history.retrying:
        more = f"{counted(history.retrying, 'file')} failed"
        events.append(Event("Next retry", history.next_retry_at, more, is_to_come=True))
    if is_final:
        events.append(Event("Done", report["finished_at"]))
    return events


def _by(who: str | None) -> str:
    return f"by {who}" if who else ""


ROUTES = [
    route("/requests/{request_id}", shown),
    route("/requests/{request_id}/live", live),
    route("/requests/{request_id}/download", download),
    route("/requests/{request_id}/cancel", ask_cancel),
    route("/requests/{request_id}/cancel", cancel, methods=("POST",)),
]
