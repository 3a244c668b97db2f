"""The list of requests, with filters in the URL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.responses import Response

from web.api.paging import cursor_of, position_of
from web.dashboard.visits import Visit, route
from web.problems import Problem
from worker.states import State

AT_ONCE = 50
SHOWN_STATES = (State.QUEUED, State.PROGRESS, State.SUCCESS, State.FAILURE, State.REVOKED)


@dataclass(frozen=True)
class Filter:
    """What the URL asks for."""

    states: frozenset[State]
    source: str
    text: str
    since: str
    until: str
    """Local times of the viewer, as browsers write them: 2026-11-24T14:00."""
    after: str

    @classmethod
    def read(cls, query: QueryParams) -> Filter:
        """Read the parameters of the URL. Raises `Problem`."""
        given = query.getlist("state")
        if not set(given) <= set(SHOWN_STATES):
            raise Problem(422, "The filter has an unknown state.")
        return cls(frozenset(map(State, given)), *texts_in(query, "source", "q", "since", "until", "after"))

    def arguments(self, zone: tzinfo) -> dict[str, Any]:
        """Return what the search takes."""
        return {
            "states": self.states,
            "source": self.source or None,
            "text": self.text or None,
            "since": moment_of("since", self.since, zone),
            "until": moment_of("until", self.until, zone),
            "after": position_of(self.after or None),
        }

    def query(self, after: str | None) -> str:
        """Return the query of the URL with another cursor."""
        given = [("state", state.value) for state in SHOWN_STATES if state in self.states]
        more = {"source": self.source, "q": self.text, "since": self.since, "until": self.until, "after": after}
        return urlencode(given + [(name, value) for name, value in more.items() if value])

    @property
    def is_set(self) -> bool:
        """Whether it leaves out anything."""
        return bool(self.states or self.source or self.text or self.since or self.until)


async def listed(visit: Visit) -> Response:
    """Show a page of the list."""
    wanted = Filter.read(visit.request.query_params)
    page = await visit.run(partial(visit.search.requests, **wanted.arguments(visit.zone), most=AT_ONCE))
    after = page.after and cursor_of(page.after)
    return await visit.page(
        "requests.html",
        reports=page.reports,
        filter=wanted,
        states=SHOWN_STATES,
        next=wanted.query(after) if after else None,
        first=wanted.query(None) if wanted.after else None,
    )


def texts_in(query: QueryParams, *names: str) -> list[str]:
    """Return parameters of the URL, without spaces around them; empty for those that are not there."""
    return [query.get(name, "").strip()[:500] for name in names]


def moment_of(name: str, text: str, zone: tzinfo) -> datetime | None:
    """Return the moment of a field of a form, in the viewer's time zone. Raises `Problem`."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        raise Problem(422, f"{name}: not a time such as 2026-11-24T14:00.") from None
    return moment.replace(tzinfo=zone) if moment and moment.tzinfo is None else moment


ROUTES = [route("/requests", listed)]
