"""Where a request comes from, by which failed logins are counted."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

UNKNOWN = "unknown"


class ClientAddress:
    """Finds the client's address; a proxy's word counts only when we trust the proxy.

    :param trusted_proxies: addresses or networks, as in the configuration.
    """

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._trusted = tuple(ip_network(proxy, strict=False) for proxy in trusted_proxies)

    def of(self, request: Any) -> str:
        """The address as text; ``unknown`` for a peer without one, such as a local socket."""
        address = _parsed(getattr(request.getClientAddress(), "host", None) or "")
        if address is None:
            return UNKNOWN
        if not self._trusts(address):
            return str(address)
        said = request.requestHeaders.getRawHeaders(b"x-forwarded-for") or []
        hops = b",".join(said).decode("latin-1").split(",")
        # Each proxy has added its peer at the end; what the first stranger said counts no more.
        for hop in reversed(hops):
            before = _parsed(hop.strip())
            if before is None:
                break
            address = before
            if not self._trusts(address):
                break
        return str(address)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(
            address.version == network.version and address in network for network in self._trusted
        )


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.split("%", maxsplit=1)[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
