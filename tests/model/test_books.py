"""Pools of values as arithmetic."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model.books import free_ranges, value_number

NUMBERS = st.integers(0, 300)


@given(first=NUMBERS, size=st.integers(0, 200), used=st.frozensets(NUMBERS))
def test_free_ranges_are_the_pool_without_what_is_used(
    first: int, size: int, used: frozenset[int]
) -> None:
    """Exactly, in order, and no two of them touch."""
    last = first + size
    ranges = free_ranges(first, last, used)
    listed = [number for low, high in ranges for number in range(low, high + 1)]
    assert listed == [number for number in range(first, last + 1) if number not in used]
    assert all(low <= high for low, high in ranges)
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(ranges))


@given(number=st.integers(0, 0xFFFF))
def test_the_number_of_a_value_is_found_again(number: int) -> None:
    """Of a bridge, and of a MAC prefix of five digits."""
    assert value_number("bridge", "prv", f"prv{number}") == number
    digits = f"{0xAA000 + number:05x}"
    if 0xAA000 + number <= 0xFFFFF:
        text = f"{digits[:2]}:{digits[2:4]}:{digits[4]}"
        assert value_number("mac_prefix", "aa:00:0", text) == number


@pytest.mark.parametrize(
    ("kind", "base", "text"),
    [
        ("bridge", "prv", "br0"),
        ("bridge", "prv", "prv"),
        ("bridge", "prv", "prv007"),
        ("bridge", "prv", "prv-1"),
        ("bridge", "prv", "prv٣"),
        ("bridge", "prv", "prv" + "9" * 40),
        ("mac_prefix", "aa:00:0", "a9:ff:f"),
        ("mac_prefix", "aa:00:0", "aa:00:01"),
        ("mac_prefix", "aa:00:0", "AA:00:1"),
        ("mac_prefix", "nonsense", "aa:00:1"),
        ("mac_prefix", "aa:00:0", ""),
    ],
)
def test_a_value_that_was_made_by_hand_belongs_to_no_pool(kind: str, base: str, text: str) -> None:
    """It is no number, and no error either."""
    assert value_number(kind, base, text) is None
