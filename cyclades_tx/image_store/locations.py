"""Where users may let images be fetched from: what the operator lists, and nothing private.

A URL is checked as text against the operator's list. The address that its host has is checked
when the connection is made, not before, so that no name can change its mind in between; and
every redirect is checked in both ways again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

from cyclades_tx.errors import BadRequest, Forbidden

_LONGEST = 4096
_PORTS = {"http": 80, "https": 443}
#: IPv4 addresses that are written inside these are judged by themselves.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Location:
    """A URL that the operator's list has.

    :ivar host: in small letters; empty for a scheme without hosts.
    """

    url: str
    scheme: str
    host: str


class Locations:
    """What the operator allows.

    :param prefixes: beginnings of URLs: a scheme, or a scheme and host, or with a path.
    :param private: networks that are not public, but allowed all the same.
    """

    def __init__(self, prefixes: Sequence[str] = (), private: Iterable[str] = ()) -> None:
        self._allowed = [_split(prefix) for prefix in prefixes]
        self._private = [ipaddress.ip_network(each) for each in private]

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def fetched(self) -> bool:
        """Whether anything that this process can fetch itself is allowed."""
        return any(scheme in _PORTS for scheme, _, _ in self._allowed)

    def check(self, url: str) -> Location:
        """A URL, if the operator's list has it.

        :raise BadRequest: when it is none, or hides something.
        :raise Forbidden: when the list does not have it.
        """
        if not 1 <= len(url) <= _LONGEST or any(not "!" <= each <= "~" for each in url):
            raise BadRequest("The location is not a URL, or is too long.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise BadRequest("The location is not a URL.") from None
        if parts.username is not None or parts.password is not None or "\\" in url:
            raise BadRequest("A location holds no user, no password and no backslash.")
        if parts.scheme in _PORTS and not parts.hostname:
            raise BadRequest("The location has no host.")
        place = (parts.scheme, _host(parts.scheme, parts.hostname, port), parts.path)
        for allowed in self._allowed:
            if _within(place, allowed):
                return Location(url, parts.scheme, (parts.hostname or "").lower())
        raise Forbidden("The operator does not allow images from this location.")

    def may_connect(self, address: str) -> bool:
        """Whether a connection may be made to an address: it is public, or allowed by itself."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if any(found.version == each.version and found in each for each in self._private):
            return True
        return all(_public(each) for each in _meant(found))


@implementer(IHostnameResolver)
class PublicResolver:
    """Resolves names, and leaves out addresses to which nothing may connect."""

    def __init__(self, resolver: IHostnameResolver, locations: Locations) -> None:
        self._resolver = resolver
        self._locations = locations

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Resolve a name; see IHostnameResolver."""
        receiver = _Sieve(resolutionReceiver, self._locations)
        return self._resolver.resolveHostName(
            receiver, hostName, portNumber, addressTypes, transportSemantics
        )


@implementer(IResolutionReceiver)
class _Sieve:
    def __init__(self, receiver: IResolutionReceiver, locations: Locations) -> None:
        self._receiver = receiver
        self._locations = locations

    def resolutionBegan(self, resolutionInProgress: object) -> None:
        """Pass it on."""
        self._receiver.resolutionBegan(resolutionInProgress)  # type: ignore[arg-type]

    def addressResolved(self, address: object) -> None:
        """Pass it on if it is public."""
        if isinstance(address, IPv4Address | IPv6Address) and self._locations.may_connect(
            address.host
        ):
            self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        """Pass it on."""
        self._receiver.resolutionComplete()


def _split(prefix: str) -> tuple[str, str, str]:
    """An entry of the operator's list: scheme, host with port, path.

    :raise ValueError: when it is none.
    """
    parts = urlsplit(prefix)
    if not parts.scheme or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{prefix!r} is not the beginning of a URL")
    return parts.scheme, _host(parts.scheme, parts.hostname, parts.port), parts.path


def _host(scheme: str, host: str | None, port: int | None) -> str:
    """A host and its port as one text, empty without a host."""
    if not host:
        return ""
    return f"{host.rstrip('.')}:{port or _PORTS.get(scheme, 0)}"


def _within(place: tuple[str, str, str], allowed: tuple[str, str, str]) -> bool:
    """Whether a place is below one that is allowed: whole parts of its path, without detours."""
    scheme, host, path = place
    # Only a scheme alone allows any host.
    if scheme != allowed[0] or ((allowed[1] or allowed[2]) and host != allowed[1]):
        return False
    if any(part.replace("%2e", ".").replace("%2E", ".") in (".", "..") for part in path.split("/")):
        return False
    base = allowed[2].rstrip("/")
    return not base or path == base or path.startswith(base + "/")


def _meant(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """An address, and those that are written inside it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inside: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [address]
    if address.sixtofour is not None:
        inside.append(address.sixtofour)
    if address.teredo is not None:
        inside += address.teredo
    if address in _NAT64:
        inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return inside


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved
