"""The part of `make run` that retries a failed file, once ImageKit accepts its id."""

from __future__ import annotations

from collections.abc import Callable

from config.settings import load_settings
from local.up import say
from simulator import Control
from tasks.failures import Failures


def retry_failed(kitsweep: Callable[..., None], control: Control, redis_url: str, request_id: str) -> None:
    """Show the failed files, retry those of a request, and show how they end."""
    kitsweep("failures")
    control.refuse_ids([])
    say("\nThe API refuses no id any more, so the failed file is retried.")
    kitsweep("retry", request_id, "--yes")
    kitsweep("watch", Failures(load_settings(redis_url=redis_url, accounts_file=None)).retry(request_id).request_id)
