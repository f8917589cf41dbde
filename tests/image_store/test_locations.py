"""Where images may come from: what the operator lists, and never a private network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address

from cyclades_tx.errors import BadRequest, CycladesError, Forbidden
from cyclades_tx.image_store.locations import Locations, PublicResolver

ALLOWED = Locations(("https://images.example.org/linux", "http://mirror.example:8080", "pithos://"))


@pytest.mark.parametrize(
    "url",
    [
        "https://images.example.org/linux",
        "https://images.example.org/linux/debian.raw",
        "https://IMAGES.example.org./linux/debian.raw?version=1",
        "https://images.example.org:443/linux/x",
        "http://mirror.example:8080/anything/at/all",
        "pithos://user/container/path",
    ],
)
def test_what_is_listed_is_allowed(url: str) -> None:
    """Below its path, whatever the case of the host."""
    assert ALLOWED.check(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example.org/linux/x",
        "https://images.example.org/linuxes/x",
        "https://images.example.org/",
        "https://images.example.org/linux/../secret",
        "https://images.example.org/linux/%2e%2E/secret",
        "https://images.example.org/linux/.%2e/secret",
        "https://images.example.org:8443/linux/x",
        "https://images.example.org.evil.example/linux/x",
        "https://evil.example/https://images.example.org/linux",
        "http://mirror.example/x",
        "http://127.0.0.1/x",
        "file:///etc/shadow",
        "ftp://images.example.org/linux/x",
        "gopher://mirror.example:8080/",
    ],
)
def test_what_is_not_listed_is_refused(url: str) -> None:
    """However it is dressed up."""
    with pytest.raises(Forbidden):
        ALLOWED.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "https:///linux",
        "https://user:pass@images.example.org/linux/x",
        "https://images.example.org@evil.example/linux/x",
        "https://evil.example\\@images.example.org/linux",
        "https://images.example.org/linux/x y",
        "https://images.example.org/linux/x\r\nX-Evil: 1",
        "https://images.example.org/linux/\u00e9",
        "https://[::1/x",
        "https://images.example.org:99999/linux",
        "https://images.example.org/" + "x" * 5000,
    ],
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    """Nothing that two programs could read differently."""
    with pytest.raises(BadRequest):
        ALLOWED.check(url)


@given(st.text())
def test_any_text_is_a_listed_url_or_refused(text: str) -> None:
    """With an error of ours."""
    try:
        ALLOWED.check(text)
    except CycladesError:
        return
    assert text.lower().startswith(("https://images", "http://mirror", "pithos:"))


def test_files_are_allowed_below_a_folder() -> None:
    """Of the clusters' nodes themselves, and none above it."""
    locations = Locations(("file:///srv/images",))
    assert locations.check("file:///srv/images/debian").host == ""
    assert not locations.fetched()
    for url in (
        "file:///srv/images/../x", "file:///srv/imagesx", "file:///etc/shadow",
        "file://host/srv/images/x", "cyclades-image:0e1b1fa3-ea9e-4e3c-a1d3-bf5e11e0f9b1",
    ):  # fmt: skip
        with pytest.raises(Forbidden):
            locations.check(url)


def test_without_a_list_nothing_is_allowed() -> None:
    """Which is how it is until the operator says something."""
    assert not Locations()
    assert not Locations().fetched()
    assert ALLOWED.fetched()
    assert not Locations(("pithos://",)).fetched()
    with pytest.raises(Forbidden):
        Locations().check("https://images.example.org/linux")


PRIVATE = (
    "127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "::1",
    "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1",
    "not an address",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_connected_to(address: str) -> None:
    """In whichever form they are written."""
    assert not ALLOWED.may_connect(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_are(address: str) -> None:
    """Of both families."""
    assert ALLOWED.may_connect(address)


def test_the_operator_may_open_a_private_network() -> None:
    """That one, and no other."""
    locations = Locations(("http://mirror.example",), ("10.1.0.0/16", "fd00::/8"))
    assert locations.may_connect("10.1.2.3")
    assert locations.may_connect("fd00::1")
    assert not locations.may_connect("10.2.0.1")
    assert not locations.may_connect("::ffff:10.1.2.3")


class Answers:
    """A resolver with answers of its own, and who hears them."""

    def __init__(self, *addresses: Any) -> None:
        self._addresses = addresses
        self.heard: list[str] = []
        self.over = False

    def resolveHostName(self, receiver: Any, *_rest: Any) -> None:
        """Answer at once."""
        receiver.resolutionBegan(self)
        for address in self._addresses:
            receiver.addressResolved(address)
        receiver.resolutionComplete()

    def resolutionBegan(self, resolution: Any) -> None:
        """Nothing."""

    def addressResolved(self, address: Any) -> None:
        """Note it."""
        self.heard.append(address.host)

    def resolutionComplete(self) -> None:
        """Note it."""
        self.over = True


def test_a_names_private_addresses_are_left_out() -> None:
    """A name with none other has none."""
    resolver: Any = Answers(
        IPv4Address("TCP", "127.0.0.1", 80),
        IPv4Address("TCP", "93.184.216.34", 80),
        IPv6Address("TCP", "::1", 80),
    )
    PublicResolver(resolver, ALLOWED).resolveHostName(resolver, "rebinding.example", 80)
    assert resolver.heard == ["93.184.216.34"]
    assert resolver.over
