"""How often somebody may fail to log in: the limits, and under which names failures count."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from cyclades_tx.errors import TooManyRequests

#: A customer's line usually has a whole /64.
_IPV6_SHIFT = 64


@dataclass(frozen=True)
class LoginLimits:
    """Failed logins that are taken within one window of time, before all are refused.

    :param name_failures: of one user or application credential.
    :param address_failures: from one client address (IPv6: one /64).
    :param window_seconds: the length of a window; windows begin at whole multiples of it.
    """

    name_failures: int = 10
    address_failures: int = 10
    window_seconds: float = 300.0


def address_subject(address: str) -> str:
    """The name under which the failures of a client address are counted."""
    try:
        parsed = ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return f"address:{address}"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return f"address:{parsed.ipv4_mapped}"
        network = IPv6Address(int(parsed) >> _IPV6_SHIFT << _IPV6_SHIFT)
        return f"address:{network}/64"
    return f"address:{parsed}"


def refuse_too_many(
    limits: LoginLimits, name_failures: int, address_failures: int, retry_after_seconds: int
) -> None:
    """Raise when the limit is reached; says nothing about whether the user exists.

    :raise TooManyRequests: with the seconds until the window ends.
    """
    if name_failures >= limits.name_failures or address_failures >= limits.address_failures:
        raise too_many(retry_after_seconds)


def too_many(retry_after_seconds: int) -> TooManyRequests:
    """The error for somebody who failed too often."""
    return TooManyRequests(
        f"Too many failed logins; wait {retry_after_seconds} seconds and try again.",
        retry_after_seconds,
    )
