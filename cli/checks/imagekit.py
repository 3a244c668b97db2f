"""Looks at ImageKit by a call that changes nothing: the list of files, of which it asks for one."""

from __future__ import annotations

import base64
import json

import requests

from cli.checks.findings import Finding, Result
from config.settings import Settings
from worker.imagekit.reading import clean
from worker.imagekit.transport import RawAnswer, Transport

PATH = "/v1/files?limit=1"
_MOST_BYTES = 1024 * 1024


def check_api(settings: Settings) -> Finding:
    """Make one call with the private key, or without one if none is set, and judge the answer."""
    key = settings.private_key.get_secret_value() if settings.private_key else ""
    raw = _call(settings, key)
    where = settings.base_url
    if raw.status is None:
        return Finding("imagekit", Result.FAILED, f"{where} cannot be reached: {clean(raw.failure or '', (key,))}")
    if raw.status == 429:
        return Finding("imagekit", Result.WARNING, f"{where} answers, and throttles at the moment (429)")
    if raw.status in {401, 403}:
        return _refused(raw, key, where)
    if raw.status != 200 or not isinstance(_body(raw), list):
        told = f"{where} answers with status {raw.status} and not as ImageKit does; is IMAGE_KIT_BASE_URL right?"
        return Finding("imagekit", Result.FAILED, told)
    if not key:
        told = f"{where} answers even without a private key; workers need one: set IMAGEKIT_PRIVATE_KEY"
        return Finding("imagekit", Result.WARNING, told)
    return Finding("imagekit", Result.OK, f"{where} answers and accepts the private key")


def _refused(raw: RawAnswer, key: str, where: str) -> Finding:
    if not key:
        told = f"{where} answers; no private key is set, and workers need one: set IMAGEKIT_PRIVATE_KEY"
        return Finding("imagekit", Result.WARNING, told)
    body = _body(raw)
    message = clean(str(body.get("message", "")), (key,)) if isinstance(body, dict) else ""
    told = f"{where} refuses the private key ({raw.status}); is IMAGEKIT_PRIVATE_KEY right?"
    return Finding("imagekit", Result.FAILED, f"{told} It says: {message}" if message else told)


def _call(settings: Settings, key: str) -> RawAnswer:
    request = requests.PreparedRequest()
    request.method = "GET"
    request.url = settings.base_url + PATH
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "kitsweep"}
    if key:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
    request.headers = requests.structures.CaseInsensitiveDict(headers)
    transport = Transport(settings.http_connect_timeout_seconds, settings.http_timeout_seconds)
    try:
        return transport.exchange(request, _MOST_BYTES)
    finally:
        transport.close()


def _body(raw: RawAnswer) -> object:
    try:
        body: object = json.loads(raw.body)
    except (ValueError, RecursionError):
        return None
    return body
