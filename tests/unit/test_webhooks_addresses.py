"""Webhooks go to public addresses only, and to the very address that was checked."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import pytest

from config.webhooks import is_allowed, literal_problem, read_networks
from tests.waiting import wait_until
from worker.webhooks.addresses import AddressRefused, checked_addresses, connect_to

PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
INSIDE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.0.1", "198.18.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::", "2001:0:7f00:1::"),
]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Return a function that says what every name resolves to; it returns the look-ups that were made."""

    def answer(*addresses: str) -> list[tuple[Any, ...]]:
        asked: list[tuple[Any, ...]] = []

        def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append((host, port))
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr("worker.webhooks.addresses.socket.getaddrinfo", getaddrinfo)
        return asked

    return answer


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    """Also inside an IPv6 one, as networks without IPv4 give them."""
    assert is_allowed(ipaddress.ip_address(text), ())


@pytest.mark.parametrize("text", INSIDE)
def test_inside_addresses_are_refused(text: str) -> None:
    """Loopback, private, shared, link-local, multicast, reserved; also inside an IPv6 address."""
    assert not is_allowed(ipaddress.ip_address(text), ())


@pytest.mark.parametrize("text", INSIDE)
def test_a_name_that_leads_inside_is_refused(text: str, resolve: Callable[..., Any]) -> None:
    """What DNS says is checked, whatever the name."""
    resolve(text)
    with pytest.raises(AddressRefused, match=r"is not a public address.*KITSWEEP_WEBHOOK_ALLOW"):
        checked_addresses("innocent.example", 443, ())


def test_a_setting_allows_a_network(resolve: Callable[..., Any]) -> None:
    """Of IPv4 also where an IPv6 address leads into it; nothing else."""
    allowed = read_networks('["10.1.0.0/16", "fd00::/8"]')
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::7"):
        assert is_allowed(ipaddress.ip_address(text), allowed)
    for text in ("10.2.0.1", "127.0.0.1", "fe80::1"):
        assert not is_allowed(ipaddress.ip_address(text), allowed)


def test_only_public_addresses_of_a_name_are_used(resolve: Callable[..., Any]) -> None:
    """A name that has both leads to the public ones, each once, in the order of the system."""
    asked = resolve("10.0.0.1", "93.184.216.34", "127.0.0.1", "8.8.8.8", "8.8.8.8")
    found = checked_addresses("both.example", 443, ())
    assert [str(address) for address in found] == ["93.184.216.34", "8.8.8.8"]
    assert asked == [("both.example", 443)], "resolved once"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "::1"])
def test_every_spelling_of_loopback_is_refused(host: str) -> None:
    """What the system makes of it counts, not how it is written."""
    with pytest.raises((AddressRefused, OSError)):
        checked_addresses(host, 80, ())


def test_a_name_that_does_not_resolve_is_an_os_error() -> None:
    """So is one that is no valid name."""
    for host in ("no-such-host.invalid", "a" * 70 + ".example", "a..example"):
        with pytest.raises(OSError, match=r"."):
            checked_addresses(host, 80, ())


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("http://10.0.0.1/", True),
        ("http://[::1]:8080/", True),
        ("http://u:p@[::ffff:10.0.0.1]/", True),
        ("http://8.8.8.8/", False),
        ("http://10.0.0.1.example/", False),
    ],
)
def test_an_address_in_a_url_is_checked_before_anything_is_enqueued(url: str, is_refused: bool) -> None:
    """Names are checked later, when they are resolved."""
    assert (literal_problem(url, ()) is not None) is is_refused


def test_the_connection_goes_to_the_checked_address(resolve: Callable[..., Any]) -> None:
    """No name is looked up again, since DNS could say something else by then."""
    asked = resolve("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with connect_to([ipaddress.ip_address("127.0.0.1")], port, 5) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
    assert asked == [("127.0.0.1", port)], "an address, and no name"


def test_the_next_address_is_tried() -> None:
    """One that does not answer costs at most its share of the time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        addresses = [ipaddress.ip_address(text) for text in ("127.0.0.2", "127.0.0.1")]
        with connect_to(addresses, port, 5) as connection:
            wait_until(lambda: connection.getpeername()[0] == "127.0.0.1")
