"""Answers `/metrics`, in the format that the scraper asks for.

If Redis does not answer, the status is 200 all the same, so that Prometheus keeps the page, with `kitsweep_redis_up` 0.
Then no token can be checked either. So any credential gets that page, which says no more than `/readyz`.
"""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from tasks.figures import Reading
from tasks.tokens import Scope
from web.context import Context, server_of
from web.metrics.families import Families
from web.permissions import admit
from worker.errors import QueueUnavailable

ANSWER_SECONDS = 4.0
"""How long Redis may take; Prometheus waits 10 s by default."""

logger = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def read_metrics(request: Request) -> Response:
    """Answer with all metrics."""
    reading = await _reading_for(request, server_of(request))
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(Families(reading, version("kitsweep"))), media_type=content_type)


async def _reading_for(request: Request, context: Context) -> Reading | None:
    """Return the figures of the accounts that the caller may see; None if Redis does not answer."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            account = None if context.settings.web_open_metrics else (await admit(request, Scope.READ)).account
            reading = await context.figures.get()
    except (QueueUnavailable, TimeoutError) as error:
        logger.warning("metrics without figures: %s", str(error) or f"Redis gave no answer in {ANSWER_SECONDS:g} s")
        return None
    return reading._replace(accounts=[each for each in reading.accounts if account in (None, each.account)])
