"""Health checks: `/livez` (the process answers) and `/readyz` (it can do its work). They need no credential."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from web.context import Context, server_of
from worker.errors import QueueUnavailable

router = APIRouter(include_in_schema=False)


@router.get("/livez")
async def livez() -> Response:
    """Answer 200 while the process runs."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Answer 200 if Redis answers and the settings suffice, else 503 with what is missing."""
    problems = await _problems(server_of(request))
    if problems:
        return JSONResponse({"status": "not ready", "problems": problems}, 503)
    return JSONResponse({"status": "ready"})


async def _problems(context: Context) -> list[str]:
    keys = [each.settings.private_key for each in context.accounts.served().values()]
    problems = [] if any(keys) else ["IMAGEKIT_PRIVATE_KEY is not set"]
    try:
        await context.run(context.ping)
    except QueueUnavailable:
        problems.append("Redis does not answer")
    return problems
