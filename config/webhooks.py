"""Settings of webhooks: callback URLs, secrets, and allowed addresses."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import ssl
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, RootModel, SecretStr, ValidationError

from config.names import CLEANUP, is_name
from config.problems import explain

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ALL = "*"
"""Stands for every source that has no callback of its own."""
FORM = '{"catalog": "https://catalog.example.com/hooks/kitsweep", "*": "https://example.com/deleted"}'
MAX_URL = 2000
SECRET_PREFIX = "whsec_"  # noqa: S105 - the public start of every secret
URL_RULE = f"must be an http or https URL of at most {MAX_URL} printable ASCII characters, without a fragment"
SECRET_RULE = (
    f"must be one secret, or two separated by a space while rotating: {SECRET_PREFIX} and the base64 of 24 to 64 bytes"
)

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def check_url(value: str) -> str:
    """Return a callback URL. Raises `ValueError`, which does not show the URL: it may hold credentials."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(URL_RULE) from None
    is_clean = value.isascii() and value.isprintable() and not set(value) & set(" \\#") and len(value) <= MAX_URL
    if not is_clean or parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(URL_RULE)
    return value


def check_ca_file(path: str) -> str:
    """Return the path of a file with certificates. Raises `ValueError` if there are none that can be read."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise ValueError(f"must be a PEM file with certificates ({error.strerror or error})") from None
    return path


def masked(url: str) -> str:
    """Return a callback URL without user, password and query, for people to read."""
    parts = urlsplit(url)
    query = "?…" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def _source_name(name: str) -> str:
    if name != ALL and not is_name(name.removeprefix(CLEANUP)):
        raise ValueError("is no source name: use 1 to 64 of A-Z a-z 0-9 . _ -, cleanup:RULE, or * for all others")
    return name


class Callbacks(
    RootModel[dict[Annotated[str, AfterValidator(_source_name)], Annotated[str, AfterValidator(check_url)]]]
):
    """The callback URLs of sources, by name of the source."""

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)

    @classmethod
    def read(cls, value: object) -> Callbacks:
        """Read the value of the setting, as JSON or decoded. ``ValueError`` names every problem, and shows no URL."""
        try:
            return cls.model_validate_json(value) if isinstance(value, str) else cls.model_validate(value)
        except ValidationError as error:
            problems = [explain(detail, ()) for detail in error.errors() if detail["loc"]]
        raise ValueError("; ".join(problems) or f"must be a JSON object such as {FORM}")

    def url_of(self, source: str) -> str | None:
        """Return the callback of a source; None if it has none."""
        return self.root.get(source) or self.root.get(ALL)

    def __str__(self) -> str:
        return json.dumps({source: masked(url) for source, url in self.root.items()}, ensure_ascii=False)

    __repr__ = __str__


def read_secrets(value: SecretStr) -> tuple[str, ...]:
    """Return the secrets that sign webhooks, the newest first. Raises `ValueError`, which does not show them."""
    secrets = tuple(value.get_secret_value().split())
    if not 1 <= len(secrets) <= 2 or not all(map(_is_secret, secrets)):
        raise ValueError(SECRET_RULE)
    return secrets


def _is_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(SECRET_PREFIX) and 24 <= len(key) <= 64


def _usable_secret(value: SecretStr) -> SecretStr:
    read_secrets(value)
    return value


WebhookSecret = Annotated[SecretStr, AfterValidator(_usable_secret)]


def read_networks(value: object) -> tuple[Network, ...]:
    """Read a list of networks, as JSON or decoded. Raises `ValueError`."""
    try:
        listed = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        listed = None
    if not isinstance(listed, list | tuple):
        raise ValueError('must be a JSON list of networks such as ["10.0.0.0/8", "fd00::/8"]')
    return tuple(ipaddress.ip_network(str(each)) for each in listed)


def literal_problem(url: str, allowed: Iterable[Network]) -> str | None:
    """Return why webhooks may not go to the IP address in a URL; None if they may, or if the URL has a host name.

    The addresses of a host name are checked when the webhook is sent.
    """
    try:
        address = ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return None
    return None if is_allowed(address, allowed) else address_problem(address)


def address_problem(address: Address) -> str:
    """Return the message for an address that is not allowed."""
    return f"{address} is not a public address; to allow its network, list it in KITSWEEP_WEBHOOK_ALLOW"


def is_allowed(address: Address, allowed: Iterable[Network]) -> bool:
    """Return whether webhooks may go to an address: it is public, or in an allowed network.

    Of an IPv6 address that embeds an IPv4 address (mapped, 6to4, NAT64), the IPv4 address is checked.
    """
    reached = _embedded(address) or address
    return _is_public(reached) or any(reached in network for network in allowed)


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_public(address: Address) -> bool:
    is_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or is_local)
