"""The answers of the drop-in, in the shapes and words of ImageKit's API (its OpenAPI file, `api.imagekit.io`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from web.credentials import MissingCredentials, TooManyWrong, WrongAccount, WrongCredentials
from web.problems import RETRY
from worker.errors import InvalidRequest, KitsweepError, QueueUnavailable
from worker.reports.report import Report

VENDOR_HELP = "For support kindly contact us at support@imagekit.io ."
OUR_HELP = "This answer comes from Kitsweep, not from ImageKit."
BULK_MISSING = "The requested file(s) does not exist."
MISSING = "The requested file does not exist."
CANCELLED = "The deletion was cancelled."
REQUEST_ID = "X-Kitsweep-Request-Id"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    content: Mapping[str, Any] | None = None
    """The JSON body; None: no body."""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The body as it is sent."""
        return b"" if self.content is None else _encode(self.content).encode()


class Refusal(Exception):
    """A call that is answered without a deletion."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def vendor(status: int, message: str, **more: Any) -> Answer:
    """Return a refusal in the words of the vendor."""
    return Answer(status, {"message": message, "help": VENDOR_HELP, **more})


def ours(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a refusal that the vendor does not know, in its shape."""
    return Answer(status, {"message": message, "help": OUR_HELP}, headers or {})


NO_KEY = vendor(401, "Your request does not contain private API key.")
WRONG_KEY = vendor(403, "Your account cannot be authenticated.")
IDS_MISSING = vendor(400, "fileIds parameter is missing.")
IDS_TOO_MANY = vendor(400, "fileIds cannot have more than 100 items.")
IDS_NO_ARRAY = vendor(400, "fileIds should be an Array.")
IDS_EMPTY = vendor(400, "fileIds is empty.")
INVALID_ID = vendor(400, "Your request contains invalid fileId parameter.")
NOT_JSON = ours(400, "The body is not valid JSON.")
TOO_LARGE = ours(413, "The body is larger than 1 MB.", {"Connection": "close"})
TOO_SLOW = ours(408, "The body did not arrive in time.", {"Connection": "close"})
OTHER_CONTENT = ours(422, "The Idempotency-Key was used before, by another caller or for other file ids.")
GONE = ours(503, "The request is gone: Redis lost it. Send the call again.", RETRY)
FAILED = ours(500, "An unexpected error. It is in the server's log.")


def of_error(error: KitsweepError) -> Answer:
    """Return the answer to an error of ours."""
    match error:
        case MissingCredentials():
            return NO_KEY
        case WrongCredentials():
            return WRONG_KEY
        case TooManyWrong():
            return ours(429, str(error), RETRY)
        case InvalidRequest() | WrongAccount():
            return ours(403 if isinstance(error, WrongAccount) else 400, str(error))
        case QueueUnavailable():
            return ours(503, str(error), RETRY)
    return ours(500, str(error))


def of_bulk(report: Report, file_ids: Sequence[str]) -> Answer:
    """Return the answer to a bulk delete whose request is final."""
    errors = _errors(report, file_ids, BULK_MISSING)
    if not errors:
        return Answer(200, {"successfullyDeletedFileIds": _deleted(report)})
    if report["not_found"] == report["total"]:
        return vendor(404, BULK_MISSING, missingFileIds=report["missing_file_ids"])
    return Answer(207, {"successfullyDeletedFileIds": _deleted(report), "errors": _listed(errors)})


def of_single(report: Report, file_ids: Sequence[str]) -> Answer:
    """Return the answer to the deletion of one file whose request is final."""
    if report["not_found"]:
        return vendor(404, MISSING)
    errors = _errors(report, file_ids, MISSING)
    return vendor(400, *errors.values()) if errors else Answer(204)


def pending(report: Report, file_ids: Sequence[str], location: str, why: str) -> Answer:
    """Return the answer to a call whose request is not final: a 202 with what is known."""
    deleted, errors = _deleted(report), _errors(report, (), BULK_MISSING)
    content = {
        "successfullyDeletedFileIds": deleted,
        "pendingFileIds": [file_id for file_id in file_ids if file_id not in {*deleted, *errors}],
        **({"errors": _listed(errors)} if errors else {}),
        "requestId": report["request_id"],
        "message": f"{why} Send the same call again, or read {location}, to see how it ended.",
    }
    return Answer(202, content, {"Location": location})


def _deleted(report: Report) -> list[str]:
    return [*report["successfully_deleted_file_ids"], *report["presumed_deleted_file_ids"]]


def _errors(report: Report, file_ids: Sequence[str], missing: str) -> dict[str, str]:
    """Return why each file is not deleted. The rest of the `file_ids` of a final request were cancelled."""
    errors = dict.fromkeys(report["missing_file_ids"], missing)
    errors |= {each["file_id"]: each["error"] for each in report["errors"]}
    known = {*_deleted(report), *errors}
    return errors | {file_id: CANCELLED for file_id in file_ids if file_id not in known}


def _listed(errors: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"fileId": file_id, "error": error} for file_id, error in errors.items()]
