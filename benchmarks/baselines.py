"""What a user would have without Kitsweep: a loop on `requests`, and plain Celery tasks."""

from __future__ import annotations

import os
import time

import requests
from celery import Celery, group

from benchmarks.stand import KEY, Stand, file_ids

PATH = "/v1/files/batch/deleteByFileIds"

app = Celery("plain", broker=os.environ.get("KITSWEEP_REDIS_URL"), backend=os.environ.get("KITSWEEP_REDIS_URL"))
app.conf.update(worker_pool="threads", worker_concurrency=8, task_default_queue="plain")
_session = requests.Session()
_session.auth = (KEY, "")


def delete(base_url: str, ids: list[str]) -> None:
    """Delete files with one call."""
    _session.post(base_url + PATH, json={"fileIds": ids}, timeout=30).raise_for_status()


@app.task(ignore_result=False)
def delete_some(ids: list[str]) -> int:
    """Delete up to 100 files, as a plain task would."""
    delete(os.environ["IMAGE_KIT_BASE_URL"], ids)
    return len(ids)


@app.task(ignore_result=False)
def delete_one(ids: list[str]) -> dict[str, int]:
    """Delete one file, and return its outcome."""
    delete(os.environ["IMAGE_KIT_BASE_URL"], ids)
    return {"deleted": len(ids)}


def bare_loop(base_url: str, ids: list[str]) -> float:
    """Delete ids in full batches one after another; return ids per second."""
    started = time.monotonic()
    for start in range(0, len(ids), 100):
        delete(base_url, ids[start : start + 100])
    return len(ids) / (time.monotonic() - started)


def plain_celery(stand: Stand, files: int, ids_per_task: int) -> float:
    """Delete files by plain Celery tasks on two workers, from the first send to the last result; ids per second."""
    app.conf.update(broker_url=stand.url, result_backend=stand.url)
    ids = file_ids(files)
    with stand.running(files, app="benchmarks.baselines") as simulator:
        delete_some.delay([ids[0]]).get(timeout=60)
        ids = ids[1:]
        started = time.monotonic()
        chunks = [ids[start : start + ids_per_task] for start in range(0, len(ids), ids_per_task)]
        group(delete_some.s(chunk) for chunk in chunks).apply_async().get(timeout=600)
        seconds = time.monotonic() - started
        if left := simulator.remaining():
            raise RuntimeError(f"{len(left)} files are left")
    return len(ids) / seconds
