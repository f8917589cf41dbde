"""Under which names failed logins count."""

from __future__ import annotations

import pytest

from cyclades_tx.errors import TooManyRequests
from cyclades_tx.identity.attempts import LoginLimits, address_subject, refuse_too_many


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.1", "address:192.0.2.1"),
        ("::ffff:192.0.2.1", "address:192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("fe80::1%eth0", "address:fe80::/64"),
        ("unknown", "address:unknown"),
    ],
)
def test_addresses_of_one_customer_count_together(address: str, subject: str) -> None:
    """IPv4 in each of its ways of writing, a whole /64 of IPv6."""
    assert address_subject(address) == subject


@pytest.mark.parametrize(("of_name", "of_address"), [(3, 0), (0, 6), (9, 9)])
def test_at_the_limit_nobody_gets_through(of_name: int, of_address: int) -> None:
    """The error says when to come again."""
    limits = LoginLimits(name_failures=3, address_failures=6)
    with pytest.raises(TooManyRequests) as caught:
        refuse_too_many(limits, of_name, of_address, 42)
    assert caught.value.retry_after_seconds == 42


def test_below_the_limit_everybody_gets_through() -> None:
    """One failure less is fine."""
    refuse_too_many(LoginLimits(name_failures=3, address_failures=6), 2, 5, 42)
