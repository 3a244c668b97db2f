"""Answers of the API before they go over the wire: statuses, bodies, and the messages that are documented."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.plain import Json

_HELP = "For support kindly contact us at support@imagekit.io ."
_GATEWAY_PAGE = (
    b"<html>\r\n<head><title>%(status)d</title></head>\r\n"
    b"<body><center><h1>%(status)d</h1></center></body>\r\n</html>\r\n"
)
JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers of one answer. `headers` lacks those that every answer has."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(status: int, content: Json) -> Answer:
    """Make an answer with a JSON body."""
    return Answer(status, json.dumps(content).encode())


def refusal(status: int, message: str, **more: Json) -> Answer:
    """Make an answer that says why a call was not carried out."""
    return json_answer(status, {"message": message, "help": _HELP, **more})


def server_error(status: int) -> Answer:
    """Make a 5xx: JSON for 500, a gateway's HTML page for the others, since neither is specified."""
    if status == 500:
        return refusal(500, "We have encountered an internal error.")
    return Answer(status, _GATEWAY_PAGE % {b"status": status}, HTML_TYPE)


NO_KEY = refusal(401, "Your request does not contain private API key.")
WRONG_KEY = refusal(403, "Your account cannot be authenticated.")
EXPIRED_KEY = refusal(403, "Your request contains expired private API key.")
DISABLED_ACCOUNT = refusal(403, "Your account is disabled.")
TOO_MANY_CALLS = refusal(429, "Too many requests. Please try again later.")
NO_SUCH_PATH = refusal(404, "The requested resource does not exist.")
NO_SUCH_FILE = refusal(404, "The requested file does not exist.")
INVALID_FILE_ID = refusal(400, "Your request contains invalid fileId parameter.")
IDS_MISSING = refusal(400, "fileIds parameter is missing.")
IDS_TOO_MANY = refusal(400, "fileIds cannot have more than 100 items.")
IDS_NO_ARRAY = refusal(400, "fileIds should be an Array.")
IDS_EMPTY = refusal(400, "fileIds is empty.")
INVALID_PURGE_URL = refusal(400, "The URL is not valid for cache purging.")
UNKNOWN_PURGE = refusal(400, "Your request contains invalid requestId parameter.")


def missing_files(file_ids: list[str]) -> Answer:
    """Make the 404 of a bulk call that names ids of no file."""
    return refusal(404, "The requested file(s) does not exist.", missingFileIds=file_ids)
