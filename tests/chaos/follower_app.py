"""The worker of a foreign service: plain Celery, nothing of ours. Its one task notes down what it is called with.

Run as `celery -A follower_app worker`, with the server's address in the environment.
"""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery

NOTES = "catalog-notes"

app = Celery("catalog", broker=os.environ["CATALOG_REDIS"], backend=os.environ["CATALOG_REDIS"])
app.conf.task_default_queue = "catalog"


@app.task(name="catalog.note", bind=True)
def note(self: Any, given: Any, tag: str) -> str:
    """Record the call and its tag; the result is the tag."""
    self.app.backend.client.rpush(NOTES, json.dumps([tag, given]))
    return tag
