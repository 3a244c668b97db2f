"""Passes all other calls on to ImageKit, and its responses back, both as streams.

Only with the account's private key, since no scope of a token allows every call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from config.settings import Settings
from tasks.seen_limits import Endpoint, learn_limits
from web.context import Context
from web.dropin import answers
from web.dropin.answers import Answer
from web.exchange import BODY_SECONDS, CutOff, Exchange
from worker.errors import KitsweepError

logger = logging.getLogger(__name__)
# httpx logs a line for each call, with its URL.
logging.getLogger("httpx2").setLevel(logging.WARNING)

MAX_CONNECTIONS = 200
SECONDS = 60.0
"""How long to wait for the next part of a response."""
_OF_ONE_CONNECTION = frozenset(
    b"connection expect host keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer"
    b" transfer-encoding upgrade".split()
)
"""Headers that concern one connection and not the call (RFC 9110, 7.6.1)."""


class PassThrough:
    """A proxy in front of the API and the upload host."""

    def __init__(self, context: Context) -> None:
        self._context = context
        settings = context.settings
        self._timeout = httpx2.Timeout(SECONDS, connect=settings.http_connect_timeout_seconds)
        self._client = httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=4.0),
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        self._told: dict[tuple[str, Endpoint], tuple[str, ...]] = {}
        self._teaching: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def answer(self, exchange: Exchange) -> None:
        """Pass one call on, or answer why not."""
        refusal = await self._refusal(exchange)
        if refusal is not None:
            await exchange.respond(refusal.status, refusal.body, refusal.headers)

    async def _refusal(self, exchange: Exchange) -> Answer | None:
        """Pass a call on; return the answer if there is no response of ImageKit's."""
        try:
            caller = await self._context.credentials.caller(exchange.header(b"authorization"))
            if not caller.is_account:
                return answers.ours(403, "Only calls with the account's private key are passed on to ImageKit.")
            settings = self._context.accounts.of(caller.account).settings
            response = await self._client.send(self._request(exchange, settings), stream=True)
        except KitsweepError as error:
            return answers.of_error(error)
        except CutOff:
            return None
        except (httpx2.TimeoutException, TimeoutError):
            return answers.ours(504, "ImageKit did not answer in time.")
        except httpx2.HTTPError as error:
            return answers.ours(502, f"ImageKit cannot be reached ({type(error).__name__}).")
        try:
            self._learn(exchange, settings, response)
            await _deliver(exchange, response)
        finally:
            await response.aclose()
        return None

    def _request(self, exchange: Exchange, settings: Settings) -> httpx2.Request:
        is_upload = "/files/upload" in exchange.raw_path.lower()
        url = (settings.upload_base_url if is_upload else settings.base_url) + exchange.raw_path
        query = b"?" + exchange.query if exchange.query else b""
        names = {name for name, _ in exchange.raw_headers}
        return httpx2.Request(
            exchange.method,
            httpx2.URL(url + query.decode("latin-1")),
            headers=_of_the_call(exchange.raw_headers),
            content=_body(exchange) if names & {b"content-length", b"transfer-encoding"} else None,
            extensions={"timeout": self._timeout.as_dict()},
        )

    def _learn(self, exchange: Exchange, settings: Settings, response: httpx2.Response) -> None:
        """Tell the limiter about new limits, without delaying the caller."""
        endpoint, account = endpoint_of(exchange.raw_path), settings.account
        seen = tuple(response.headers.get(f"X-RateLimit-{name}", "") for name in ("Limit", "Interval", "Reset"))
        is_throttled = response.status_code == 429
        if (
            endpoint is None
            or not (is_throttled or seen[0])
            or (self._told.get((account, endpoint)) == seen[:2] and not is_throttled)
        ):
            return
        self._told[account, endpoint] = seen[:2]
        task = asyncio.create_task(self._teach(settings, endpoint, seen, is_throttled=is_throttled))
        self._teaching.add(task)
        task.add_done_callback(self._teaching.discard)

    async def _teach(
        self, settings: Settings, endpoint: Endpoint, seen: tuple[str, ...], *, is_throttled: bool
    ) -> None:
        limits, intervals, reset = (text or None for text in seen)
        try:
            await self._context.run(
                learn_limits,
                settings,
                endpoint,
                limits=limits,
                intervals=intervals,
                reset=reset,
                is_throttled=is_throttled,
            )
        except KitsweepError as error:
            logger.warning("could not record the rate limits of a response: %s", error)


def endpoint_of(raw_path: str) -> Endpoint | None:
    """Return as which endpoint ImageKit counts a call that is passed on; None if the limiter does not know it."""
    parts = raw_path.lower().rstrip("/").split("/")[1:]
    if parts[:3] == ["v1", "files", "purge"]:
        return Endpoint.PURGE
    is_list = parts == ["v1", "files"] or (parts[:2] == ["v1", "files"] and parts[3:] == ["details"])
    return Endpoint.LIST if is_list else None


def _of_the_call(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in _OF_ONE_CONNECTION and not name.lower().startswith(b"x-kitsweep-")
    ]


async def _body(exchange: Exchange) -> AsyncIterator[bytes]:
    more = True
    while more:
        async with asyncio.timeout(BODY_SECONDS):
            message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise CutOff
        more = message["more_body"]
        yield bytes(message["body"])


async def _goes_away(exchange: Exchange) -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass


async def _deliver(exchange: Exchange, response: httpx2.Response) -> None:
    headers = [(name.lower(), value) for name, value in _of_the_call(response.headers.raw)]
    await exchange.send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    gone = asyncio.ensure_future(_goes_away(exchange))
    try:
        async for part in response.aiter_raw():
            if gone.done():
                return
            await exchange.send({"type": "http.response.body", "body": part, "more_body": True})
        await exchange.send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
