"""The audit trail: who asked for what, who decided, and the result; with filters, as a page or as a file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.responses import Response

from tasks.admin import Entry
from web.api.paging import cursor_of, position_of
from web.dashboard.export import exported
from web.dashboard.requests import moment_of, texts_in
from web.dashboard.visits import Visit, route

AT_ONCE = 100
LOOK_SECONDS = 0.15
"""How long one page looks for entries that match; then it ends early, and says where to go on."""
EVENTS = (
    *("accepted", "held", "approved", "rejected", "cancelled", "ended", "paused", "resumed"),
    *("run", "skipped", "cleanup_off", "cleanup_on", "resent", "token_created", "token_revoked"),
)
_COLUMNS = ("at", "event", "request", "source", "by", "state", "total", "detail")
_BEGINNING, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Filter:
    """What the URL asks for."""

    event: str
    text: str
    """Part of who, source, request or detail, in any case."""
    since: str
    until: str
    after: str

    @classmethod
    def read(cls, query: QueryParams) -> Filter:
        """Read the parameters of the URL."""
        return cls(*texts_in(query, "event", "q", "since", "until", "after"))

    def query(self, **more: str) -> str:
        """Return the query of the URL, without the cursor."""
        given = {"event": self.event, "q": self.text, "since": self.since, "until": self.until, **more}
        return urlencode({name: value for name, value in given.items() if value})

    def has(self, entry: Entry) -> bool:
        """Whether an entry is wanted."""
        if self.event and entry["event"] != self.event:
            return False
        words = (entry["by"], entry["source"], entry["request"], json.dumps(entry["detail"], ensure_ascii=False))
        return not self.text or self.text.casefold() in "\n".join(words).casefold()

    def entries(self, visit: Visit) -> Iterator[Entry]:
        """Yield all entries of the time, the newest first."""
        since = moment_of("since", self.since, visit.zone) or _BEGINNING
        until = moment_of("until", self.until, visit.zone) or _END
        return visit.admin.audit_newest(since, until, position_of(self.after or None))


async def listed(visit: Visit) -> Response:
    """Show a page."""
    wanted = Filter.read(visit.request.query_params)
    entries, last = await visit.run(_page, wanted, wanted.entries(visit))
    following = wanted.query(after=cursor_of(last)) if last else None
    return await visit.page("audit.html", entries=entries, filter=wanted, events=EVENTS, next=following)


async def download(visit: Visit) -> Response:
    """Send all entries that match as a file, the newest first."""
    wanted = Filter.read(visit.request.query_params)
    matching = (entry for entry in wanted.entries(visit) if wanted.has(entry))
    return exported(visit, "audit", matching, _COLUMNS)


def _page(wanted: Filter, entries: Iterator[Entry]) -> tuple[list[Entry], str | None]:
    """Return entries that match, and the id after which the next page goes on; None after the last one."""
    found, give_up = list[Entry](), time.monotonic() + LOOK_SECONDS
    for entry in entries:
        if wanted.has(entry):
            found.append(entry)
        if len(found) == AT_ONCE or time.monotonic() > give_up:
            return found, entry["id"]
    return found, None


ROUTES = [route("/audit", listed), route("/audit/download", download)]
