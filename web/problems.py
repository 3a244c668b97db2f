"""Errors of the REST API as RFC 9457 problems: what is wrong, where, and what to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tasks.admin import ListingError, ListingRefused, RulesError, UnknownRule
from tasks.id_files import InputError
from web.credentials import MissingCredentials, TooManyWrong, WrongAccount, WrongCredentials
from worker.errors import (
    InvalidRequest,
    KitsweepError,
    NotPossible,
    OwnRequest,
    QueueUnavailable,
    RequestIdTaken,
    RequestVanished,
    UnknownRequest,
)

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="kitsweep", Basic realm="kitsweep"'}
RETRY = {"Retry-After": str(RETRY_AFTER_SECONDS)}
STATUSES: tuple[tuple[type[KitsweepError], int, Mapping[str, str]], ...] = (
    (MissingCredentials, 401, CHALLENGE),
    (WrongCredentials, 403, {}),
    (WrongAccount, 403, {}),
    (TooManyWrong, 429, RETRY),
    (InvalidRequest, 422, {}),
    (InputError, 422, {}),
    (RequestIdTaken, 422, {}),
    (UnknownRequest, 404, {}),
    (UnknownRule, 404, {}),
    (OwnRequest, 403, {}),
    (NotPossible, 409, {}),
    (RequestVanished, 409, {}),
    (RulesError, 409, {}),
    (ListingRefused, 502, {}),
    (ListingError, 502, {}),
    (QueueUnavailable, 503, RETRY),
)
"""Status and headers of the answer to each of our errors."""


class Problem(Exception):
    """An error of a call. `detail` says what is wrong and what to do; `more` are further members of the problem."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(status, detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers, more


def add_handlers(app: FastAPI) -> None:
    """Answer every error of an application with a problem."""
    app.add_exception_handler(Problem, _of_ours)
    app.add_exception_handler(KitsweepError, _of_kitsweep)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(ClientDisconnect, _of_a_cut)
    app.add_exception_handler(Exception, _of_a_bug)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> JSONResponse:
    """Return the response that describes a problem."""
    content = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(content, status, dict(headers or {}), CONTENT_TYPE)


def status_of(error: KitsweepError) -> tuple[int, Mapping[str, str]]:
    """Return the status and the headers of the answer to an error."""
    return next(((status, headers) for kind, status, headers in STATUSES if isinstance(error, kind)), (500, {}))


def _of_ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101 - registered for this class alone
    return problem(error.status, error.detail, error.headers, **error.more)


def _of_kitsweep(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KitsweepError)  # noqa: S101 - registered for this class alone
    status, headers = status_of(error)
    return problem(status, str(error), headers)


def _of_validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    errors = [{"at": _place(each["loc"]), "detail": each["msg"]} for each in error.errors()]
    return problem(422, f"{errors[0]['at']}: {errors[0]['detail']}", errors=errors)


def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    details = {404: "There is nothing at this path.", 405: "This path does not take this method."}
    return problem(error.status_code, details.get(error.status_code, error.detail), error.headers)


def _of_a_cut(_: Request, __: Exception) -> JSONResponse:
    return problem(400, "The body was cut off. Nothing was enqueued.")


def _of_a_bug(request: Request, error: Exception) -> JSONResponse:
    fields = {"request_id": request.path_params.get("request_id")}
    logger.error("%s %s: unexpected error", request.method, request.url.path, exc_info=error, extra=fields)
    return problem(500, "An unexpected error. It is in the server's log.")


def _place(location: Sequence[object]) -> str:
    return ".".join(map(str, location))
