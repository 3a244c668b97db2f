"""The overview: is the account well, and if not, why; pause and resume."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from tasks.tokens import Scope
from web.dashboard.diagnosis import window_text, windows_of
from web.dashboard.live import stream
from web.dashboard.sampler import STEP_SECONDS, Look
from web.dashboard.visits import Visit, back_to, route


async def overview(visit: Visit) -> Response:
    """Show the overview."""
    return await visit.page("overview.html", **_values(await visit.sampler.look()))


async def live(visit: Visit) -> Response:
    """Send the overview again whenever it changes."""
    return stream(visit, lambda look: visit.rendered("_overview.html", look, **_values(look)))


def _values(look: Look) -> dict[str, Any]:
    stats = look.sample.stats
    ready = stats["waiting"] - stats["held"] + stats["in_flight"] if stats else 0
    return {
        "look": look,
        "step_seconds": STEP_SECONDS,
        "drain_seconds": ready / look.rate if look.rate and ready else None,
        "windows": windows_of(stats) if stats else [],
        "window_text": window_text,
    }


async def ask_pause(visit: Visit) -> Response:
    """Ask whether to pause."""
    return await visit.page("pause.html")


async def pause(visit: Visit) -> Response:
    """Pause all calls."""
    await visit.run(visit.admin.pause, visit.reason(), visit.by)
    return back_to(visit.request, "", "paused")


async def ask_resume(visit: Visit) -> Response:
    """Ask whether to resume."""
    return await visit.page("resume.html")


async def resume(visit: Visit) -> Response:
    """Allow calls again."""
    await visit.run(visit.admin.resume, visit.by)
    return back_to(visit.request, "", "resumed")


ROUTES = [
    route("", overview),
    route("/live", live),
    route("/pause", ask_pause, Scope.OPERATE),
    route("/pause", pause, Scope.OPERATE, methods=("POST",)),
    route("/resume", ask_resume, Scope.OPERATE),
    route("/resume", resume, Scope.OPERATE, methods=("POST",)),
]
