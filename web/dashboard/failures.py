"""Failed files, grouped by error; all that match are retried by the server, which shows how far it is."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.responses import Response

from tasks.failures import FailureFilter, Failures
from tasks.tokens import Scope
from web.api.paging import cursor_of, position_of
from web.dashboard.export import exported
from web.dashboard.requests import moment_of, texts_in
from web.dashboard.visits import Visit, back_to, route
from web.problems import Problem
from worker.errors import KitsweepError

AT_ONCE = 50
MOST_RETRIES = 100
"""How many retries are remembered, finished or not."""
_COLUMNS = ("file_id", "error", "source", "request_id", "attempts", "at", "retried_by")


@dataclass
class Retry:
    """One retry of all that match, and how far it is."""

    by: str
    query: str
    requests: int = 0
    files: int = 0
    is_done: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Filter:
    """What the URL asks for."""

    error: str
    source: str
    since: str
    until: str
    retried: str
    after: str

    @classmethod
    def read(cls, query: QueryParams) -> Filter:
        """Read the parameters of the URL."""
        return cls(*texts_in(query, "error", "source", "since", "until", "retried", "after"))

    def query(self, **more: str) -> str:
        """Return the query of the URL, without the cursor."""
        given = {"error": self.error, "source": self.source, "since": self.since, "until": self.until}
        values = {**given, "retried": self.retried, **more}
        return urlencode({name: value for name, value in values.items() if value})

    def wanted(self, visit: Visit) -> FailureFilter:
        """Return what is asked for. Raises `Problem`."""
        return FailureFilter(
            error=self.error or None,
            source=self.source or None,
            since=moment_of("since", self.since, visit.zone),
            until=moment_of("until", self.until, visit.zone),
            retried=bool(self.retried),
        )


async def listed(visit: Visit) -> Response:
    """Show the groups, and a page of files."""
    asked = Filter.read(visit.request.query_params)
    wanted = asked.wanted(visit)
    summary = await visit.run(visit.failures.summary, wanted)
    page = await visit.run(visit.failures.page, wanted, AT_ONCE, position_of(asked.after or None))
    following = asked.query(after=cursor_of(page.after)) if page.after else None
    values = {"groups": summary.groups(), "files": summary.files, "page": page.failures, "next": following}
    return await visit.page("failures.html", filter=asked, **values)


async def download(visit: Visit) -> Response:
    """Send all failed files that match as a file."""
    asked = Filter.read(visit.request.query_params)
    return exported(visit, "failures", visit.failures.files(asked.wanted(visit)), _COLUMNS)


async def ask_retry(visit: Visit) -> Response:
    """Ask whether to retry all that match."""
    asked = Filter.read(visit.request.query_params)
    summary = await visit.run(visit.failures.summary, asked.wanted(visit))
    return await visit.page("retry.html", filter=asked, files=summary.files, groups=summary.groups())


async def retry(visit: Visit) -> Response:
    """Start to retry all that match."""
    asked = Filter.read(visit.request.query_params)
    retry_id, retries = uuid.uuid4().hex, visit.request.app.state.retries
    while len(retries) >= MOST_RETRIES:
        retries.pop(next(iter(retries)))
    retries[_key(visit, retry_id)] = started = Retry(visit.by, asked.query())
    act = visit.context.long_calls.run(lambda: _retry(visit.failures, asked.wanted(visit), started))
    tasks = visit.request.app.state.tasks
    task = asyncio.create_task(act)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return back_to(visit.request, f"/failures/retries/{retry_id}")


async def progress(visit: Visit) -> Response:
    """Show how far a retry is."""
    started = visit.request.app.state.retries.get(_key(visit, visit.request.path_params["retry_id"]))
    if started is None:
        raise Problem(
            404, f"This server knows of no such retry. What it has done is in the audit trail, {visit.root}/audit."
        )
    return await visit.page("retrying.html", retry=started)


def _key(visit: Visit, retry_id: str) -> tuple[str, str]:
    return visit.context.settings.account, retry_id


def _retry(failures: Failures, wanted: FailureFilter, started: Retry) -> None:
    try:
        for each in failures.retry_matching(wanted, started.by):
            started.requests += 1
            started.files += each.files
    except KitsweepError as error:
        started.problem = str(error)
    finally:
        started.is_done = True


ROUTES = [
    route("/failures", listed),
    route("/failures/download", download),
    route("/failures/retry", ask_retry, Scope.OPERATE),
    route("/failures/retry", retry, Scope.OPERATE, methods=("POST",)),
    route("/failures/retries/{retry_id}", progress),
]
