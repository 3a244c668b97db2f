"""The responses of the API: statuses, bodies, and the documented messages."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.json_value import Json

_HELP = "For support kindly contact us at support@imagekit.io ."
_GATEWAY_PAGE = (
    b"<html>\r\n<head><title>%(status)d</title></head>\r\n"
    b"<body><center><h1>%(status)d</h1></center></body>\r\n</html>\r\n"
)
JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html"


@dataclass(frozen=True, slots=True)
class Response:
    """Status, body and headers of one response. `headers` holds only those that not every response has."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)


def json_response(status: int, content: Json) -> Response:
    """Return a response with a JSON body."""
    return Response(status, json.dumps(content).encode())


def refusal(status: int, message: str, **more: Json) -> Response:
    """Return a response that says why the call was not carried out."""
    return json_response(status, {"message": message, "help": _HELP, **more})


def server_error(status: int) -> Response:
    """Return a 5xx: JSON for 500, a gateway's HTML page for the others. The vendor documents neither."""
    if status == 500:
        return refusal(500, "We have encountered an internal error.")
    return Response(status, _GATEWAY_PAGE % {b"status": status}, HTML_TYPE)


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
NO_PURGES_LEFT = refusal(429, "You have exceeded the number of purge requests of this month.")
UNKNOWN_PURGE = refusal(400, "Your request contains invalid requestId parameter.")


def missing_files(file_ids: list[str]) -> Response:
    """Return the 404 of a bulk call with ids that do not exist."""
    return refusal(404, "The requested file(s) does not exist.", missingFileIds=file_ids)
