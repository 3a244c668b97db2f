"""The part of `make run` that shows an erasure: files and their cached copies go, and a certificate says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from local.up import say
from simulator import Control
from worker.errors import KitsweepError

REQUEST_ID = "make-run-purge"
FOLDER = "/people/42/"
COUNT = 3


class PurgeError(KitsweepError):
    """Copies of deleted files are still cached."""


def delete_and_purge(kitsweep: Callable[..., None], control: Control, folder: Path) -> list[str]:
    """Delete the files of one person with a purge; return their ids. Raises `PurgeError`."""
    files = [control.add_file(name=f"portrait-{number}.jpg", folder=FOLDER) for number in range(COUNT)]
    known = [{"fileId": file["fileId"], "url": file["url"]} for file in files[1:]]
    path = folder / "person.json"
    path.write_text(json.dumps([files[0]["fileId"], *known], indent=1), encoding="utf-8")
    say(f"\nA person asks to be forgotten: {COUNT} files in {FOLDER}, also in the CDN's cache. One URL is looked up.")
    kitsweep("delete", str(path), "--purge=wait", "--wait", "--yes", "--request-id", REQUEST_ID)
    kitsweep("status", REQUEST_ID)
    kitsweep("purges")
    if left := control.still_cached([file["url"] for file in files]):
        raise PurgeError(f"the simulator's cache still has {', '.join(left)}")
    say("The simulator's cache holds no copy of them any more. The proof is a signed certificate, verified offline:")
    certificate = str(folder / "certificate.jsonl")
    kitsweep("key", "create")
    kitsweep("report", REQUEST_ID, "--certificate", "--output", certificate, "--html", f"{certificate}.html")
    kitsweep("verify", certificate)
    return [file["fileId"] for file in files]
