"""Resolves the host of a callback once, checks its addresses, and connects to a checked one.

Producers choose callback URLs. Without this check, a URL could make a worker post to a service inside its network
(server-side request forgery). A second DNS lookup could return another address than the checked one.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable, Sequence

from config.webhooks import Address, Network, address_problem, is_allowed


class AddressRefused(Exception):
    """Webhooks may not go to any address of the host; the text names one."""


def checked_addresses(host: str, port: int, allowed: Sequence[Network]) -> list[Address]:
    """Resolve a host; return those of its addresses that webhooks may go to.

    Raises:
        AddressRefused: there are none.
        OSError: the host cannot be resolved.
    """
    found = list(_resolved(host, port))
    usable = [address for address in found if is_allowed(address, allowed)]
    if not usable:
        raise AddressRefused(address_problem(found[0]))
    return usable


def _resolved(host: str, port: int) -> Iterable[Address]:
    """Return the addresses of a host, each once, in the system's order of preference. Raises `OSError`."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or too long
        raise OSError("not a valid host name") from None
    return dict.fromkeys(ipaddress.ip_address(str(info[4][0])) for info in infos)


def connect_to(addresses: Sequence[Address], port: int, seconds: float) -> socket.socket:
    """Connect to the first of several addresses that answers, within `seconds` for all. Raises `OSError`."""
    give_up = time.monotonic() + seconds
    for address in addresses[:-1]:
        try:
            return socket.create_connection((str(address), port), _half_of(give_up))
        except OSError:
            continue
    return socket.create_connection((str(addresses[-1]), port), max(0.1, give_up - time.monotonic()))


def _half_of(give_up: float) -> float:
    # The rest is for the addresses that follow.
    return max(0.1, (give_up - time.monotonic()) / 2)
