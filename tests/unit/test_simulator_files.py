"""The simulator's other calls: list, details, single delete, purge."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from simulator import Simulator, generate_ids

UNKNOWN = "0123456789abcdef01234567"
Get = Callable[..., requests.Response]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture
def call(simulator: Simulator) -> Iterator[Get]:
    """Call any path with any method and query."""
    with requests.Session() as session:
        session.auth = ("private_any", "")

        def send(path: str, method: str = "GET", body: Any = None, /, **query: Any) -> requests.Response:
            return session.request(method, simulator.url + path, json=body, params=query, timeout=5)

        yield send


def names(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()]


def test_a_listed_file_has_the_documented_fields(simulator: Simulator, call: Get) -> None:
    """The list is a bare array of objects with the vendor's fields."""
    made = simulator.add_file(name="a b.jpg", folder="/shop", tags=["x"], created_at="2026-01-02", size=7)
    (item,) = call("/v1/files").json()
    assert item == made
    wanted = {"type": "file", "name": "a b.jpg", "filePath": "/shop/a b.jpg", "tags": ["x"], "size": 7}
    assert wanted.items() <= item.items()
    assert item["createdAt"] == item["updatedAt"] == "2026-01-02T00:00:00.000Z"
    assert urlsplit(item["url"]).path.endswith("/shop/a%20b.jpg")
    assert {"fileId", "fileType", "versionInfo"} <= item.keys()


def test_an_updated_files_url_carries_a_stamp(simulator: Simulator) -> None:
    """`url` may end in `?updatedAt=`; tags may be null."""
    made = simulator.add_file(created_at="2026-01-02", updated_at="2026-01-03")
    assert urlsplit(made["url"]).query.startswith("updatedAt=")
    assert made["tags"] is None


def test_pages_cover_the_library_without_overlap(simulator: Simulator, call: Get) -> None:
    """`limit` and `skip` cut one order into pages, and past the end the page is empty."""
    ids = simulator.add_files(25)
    pages = [call("/v1/files", limit=10, skip=skip).json() for skip in (0, 10, 20, 30)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert sorted(item["fileId"] for page in pages for item in page) == sorted(ids)


def test_deleting_while_paging_skips_files(simulator: Simulator, call: Get) -> None:
    """Offsets shift when files are deleted, as with the vendor."""
    simulator.add_files(20)
    first = [item["fileId"] for item in call("/v1/files", limit=10).json()]
    call("/v1/files/batch/deleteByFileIds", "POST", {"fileIds": first})
    assert call("/v1/files", limit=10, skip=10).json() == []


def test_without_a_limit_a_page_has_1000_files(simulator: Simulator, call: Get) -> None:
    """1000 is the default and the maximum."""
    simulator.add_files(1001)
    assert len(call("/v1/files").json()) == 1000


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"skip": -1},
        {"sort": "UP"},
        {"sort": "ASC_AGE"},
        {"fileType": "video"},
        {"type": "dir"},
        {"searchQuery": "name ="},
    ],
)
def test_a_bad_parameter_is_a_400(call: Get, query: dict[str, Any]) -> None:
    """The message names the parameter."""
    answer = call("/v1/files", **query)
    assert answer.status_code == 400
    assert next(iter(query)) in answer.json()["message"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("ASC_CREATED", "bca"),
        ("DESC_CREATED", "acb"),
        ("ASC_NAME", "abc"),
        ("DESC_NAME", "cba"),
        ("ASC_SIZE", "cab"),
        ("ASC_UPDATED", "abc"),
    ],
)
def test_lists_are_sorted_as_asked(simulator: Simulator, call: Get, sort: str, expected: str) -> None:
    """Each sort key works; the default is creation time."""
    simulator.add_file(name="a", size=2, created_at="2026-03-01", updated_at="2026-04-01")
    simulator.add_file(name="b", size=3, created_at="2026-01-01", updated_at="2026-05-01")
    simulator.add_file(name="c", size=1, created_at="2026-02-01", updated_at="2026-06-01")
    assert "".join(names(call("/v1/files", sort=sort))) == expected
    assert "".join(names(call("/v1/files"))) == "bca"


def test_ties_can_be_shuffled(simulator: Simulator, call: Get) -> None:
    """The vendor documents no order for equal keys; with `shuffle_ties` it changes at every call."""
    for number in range(30):
        simulator.add_file(name=str(number), created_at="2026-01-01")
    assert names(call("/v1/files")) == names(call("/v1/files"))
    simulator.set_behaviour(shuffle_ties=True)
    assert names(call("/v1/files")) != names(call("/v1/files"))


