"""Ranges from which subnets are cut, as arithmetic of prefixes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from cyclades_tx.errors import BadRequest
from cyclades_tx.model import address

Prefix = IPv4Network | IPv6Network

MOST_PREFIXES = 100
#: The lengths that a subnet here can have, and so the bounds of a pool that names none.
WIDEST = {4: address.WIDEST_PREFIX, 6: 64}
NARROWEST = {4: address.NARROWEST_PREFIX, 6: 64}
_LONGEST = {4: 32, 6: 128}


@dataclass(frozen=True)
class Lengths:
    """How long the prefixes of a pool's subnets may be, and are when nothing is said."""

    least: int
    default: int
    most: int


def prefixes_from(texts: Iterable[str]) -> tuple[Prefix, ...]:
    """Read the prefixes of a pool: of one version, in order, and as few as can say the same.

    :raise BadRequest: when one is none, they are mixed, too many, or none at all.
    """
    found: list[Prefix] = []
    for text in texts:
        if len(found) >= MOST_PREFIXES:
            raise _wrong(f"a pool has at most {MOST_PREFIXES} prefixes")
        try:
            if "/" not in text or "%" in text:
                raise ValueError(text)
            found.append(ip_network(text, strict=False))
        except ValueError:
            raise _wrong(f"{text[:80]!r} is not a prefix such as 10.0.0.0/16") from None
    if not found:
        raise _wrong("a pool needs a prefix")
    return collapsed(found)


def collapsed(prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """The fewest prefixes that cover the same.

    :raise BadRequest: when they are of two versions.
    """
    given = list(prefixes)
    four = [each for each in given if isinstance(each, IPv4Network)]
    six = [each for each in given if isinstance(each, IPv6Network)]
    if four and six:
        raise _wrong("a pool has prefixes of one IP version only")
    return (*collapse_addresses(four), *collapse_addresses(six))


def lengths_from(version: int, least: int | None, default: int | None, most: int | None) -> Lengths:
    """Read the lengths of a pool; what is None is what a subnet here can have.

    :raise BadRequest: when they are in no order, or no lengths.
    """
    chosen_least = WIDEST[version] if least is None else least
    chosen_most = NARROWEST[version] if most is None else most
    if default is None:
        default = max(chosen_least, WIDEST[version])
    for length in (chosen_least, default, chosen_most):
        if not 0 <= length <= _LONGEST[version]:
            raise _bounds(f"{length} is not the length of an IPv{version} prefix")
    if not chosen_least <= default <= chosen_most:
        raise _bounds(
            f"the default {default} is not from the least {chosen_least} to the most {chosen_most}"
        )
    return Lengths(chosen_least, default, chosen_most)


def cut(block: Prefix, wanted: Prefix) -> tuple[Prefix, ...]:
    """What is left of a free prefix when a part of it is taken."""
    if isinstance(block, IPv4Network) and isinstance(wanted, IPv4Network):
        return tuple(sorted(block.address_exclude(wanted)))
    assert isinstance(block, IPv6Network) and isinstance(wanted, IPv6Network)
    return tuple(sorted(block.address_exclude(wanted)))


def first_of(block: Prefix, length: int) -> Prefix:
    """The first prefix of a length in a free one."""
    return ip_network((block.network_address, length))


def sibling(prefix: Prefix) -> Prefix | None:
    """The other half of the prefix that is twice as large; None for everything."""
    if prefix.prefixlen == 0:
        return None
    size = 1 << (prefix.max_prefixlen - prefix.prefixlen)
    return ip_network((int(prefix.network_address) ^ size, prefix.prefixlen))


def siblings(prefix: Prefix) -> tuple[Prefix, ...]:
    """With what a prefix that becomes free may join, one after the other."""
    found = []
    while (beside := sibling(prefix)) is not None:
        found.append(beside)
        prefix = prefix.supernet()
    return tuple(found)


def joined(prefix: Prefix, free: Collection[Prefix]) -> tuple[Prefix, tuple[Prefix, ...]]:
    """What becomes of a prefix that is free again.

    :param free: of its :func:`siblings` those that are free.
    :return: the prefix with all that it joins, and these.
    """
    used: list[Prefix] = []
    while (beside := sibling(prefix)) is not None and beside in free:
        used.append(beside)
        prefix = prefix.supernet()
    return prefix, tuple(used)


def covers(prefixes: Iterable[Prefix], part: Prefix) -> bool:
    """Whether one of some collapsed prefixes holds a part."""
    return any(
        each.version == part.version
        and each.prefixlen <= part.prefixlen
        and part.network_address in each
        for each in prefixes
    )


def grown(before: Iterable[Prefix], after: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """What collapsed prefixes have more than others, which they hold.

    :raise BadRequest: when they do not hold all of them.
    """
    known, wanted = tuple(before), tuple(after)
    for each in known:
        if not covers(wanted, each):
            raise BadRequest(
                f"Illegal update to prefixes: existing prefix {each} must stay in the pool.",
                neutron_type="IllegalSubnetPoolUpdate",
            )
    added: list[Prefix] = list(wanted)
    for each in known:
        rest: list[Prefix] = []
        for piece in added:
            rest += cut(piece, each) if covers((piece,), each) else (piece,)
        added = rest
    return tuple(added)


def weight(prefix: Prefix) -> int:
    """What a subnet counts against a pool's quota: IPv4 addresses, or /64 of IPv6."""
    if prefix.version == 4:
        return prefix.num_addresses
    return max(1, prefix.num_addresses >> 64)


def _wrong(why: str) -> BadRequest:
    return BadRequest(f"Invalid input for prefixes. Reason: {why}.", neutron_type="InvalidInput")


def _bounds(why: str) -> BadRequest:
    return BadRequest(
        f"Illegal prefix bounds: {why}.", neutron_type="IllegalSubnetPoolPrefixBounds"
    )
