"""Addresses and MACs as arithmetic: pools of a subnet, pieces of a pool, prefixes, EUI-64."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from cyclades_tx.errors import BadRequest, Conflict

Address = IPv4Address | IPv6Address

#: A fresh pool is cut into at most so many ranges: so many creates take from it side by side.
MOST_PIECES = 16
#: No piece of a fresh pool is smaller, unless the pool is.
LEAST_PIECE = 4
#: The widest and the narrowest IPv4 subnet; Ganeti has no others.
WIDEST_PREFIX = 16
NARROWEST_PREFIX = 30
_EUI64_PREFIX = 64

_MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")
_MAC_PREFIX = re.compile(r"^([0-9a-f]{2}:){2}[0-9a-f]{1,2}$")


@dataclass(frozen=True)
class Range:
    """A run of addresses, both ends included."""

    first: Address
    last: Address

    def __post_init__(self) -> None:
        if self.first.version != self.last.version or int(self.first) > int(self.last):
            raise ValueError(f"{self.first}-{self.last} is no range")

    def __contains__(self, address: Address) -> bool:
        return address.version == self.first.version and int(self.first) <= int(address) <= int(
            self.last
        )

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1


def parse_subnet(text: str) -> IPv4Network | IPv6Network:
    """Read a CIDR without host bits: IPv4 from /16 to /30, IPv6 exactly /64.

    :raise BadRequest: when it is something else.
    """
    try:
        network = ip_network(text, strict=True)
    except ValueError:
        raise BadRequest(
            f"{text!r} is not a subnet: write its first address and the length of the prefix, "
            "such as 10.0.0.0/24."
        ) from None
    if "/" not in text or "%" in text:
        raise BadRequest(f"{text!r} is not a subnet: the length of the prefix is missing.")
    if network.version == 4:
        if not WIDEST_PREFIX <= network.prefixlen <= NARROWEST_PREFIX:
            raise BadRequest(
                f"An IPv4 subnet must be from /{WIDEST_PREFIX} to /{NARROWEST_PREFIX}, not "
                f"/{network.prefixlen}."
            )
    elif network.prefixlen != _EUI64_PREFIX:
        raise BadRequest(f"An IPv6 subnet must be a /64, not /{network.prefixlen}.")
    return network


def parse_address(text: str, what: str = "address") -> Address:
    """Read one address.

    :param what: the noun for the message.
    :raise BadRequest: when it is none.
    """
    try:
        address = ip_address(text)
    except ValueError:
        raise BadRequest(f"{text!r} is not a valid {what}.") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise BadRequest(f"{text!r} is not a valid {what}: it names a zone.")
    return address


def default_gateway(subnet: IPv4Network | IPv6Network) -> Address:
    """The gateway of a subnet that was given none: its first address."""
    return subnet.network_address + 1


def check_gateway(subnet: IPv4Network | IPv6Network, gateway: Address) -> None:
    """See that a gateway is an address for a machine in its subnet.

    :raise BadRequest: when it is not.
    """
    if not usable(subnet, gateway):
        raise BadRequest(f"The gateway {gateway} is not an address for a machine in {subnet}.")


def usable(subnet: IPv4Network | IPv6Network, address: Address) -> bool:
    """Whether a machine may have this address: inside, and neither network nor broadcast."""
    if address.version != subnet.version or address not in subnet:
        return False
    if address == subnet.network_address:
        return False
    return subnet.version == 6 or address != subnet.broadcast_address


def pools(
    subnet: IPv4Network | IPv6Network,
    gateway: Address | None,
    given: Iterable[tuple[Address, Address]] | None = None,
) -> tuple[Range, ...]:
    """The addresses that are given out, in order.

    IPv6 subnets have none: machines make their addresses from their MAC.

    :param given: pools as asked for; None: everything but network, broadcast and gateway.
    :raise BadRequest: when pools are given for IPv6.
    :raise Conflict: when a given pool is reversed, outside, over another, or has the gateway.
    """
    if subnet.version == 6:
        if given:
            raise BadRequest("An IPv6 subnet has no allocation pools.")
        return ()
    if given is None:
        return _default_pools(subnet, gateway)
    ranges = []
    for first, last in given:
        if not usable(subnet, first) or not usable(subnet, last):
            raise Conflict(
                f"The pool {first}-{last} is not inside {subnet}.", "OutOfBoundsAllocationPool"
            )
        if int(first) > int(last):
            raise Conflict(f"The pool {first}-{last} is reversed.", "InvalidAllocationPool")
        ranges.append(Range(first, last))
    ranges.sort(key=lambda pool: int(pool.first))
    for before, after in itertools.pairwise(ranges):
        if int(after.first) <= int(before.last):
            raise Conflict(
                f"The pools from {before.first} and from {after.first} overlap.",
                "OverlappingAllocationPools",
            )
    if gateway is not None and any(gateway in pool for pool in ranges):
        raise Conflict(
            f"The gateway {gateway} is inside a pool.", "GatewayConflictWithAllocationPools"
        )
    return tuple(ranges)


def _default_pools(subnet: IPv4Network | IPv6Network, gateway: Address | None) -> tuple[Range, ...]:
    first = int(subnet.network_address) + 1
    last = int(subnet.broadcast_address) - 1
    bounds = [(first, last)]
    if gateway is not None:
        bounds = [(first, int(gateway) - 1), (int(gateway) + 1, last)]
    return tuple(Range(IPv4Address(low), IPv4Address(high)) for low, high in bounds if low <= high)


def pieces(pool: Range) -> tuple[Range, ...]:
    """Cut a pool into ranges of nearly equal size, so that takers need not wait in one line.

    A range that grows again by what is given back never crosses a piece's border.
    """
    size = len(pool)
    count = max(1, min(MOST_PIECES, size // LEAST_PIECE))
    kind = type(pool.first)
    start = int(pool.first)
    borders = [start + size * number // count for number in range(count + 1)]
    return tuple(Range(kind(low), kind(high - 1)) for low, high in itertools.pairwise(borders))


def piece_of(pool: Range, address: Address) -> Range:
    """The piece of a pool that an address of it belongs to."""
    return next(piece for piece in pieces(pool) if address in piece)


def mac_from(text: str) -> str:
    """A MAC in our writing: six pairs of small hex digits with colons.

    :raise BadRequest: when it is none, or one for groups.
    """
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.match(mac):
        raise BadRequest(f"{text!r} is not a valid MAC address.")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise BadRequest(f"{text!r} is not the MAC address of a single machine.")
    return mac


def check_mac_prefix(prefix: str) -> str:
    """See that a MAC prefix has five or six hex digits and is for single machines.

    :raise BadRequest: when it is not.
    """
    if not _MAC_PREFIX.match(prefix) or int(prefix[:2], 16) & 1:
        raise BadRequest(f"{prefix!r} is not a MAC prefix: write one such as aa:00:0.")
    return prefix


def make_mac(prefix: str, random_bits: Callable[[int], int]) -> str:
    """A MAC that begins with a prefix and goes on at random.

    :param random_bits: gives an integer of so many random bits.
    """
    digits = prefix.replace(":", "")
    missing = 12 - len(digits)
    digits += f"{random_bits(4 * missing):0{missing}x}"
    return ":".join(digits[start : start + 2] for start in range(0, 12, 2))


def cluster_mac_prefix(prefix: str, position: int) -> str:
    """The prefix of a network on one cluster: the network's, and the cluster's digit behind it.

    Clusters from the 17th on share digits. This does no harm: every interface that we make
    has a MAC of our own, and the cluster makes up one only for those that others add.

    :param position: the cluster's number, from 0.
    """
    digits = prefix.replace(":", "")
    if len(digits) == 5:
        digits += f"{position % 16:x}"
    return f"{digits[0:2]}:{digits[2:4]}:{digits[4:6]}"


def eui64_address(subnet: IPv6Network, mac: str) -> IPv6Address:
    """The address that a machine makes for itself in a /64 from its MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    host = bytes([octets[0] ^ 0x02]) + octets[1:3] + b"\xff\xfe" + octets[3:6]
    return IPv6Address(int(subnet.network_address) | int.from_bytes(host, "big"))
