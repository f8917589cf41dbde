"""Who is counted together, and until when."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from cyclades_tx.console import limits
from cyclades_tx.console.interfaces import Reason
from cyclades_tx.console.limits import ConsoleLimits, Strangers


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
    ],
)
def test_who_is_one(one: str, other: str, together: bool) -> None:
    """A customer's line usually has a whole /64."""
    strangers = Strangers(Clock(), ConsoleLimits(strangers_per_address=1, tries=1))
    assert strangers.enter(one) is None
    assert strangers.enter(other) is (Reason.TOO_MANY if together else None)
    strangers.leave(one)
    strangers.leave(other)
    assert strangers.enter(other) is None
    strangers.failed(one)
    assert strangers.may_try(other) is not together


def test_all_together_are_few() -> None:
    """From however many addresses."""
    strangers = Strangers(Clock(), ConsoleLimits(strangers=3))
    told = [strangers.enter(f"192.0.2.{number}") for number in range(4)]
    assert told == [None, None, None, Reason.TOO_MANY]


def test_the_memory_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten; all are, with a new window."""
    monkeypatch.setattr(limits, "_MOST_ADDRESSES", 2)
    clock = Clock()
    strangers = Strangers(clock, ConsoleLimits(tries=1, tries_window_seconds=60.0))
    for number in (1, 2, 1, 3):
        strangers.failed(f"192.0.2.{number}")
    assert [strangers.may_try(f"192.0.2.{number}") for number in (1, 2, 3)] == [False, True, False]
    clock.advance(60)
    assert strangers.may_try("192.0.2.1")
