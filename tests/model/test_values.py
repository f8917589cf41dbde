"""Pools of bridges and MAC prefixes as arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from cyclades_tx.errors import BadRequest
from cyclades_tx.model import values
from cyclades_tx.model.books import value_number


def test_a_pool_of_mac_prefixes_has_only_those_for_single_machines() -> None:
    """Of 65,536 from aa:00:0 these are 16,383: aa:00:1 on, and all of ae, b2 and b6."""
    ranges = values.usable_ranges("mac_prefix", "aa:00:0", 1, 65535)
    assert sum(high - low + 1 for low, high in ranges) == 16383
    octets = {values.value_text("mac_prefix", "aa:00:0", low)[:2] for low, _ in ranges}
    assert octets == {"aa", "ae", "b2", "b6"}
    assert values.value_text("mac_prefix", "aa:00:0", ranges[0][0]) == "aa:00:1"


def test_a_base_with_a_leading_zero_is_kept() -> None:
    """As 02:00:0 is."""
    assert values.value_text("mac_prefix", "02:00:0", 5) == "02:00:5"
    assert values.usable_ranges("mac_prefix", "02:00:0", 0, 9) == ((0, 9),)


def test_a_pool_of_mac_prefixes_ends_with_the_last_octet() -> None:
    """However large it is said to be."""
    ranges = values.usable_ranges("mac_prefix", "fe:ff:0", 1, 2**24)
    assert ranges == ((1, 15),)


@pytest.mark.parametrize(
    ("kind", "base", "last"),
    [
        ("mac_prefix", "aa:00", 5),
        ("mac_prefix", "ab:00:0", 5),
        ("mac_prefix", "a8:00:0", 5),
        ("mac_prefix", "zz:00:0", 5),
        ("mac_prefix", "aa:00:0", 0),
        ("bridge", "", 5),
        ("bridge", "prv1", 5),
        ("bridge", "p r", 5),
        ("bridge", "-x", 5),
        ("bridge", "averylongname", 100),
        ("bridge", "prv", 0),
    ],
)
def test_a_pool_that_gives_no_usable_values_is_refused(kind: str, base: str, last: int) -> None:
    """With a sentence, before anything is written."""
    with pytest.raises(BadRequest):
        values.check_pool(kind, base, 1, last)


@settings(max_examples=100, deadline=None)
@given(base=some.sampled_from(["aa:00:0", "02:10:f", "ae:ff:ff"]), number=some.integers(0, 2**20))
def test_a_value_and_its_number_are_each_others_way_back(base: str, number: int) -> None:
    """For both kinds, as long as the number fits."""
    usable = values.usable_ranges("mac_prefix", base, number, number)
    if usable:
        text = values.value_text("mac_prefix", base, number)
        assert value_number("mac_prefix", base, text) == number
        assert int(text[:2], 16) & 3 == 2
    bridge = values.value_text("bridge", "prv", number)
    assert value_number("bridge", "prv", bridge) == number


@settings(max_examples=100, deadline=None)
@given(low=some.integers(0, 50), size=some.integers(1, 300))
def test_pieces_are_the_whole_range_without_a_gap(low: int, size: int) -> None:
    """At most sixteen, in order."""
    cut = values.pieces(low, low + size - 1)
    assert [n for begin, end in cut for n in range(begin, end + 1)] == list(range(low, low + size))
    assert len(cut) <= 16