def test_the_path_parameter_is_one_folder(simulator: Simulator, call: Get) -> None:
    """It is not recursive, and slashes at its ends are ignored."""
    for folder in ("/", "/a/", "/a/b/", "/ab/"):
        simulator.add_file(name=f"in{folder}", folder=folder)
    assert names(call("/v1/files", path="/a/")) == names(call("/v1/files", path="a")) == ["in/a/"]
    assert names(call("/v1/files", path="/nowhere/")) == []


def test_types_tell_files_versions_and_folders_apart(simulator: Simulator, call: Get) -> None:
    """`file` is the default; `all` is files and folders; an older version carries its file's id."""
    made = simulator.add_file(name="f", folder="/d/", versions=3)
    assert names(call("/v1/files")) == ["f"]
    assert sorted(names(call("/v1/files", type="all"))) == ["d", "f"]
    (folder,) = call("/v1/files", type="folder").json()
    assert (folder["type"], folder["folderPath"]) == ("folder", "/d")
    assert "folderId" in folder
    assert "fileId" not in folder
    versions = call("/v1/files", type="file-version").json()
    assert [item["versionInfo"]["name"] for item in versions] == ["Version 1", "Version 2"]
    assert {item["fileId"] for item in versions} == {made["fileId"]}


def test_file_type_name_and_tags_filter(simulator: Simulator, call: Get) -> None:
    """The plain parameters narrow the list."""
    simulator.add_file(name="photo", tags=["x", "y"])
    simulator.add_file(name="paper", file_type="non-image", ai_tags=["z"])
    assert names(call("/v1/files", fileType="image")) == ["photo"]
    assert names(call("/v1/files", fileType="non-image")) == ["paper"]
    assert names(call("/v1/files", name="paper")) == ["paper"]
    assert names(call("/v1/files", tags="q,y")) == ["photo"]
    assert names(call("/v1/files", tags="z")) == ["paper"]


def test_a_query_overrides_type_tags_and_name_only(simulator: Simulator, call: Get) -> None:
    """With `searchQuery` these three are ignored: folders are listed unless the query excludes them."""
    simulator.add_file(name="f1", folder="/f2/")
    ignored = {"type": "file", "tags": "none", "name": "none"}
    assert names(call("/v1/files", searchQuery='name : "f"', sort="ASC_NAME", **ignored)) == ["f1", "f2"]
    assert names(call("/v1/files", searchQuery='name : "f" AND type = "file"')) == ["f1"]
    assert names(call("/v1/files", searchQuery='name : "f"', path="/")) == ["f2"]


def test_older_versions_need_a_type_in_the_query(simulator: Simulator, call: Get) -> None:
    """A query without `type` finds files and folders, one with `file-version` finds those."""
    simulator.add_file(name="f", versions=2)
    assert len(call("/v1/files", searchQuery='name = "f"').json()) == 1
    found = call("/v1/files", searchQuery='type = "file-version"').json()
    assert [item["type"] for item in found] == ["file-version"]


def test_a_search_can_return_strays(simulator: Simulator, call: Get) -> None:
    """Strays are listed although they do not match, as from an index that lags behind."""
    wanted = simulator.add_file(name="old")["fileId"]
    stray = simulator.add_file(name="new")["fileId"]
    simulator.set_strays([stray, {"fileId": 1, "name": None}])
    found = call("/v1/files", searchQuery='name = "old"').json()
    assert [item["fileId"] for item in found] == [wanted, stray, 1]
    simulator.set_strays()
    assert len(call("/v1/files", searchQuery='name = "old"').json()) == 1


def test_a_search_sees_changes_at_once(simulator: Simulator, call: Get) -> None:
    """A cached result is not used after the library has changed."""
    simulator.add_file(name="f")
    assert names(call("/v1/files", searchQuery='name = "f"')) == ["f"]
    simulator.take_away(simulator.remaining())
    assert names(call("/v1/files", searchQuery='name = "f"')) == []


def test_generated_libraries_are_reproducible_and_varied(call: Get) -> None:
    """The same seed gives the same ids; the files differ in folder, tags, versions, type and name."""
    ids = generate_ids(7)
    with Simulator(files=500, seed=7) as simulator:
        assert simulator.remaining() == [next(ids) for _ in range(500)]
        answer = requests.get(f"{simulator.url}/v1/files", auth=("k", ""), timeout=5)
    items = answer.json()
    assert {tuple(item["tags"]) if item["tags"] is not None else None for item in items} >= {None, ()}
    assert len({item["filePath"].rpartition("/")[0] for item in items}) > 3
    assert {item["fileType"] for item in items} == {"image", "non-image"}
    assert {item["versionInfo"]["name"] for item in items} == {"Version 1", "Version 2"}
    assert len({item["createdAt"] for item in items}) < 500
    assert any(not item["name"].isascii() for item in items)


