"""ImageKit's SDKs, with nothing changed but their base URL, delete through the web server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.integration.support_house import KEY, ROOT, House
from tests.integration.support_waiting import wait_until
from tests.integration.support_web import BULK, Sdk, WebServer, curl, node6, node7, python4, python5

SDKS = [python5, python4, node7, node6]
DOCUMENT = ROOT / "docs" / "http.md"
MISSING = "The requested file(s) does not exist."


@pytest.fixture(scope="module")
def web(running_house: House) -> Iterator[WebServer]:
    server = WebServer(running_house)
    yield server
    server.kill()


@pytest.mark.parametrize("sdk", SDKS)
def test_all_files_are_deleted(house: House, web: WebServer, sdk: Sdk) -> None:
    """One bulk call upstream, and the ids in the result."""
    files = house.files(3)
    seen = sdk(web.url, KEY, "bulk", files)
    assert sorted(seen["value"]["successfullyDeletedFileIds"]) == sorted(files), seen
    assert len(house.calls_with(files)) == 1


@pytest.mark.parametrize("sdk", SDKS)
def test_some_files_are_missing(house: House, web: WebServer, sdk: Sdk) -> None:
    """The SDKs take a 207 as a success with an extra member; Python 4 looks for a message that no 207 has."""
    files, missing = house.files(1), house.no_files(1)
    seen = sdk(web.url, KEY, "bulk", files + missing)
    if sdk is python4:
        assert seen["error"] == "KeyError"
    else:
        assert seen["value"]["successfullyDeletedFileIds"] == files
        assert seen["value"]["errors"] == [{"fileId": missing[0], "error": MISSING}]
    assert house.simulator.remaining() == [] or files[0] not in house.simulator.remaining()


@pytest.mark.parametrize("sdk", SDKS)
def test_all_files_are_missing(house: House, web: WebServer, sdk: Sdk) -> None:
    """The SDK's own error for a 404, with the missing ids."""
    missing = house.no_files(2)
    seen = sdk(web.url, KEY, "bulk", missing)
    assert seen["error"] in {"NotFoundError", "NotFoundException", "Object"}, seen
    assert seen["body"]["message"] == MISSING
    assert sorted(seen["body"]["missingFileIds"]) == sorted(missing)


@pytest.mark.parametrize("sdk", SDKS)
def test_one_file_is_deleted(house: House, web: WebServer, sdk: Sdk) -> None:
    """And is not found the next time, once the first request is forgotten."""
    files = house.files(1)
    assert "error" not in sdk(web.url, KEY, "single", files)
    assert files[0] not in house.simulator.remaining()
    seen = sdk(web.url, KEY, "single", house.no_files(1))
    assert seen["body"]["message"] == "The requested file does not exist."


@pytest.mark.parametrize("sdk", SDKS)
def test_a_wrong_key_is_refused(house: House, web: WebServer, sdk: Sdk) -> None:
    """As by ImageKit."""
    seen = sdk(web.url, "private_wrong", "bulk", house.files(1))
    assert seen["error"] in {"PermissionDeniedError", "ForbiddenException", "Object"}, seen
    assert seen["body"]["message"] == "Your account cannot be authenticated."


@pytest.mark.parametrize("sdk", [python5, node7])
def test_a_server_killed_while_a_caller_waits_costs_no_second_request(house: House, web: WebServer, sdk: Sdk) -> None:
    """The SDK tries again by itself, and joins the request that it had made. A restart outlasts two retries."""
    files = house.files(2)
    house.admin.pause("test")
    seen: list[object] = []
    caller = threading.Thread(target=lambda: seen.append(sdk(web.url, KEY, "bulk", files, retries=8)))
    before = requests_in(house)
    caller.start()
    wait_until(lambda: requests_in(house) > before, "the request is enqueued")
    web.kill()
    web.restart()
    house.admin.resume()
    caller.join(60)
    assert seen, house.tail()
    assert isinstance(seen[0], dict)
    assert sorted(seen[0]["value"]["successfullyDeletedFileIds"]) == sorted(files)
    assert requests_in(house) == before + 1
    assert len(house.calls_with(files)) == 1


def requests_in(house: House) -> int:
    """How many requests were ever accepted."""
    return sum(entry["event"] == "accepted" for entry in house.admin._account.audit.entries())


def test_curl_deletes(house: House, web: WebServer) -> None:
    """As in the vendor's documents."""
    files = house.files(3)
    body = json.dumps({"fileIds": files[:2]})
    assert curl(web.url, "-X", "POST", "-H", "Content-Type: application/json", "-d", body, BULK)[0] == 200
    assert curl(web.url, "-X", "DELETE", f"/v1/files/{files[2]}") == (204, None)
    assert not set(files) & set(house.simulator.remaining())


def test_every_curl_line_of_the_documentation_works(house: House, web: WebServer) -> None:
    """Each block is run by a shell, with files of the test; `--fail` makes an error of a status from 400 on."""
    blocks = re.findall(r"^```bash\n(curl .*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    files = {f"FILE_{number}": file_id for number, file_id in enumerate(house.files(4), 1)}
    told = {"IMAGEKIT_PRIVATE_KEY": KEY, "KITSWEEP_URL": web.url, **files}
    script = 'set -e\ncurl() { command curl --silent --show-error --fail-with-body "$@"; }\n' + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not {files[name] for name in ("FILE_1", "FILE_2", "FILE_3")} & set(house.simulator.remaining())
    assert "end of its hold" in done.stdout
    house.client.cancel("order-17")
