"""Deletes files with version 4 of ImageKit's SDK for Python, and prints what its caller gets, as JSON.

Usage: python support_python4.py FOLDER BASE_URL KEY bulk|single FILE_ID…  (FOLDER: where the SDK is installed)
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def main(folder: str, base_url: str, key: str, call: str, *file_ids: str) -> None:
    """Print `{"value": …}`, or `{"error": class, "body": …}`."""
    sys.path.insert(0, folder)
    imagekitio: Any = importlib.import_module("imagekitio")
    importlib.import_module("imagekitio.constants.url").URL.API_BASE_URL = base_url
    client = imagekitio.ImageKit(private_key=key, public_key="public_x", url_endpoint="https://ik.imagekit.io/x")
    try:
        done = client.bulk_file_delete(file_ids=list(file_ids)) if call == "bulk" else client.delete_file(file_ids[0])
    except Exception as error:  # noqa: BLE001 - what the caller of the SDK gets
        metadata = getattr(error, "response_metadata", None)
        print(json.dumps({"error": type(error).__name__, "body": getattr(metadata, "raw", None)}))
    else:
        print(json.dumps({"value": done.response_metadata.raw}))


if __name__ == "__main__":
    main(*sys.argv[1:])