def test_files_can_have_given_ids() -> None:
    """A library can be made from a list of ids; an id twice is one file."""
    with Simulator(files=["one", "two", "one"]) as simulator:
        assert simulator.remaining() == ["one", "two"]


def test_details_of_a_file(simulator: Simulator, call: Get) -> None:
    """200 with the object, 404 for an unknown id, 400 for a malformed one."""
    made = simulator.add_file()
    assert call(f"/v1/files/{made['fileId']}/details").json() == made
    assert call(f"/v1/files/{UNKNOWN}/details").status_code == 404
    assert call("/v1/files/odd/details").status_code == 400


def test_single_delete(simulator: Simulator, call: Get) -> None:
    """204 without a body, then 404; 400 for a malformed id; the ledger has the deletion."""
    (file_id,) = simulator.add_files(1)
    gone = call(f"/v1/files/{file_id}", "DELETE")
    assert (gone.status_code, gone.content) == (204, b"")
    assert call(f"/v1/files/{file_id}", "DELETE").status_code == 404
    malformed = call("/v1/files/odd", "DELETE")
    assert malformed.status_code == 400
    assert malformed.json()["message"] == "Your request contains invalid fileId parameter."
    assert simulator.deleted() == [file_id]
    assert simulator.violations() == []


def test_ids_in_paths_are_percent_decoded(simulator: Simulator, call: Get) -> None:
    """An id that needs percent-encoding is found."""
    simulator.add_file("a/b ä")
    assert call("/v1/files/a%2Fb%20%C3%A4", "DELETE").status_code == 204


def test_a_purge_is_pending_then_completed(simulator: Simulator, call: Get) -> None:
    """201 with a request id; its status moves from Pending to Completed; an unknown one is a 400."""
    simulator.set_behaviour(purge_ms=3_600_000)
    url = "https://ik.imagekit.io/simulator/a.jpg"
    answer = call("/v1/files/purge", "POST", {"url": url})
    assert (answer.status_code, list(answer.json())) == (201, ["requestId"])
    status = f"/v1/files/purge/{answer.json()['requestId']}"
    assert call(status).json() == {"status": "Pending"}
    simulator.set_behaviour(purge_ms=0)
    assert call(status).json() == {"status": "Completed"}
    assert call("/v1/files/purge/unknown").status_code == 400
    assert simulator.purged() == [url]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/a.jpg", 201),
        ("/a.jpg*", 201),
        ("/a/b/c*", 201),
        ("/a/b/*", 201),
        ("/a-long-folder-name*", 201),
        ("/images/upload*", 201),
        ("/s/files/*", 400),
        ("/a*", 400),
        ("/*", 400),
        ("/a/*", 400),
        ("/a*/b.jpg", 400),
        ("/a/b/c**", 400),
    ],
)
def test_wildcards_need_a_long_enough_path(call: Get, path: str, status: int) -> None:
    """One `*` at the end, on a path of two levels or 15 characters, or of a whole file."""
    url = f"https://ik.imagekit.io/simulator{path}"
    assert call("/v1/files/purge", "POST", {"url": url}).status_code == status


def test_purges_end_with_the_quota(simulator: Simulator, call: Get) -> None:
    """Those beyond it are answered 429, and change nothing; a purge that is forgotten is unknown."""
    simulator.set_behaviour(purge_ms=0, purge_quota=1)
    first, second = (f"https://ik.imagekit.io/simulator/{name}.jpg" for name in "ab")
    accepted = call("/v1/files/purge", "POST", {"url": first})
    assert (accepted.status_code, call("/v1/files/purge", "POST", {"url": second}).status_code) == (201, 429)
    assert simulator.still_cached([first, f"{first}?tr=w-100", second]) == [f"{first}?tr=w-100", second]
    simulator.forget_purges()
    assert call(f"/v1/files/purge/{accepted.json()['requestId']}").status_code == 400


@pytest.mark.parametrize("body", [{}, [], None, {"url": 5}, {"url": "a.jpg"}, {"url": "ftp://h/a"}, {"url": ""}])
def test_a_purge_of_no_url_is_a_400(call: Get, body: Any) -> None:
    """The message is the documented one."""
    answer = call("/v1/files/purge", "POST", body)
    assert answer.status_code == 400
    assert answer.json()["message"] == "The URL is not valid for cache purging."
