"""Where a request comes from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.web.http_headers import Headers

from cyclades_tx.api.identity.address import ClientAddress

TRUSTED = ("10.0.0.0/8", "2001:db8::1")


def request(peer: str | None, *forwarded: str) -> Any:
    """As much of a request as has to do with addresses."""
    headers = Headers()
    for value in forwarded:
        headers.addRawHeader(b"x-forwarded-for", value.encode("latin-1"))
    address = SimpleNamespace() if peer is None else SimpleNamespace(host=peer)
    return SimpleNamespace(getClientAddress=lambda: address, requestHeaders=headers)


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("198.51.100.1",), "192.0.2.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.1, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1, 10.0.0.2",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1", "10.0.0.2"), "198.51.100.1"),
        ("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ("10.0.0.1", ("198.51.100.1, nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("\xff\xfe",), "10.0.0.1"),
        ("10.0.0.1", ("",), "10.0.0.1"),
        ("::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("2001:db8::1", ("2001:db8:2::7",), "2001:db8:2::7"),
        ("fe80::1%eth0", (), "fe80::1"),
        (None, ("198.51.100.1",), "unknown"),
        ("", ("198.51.100.1",), "unknown"),
    ],
)
def test_only_a_trusted_proxy_is_believed(
    peer: str | None, forwarded: tuple[str, ...], found: str
) -> None:
    """And only what it has seen itself."""
    assert ClientAddress(TRUSTED).of(request(peer, *forwarded)) == found


def test_without_proxies_nobody_is_believed() -> None:
    """The peer it is."""
    assert ClientAddress().of(request("127.0.0.1", "198.51.100.1")) == "127.0.0.1"
