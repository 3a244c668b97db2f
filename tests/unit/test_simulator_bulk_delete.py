"""The simulator's bulk delete: every row of the API's table."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from simulator import Simulator

KEY = "private_right"
UNKNOWN = "0123456789abcdef01234567"
Delete = Callable[[Any], requests.Response]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(files=150, private_key=KEY) as running:
        yield running


@pytest.fixture
def delete(simulator: Simulator) -> Iterator[Delete]:
    """Send a JSON body, as it is, to the bulk endpoint."""
    with requests.Session() as session:
        session.auth = (KEY, "")
        url = f"{simulator.url}/v1/files/batch/deleteByFileIds"
        yield lambda body: session.post(url, json=body, timeout=5)


def test_known_ids_are_deleted_and_listed(simulator: Simulator, delete: Delete) -> None:
    """200 lists exactly the ids that were sent, each once, and the files are gone."""
    ids = simulator.remaining()[:100]
    answer = delete({"fileIds": ids})
    assert answer.status_code == 200
    assert list(answer.json()) == ["successfullyDeletedFileIds"]
    assert sorted(answer.json()["successfullyDeletedFileIds"]) == sorted(ids)
    assert simulator.existing(ids) == []
    assert len(simulator.remaining()) == 50


def test_the_order_of_the_answer_differs_from_the_request(simulator: Simulator, delete: Delete) -> None:
    """A caller that relies on the order of the request fails."""
    ids = simulator.remaining()[:10]
    assert delete({"fileIds": ids}).json()["successfullyDeletedFileIds"] != ids


def test_one_unknown_id_prevents_everything(simulator: Simulator, delete: Delete) -> None:
    """404 lists only the unknown ids, and nothing is deleted."""
    ids = simulator.remaining()[:5]
    answer = delete({"fileIds": [*ids, UNKNOWN, "odd"]})
    assert answer.status_code == 404
    assert answer.json()["message"] == "The requested file(s) does not exist."
    assert answer.json()["missingFileIds"] == [UNKNOWN, "odd"]
    assert "help" in answer.json()
    assert simulator.existing(ids) == ids


def test_repeating_a_call_lists_what_it_deleted_as_missing(simulator: Simulator, delete: Delete) -> None:
    """Calls are not idempotent: the second is a 404, and the ledger counts the ids sent again."""
    ids = simulator.remaining()[:3]
    delete({"fileIds": ids})
    again = delete({"fileIds": ids})
    assert (again.status_code, again.json()["missingFileIds"]) == (404, ids)
    assert simulator.stats()["ids_sent_again"] == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "fileIds parameter is missing."),
        ([], "fileIds parameter is missing."),
        ("fileIds", "fileIds parameter is missing."),
        (None, "fileIds parameter is missing."),
        ({"fileIds": "abc"}, "fileIds should be an Array."),
        ({"fileIds": None}, "fileIds should be an Array."),
        ({"fileIds": {}}, "fileIds should be an Array."),
        ({"fileIds": []}, "fileIds is empty."),
        ({"fileIds": [f"{n:024x}" for n in range(101)]}, "fileIds cannot have more than 100 items."),
        ({"fileIds": ["a", 1]}, "Your request contains invalid fileId parameter."),
    ],
)
def test_a_bad_body_is_refused(simulator: Simulator, delete: Delete, body: Any, message: str) -> None:
    """400 with the documented message; nothing is deleted."""
    answer = delete(body)
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert len(simulator.remaining()) == 150


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_json_is_a_400(simulator: Simulator, body: bytes) -> None:
    """The message is that of missing ids."""
    url = f"{simulator.url}/v1/files/batch/deleteByFileIds"
    answer = requests.post(url, data=body, auth=(KEY, ""), timeout=5)
    assert (answer.status_code, answer.json()["message"]) == (400, "fileIds parameter is missing.")


def test_duplicates_are_accepted_and_noticed(simulator: Simulator, delete: Delete) -> None:
    """An id twice in one call is deleted once, and counts as a violation."""
    first = simulator.remaining()[0]
    assert delete({"fileIds": [first, first]}).json() == {"successfullyDeletedFileIds": [first]}
    assert simulator.violations() == ["1 calls with an id twice"]


@pytest.mark.parametrize("setting", ["duplicates", "malformed_ids"])
def test_undocumented_cases_can_be_refused(simulator: Simulator, delete: Delete, setting: str) -> None:
    """Duplicates and malformed ids can be answered 400."""
    simulator.set_behaviour(**{setting: "refuse"})
    first = simulator.remaining()[0]
    ids = [first, first] if setting == "duplicates" else ["odd"]
    assert delete({"fileIds": ids}).status_code == 400


def test_failing_ids_are_listed_in_a_207(simulator: Simulator, delete: Delete) -> None:
    """207 has deleted ids and errors, without a message; failed files still exist."""
    good, bad = simulator.remaining()[:2]
    simulator.fail_ids([bad], "locked")
    answer = delete({"fileIds": [good, bad]})
    assert answer.status_code == 207
    assert answer.json() == {
        "successfullyDeletedFileIds": [good],
        "errors": [{"fileId": bad, "error": "locked"}],
    }
    assert simulator.existing([good, bad]) == [bad]


def test_a_refused_id_fails_its_whole_call_unnamed(simulator: Simulator, delete: Delete) -> None:
    """400 does not name the id, and nothing is deleted."""
    ids = simulator.remaining()[:4]
    simulator.refuse_ids(ids[2:3], "No.")
    answer = delete({"fileIds": ids})
    assert (answer.status_code, answer.json()["message"]) == (400, "No.")
    assert ids[2] not in answer.text
    assert simulator.existing(ids) == ids


def test_a_poison_id_makes_its_call_a_500(simulator: Simulator, delete: Delete) -> None:
    """The call with it fails, the one without succeeds, and a cured id can be deleted."""
    ids = simulator.remaining()[:4]
    simulator.poison_ids(ids[:1])
    assert delete({"fileIds": ids}).status_code == 500
    assert delete({"fileIds": ids[1:]}).status_code == 200
    simulator.poison_ids([])
    assert delete({"fileIds": ids[:1]}).status_code == 200


@pytest.mark.parametrize("authorization", [None, "Basic Og==", "Bearer abc", "Basic ???", "Basic"])
def test_without_a_key_there_is_401(simulator: Simulator, authorization: str | None) -> None:
    """A call without a private key is refused."""
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = requests.post(f"{simulator.url}/v1/files/batch/deleteByFileIds", headers=headers, timeout=5)
    assert answer.status_code == 401
    assert answer.json()["message"] == "Your request does not contain private API key."


def test_the_password_is_ignored(simulator: Simulator) -> None:
    """Only the user name counts."""
    answer = requests.get(f"{simulator.url}/v1/files", auth=(KEY, "do_not_set"), timeout=5)
    assert answer.status_code == 200


def test_a_wrong_key_is_a_403(simulator: Simulator) -> None:
    """Another key than the account's is refused."""
    answer = requests.get(f"{simulator.url}/v1/files", auth=("private_wrong", ""), timeout=5)
    assert answer.status_code == 403
    assert answer.json()["message"] == "Your account cannot be authenticated."


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("wrong", "Your account cannot be authenticated."),
        ("expired", "Your request contains expired private API key."),
        ("disabled", "Your account is disabled."),
    ],
)
def test_a_key_can_become_invalid_and_valid_again(
    simulator: Simulator, delete: Delete, state: str, message: str
) -> None:
    """While it is invalid nothing is deleted; afterwards the same call succeeds."""
    ids = simulator.remaining()[:2]
    simulator.set_key(state=state)
    refused = delete({"fileIds": ids})
    assert (refused.status_code, refused.json()["message"]) == (403, message)
    assert simulator.existing(ids) == ids
    simulator.set_key(state="good")
    assert delete({"fileIds": ids}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/batch/deleteByFileIds/",
        "/V1/FILES/BATCH/DELETEBYFILEIDS",
        "/v1/files/batch/deletebyfileids",
    ],
)
def test_paths_ignore_case_and_trailing_slash(simulator: Simulator, path: str) -> None:
    """SDKs write the path differently."""
    ids = simulator.remaining()[:1]
    answer = requests.post(simulator.url + path, json={"fileIds": ids}, auth=(KEY, ""), timeout=5)
    assert answer.json() == {"successfullyDeletedFileIds": ids}


def test_another_path_or_method_is_a_404(simulator: Simulator) -> None:
    """The response is JSON as well."""
    for method, path in (("GET", "/v2/files"), ("PUT", "/v1/files"), ("GET", "/")):
        answer = requests.request(method, simulator.url + path, auth=(KEY, ""), timeout=5)
        assert answer.status_code == 404
        assert "message" in answer.json()


def test_every_response_has_a_separate_request_id(simulator: Simulator, delete: Delete) -> None:
    """`x-ik-requestId` is in every response, is unique, and is in the ledger."""
    ids = simulator.remaining()
    bodies: list[Any] = [{"fileIds": ids[:1]}, {"fileIds": [UNKNOWN]}, {}, None]
    answers = [delete(body) for body in bodies]
    answers.append(requests.get(f"{simulator.url}/v1/files", timeout=5))
    seen = [answer.headers["x-ik-requestId"] for answer in answers]
    assert len(set(seen)) == 5
    assert [call.request_id for call in simulator.calls()] == seen
