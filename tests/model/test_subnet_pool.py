"""Prefixes of subnet pools: read, cut, joined and grown."""

from __future__ import annotations

from ipaddress import collapse_addresses, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.errors import BadRequest
from cyclades_tx.model import subnet_pool as pool


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["10.0.0.0/24"], ["10.0.0.0/24"]),
        (["10.0.1.0/24", "10.0.0.0/24"], ["10.0.0.0/23"]),
        (["10.0.0.0/8", "10.1.0.0/16"], ["10.0.0.0/8"]),
        (["10.0.0.7/24"], ["10.0.0.0/24"]),
        (["fd00::/48", "fd01::/48"], ["fd00::/48", "fd01::/48"]),
    ],
)
def test_prefixes_are_as_few_as_can_say_the_same(texts: list[str], found: list[str]) -> None:
    """In order."""
    assert [str(each) for each in pool.prefixes_from(texts)] == found


@pytest.mark.parametrize(
    "texts",
    [[], ["x"], ["10.0.0.0"], ["10.0.0.0/33"], ["10.0.0.0/24", "fd00::/48"], ["fe80::%1/64"], [""],
     [f"10.0.{n}.0/24" for n in range(101)]],
    ids=range(8),
)  # fmt: skip
def test_wrong_prefixes_are_told(texts: list[str]) -> None:
    """Also none at all, too many, and of two versions."""
    with pytest.raises(BadRequest):
        pool.prefixes_from(texts)


@pytest.mark.parametrize(
    ("given_lengths", "found"),
    [
        ((4, None, None, None), (16, 16, 30)),
        ((6, None, None, None), (64, 64, 64)),
        ((4, 8, None, None), (8, 16, 30)),
        ((4, 20, None, 24), (20, 20, 24)),
        ((4, None, 24, None), (16, 24, 30)),
    ],
)
def test_lengths_that_are_not_named_are_chosen(
    given_lengths: tuple[int, int | None, int | None, int | None], found: tuple[int, int, int]
) -> None:
    """By what a subnet here can have."""
    lengths = pool.lengths_from(*given_lengths)
    assert (lengths.least, lengths.default, lengths.most) == found


@pytest.mark.parametrize(
    "lengths", [(4, 24, 20, 28), (4, 16, 24, 20), (4, 0, 16, 33), (6, 64, 64, 129), (4, -1, 16, 20)]
)
def test_lengths_in_no_order_are_told(lengths: tuple[int, int, int, int]) -> None:
    """With Neutron's word for it."""
    with pytest.raises(BadRequest) as error:
        pool.lengths_from(*lengths)
    assert error.value.details["neutron_type"] == "IllegalSubnetPoolPrefixBounds"


@given(st.lists(st.integers(20, 28), max_size=30), st.randoms(use_true_random=False))
def test_what_is_cut_and_given_back_is_whole_again(lengths: list[int], source: object) -> None:
    """Whatever the order; nothing is given out twice, and in the end there is one prefix."""
    whole = ip_network("10.0.0.0/20")
    free, taken = {whole}, []
    for length in lengths:
        blocks = [each for each in free if each.prefixlen <= length]
        if not blocks:
            continue
        block = max(blocks, key=lambda each: (each.prefixlen, -int(each.network_address)))
        wanted = pool.first_of(block, length)
        assert not any(wanted.overlaps(each) for each in taken)
        free.remove(block)
        free.update(pool.cut(block, wanted))
        taken.append(wanted)
    assert sum(each.num_addresses for each in (*free, *taken)) == whole.num_addresses
    source.shuffle(taken)  # type: ignore[attr-defined]
    for each in taken:
        merged, used = pool.joined(each, free)
        assert set(used) <= set(pool.siblings(each))
        free.difference_update(used)
        free.add(merged)
    assert free == {whole}


def test_a_pool_grows_and_never_shrinks() -> None:
    """What is new is told exactly; a prefix that would go is refused."""
    before = pool.prefixes_from(["10.0.0.0/24", "10.2.0.0/24"])
    after = pool.prefixes_from(["10.0.0.0/23", "10.2.0.0/24", "10.9.0.0/24"])
    added = [str(each) for each in pool.grown(before, after)]
    assert sorted(added) == ["10.0.1.0/24", "10.9.0.0/24"]
    with pytest.raises(BadRequest):
        pool.grown(after, before)
    assert pool.grown(before, before) == ()


@given(st.sets(st.integers(0, 15), min_size=1), st.sets(st.integers(0, 15)))
def test_what_is_new_is_what_was_not_there(before: set[int], more: set[int]) -> None:
    """Over all pools of /28."""

    def prefixes(numbers: set[int]) -> tuple[pool.Prefix, ...]:
        found = (ip_network(f"10.0.0.{16 * n}/28") for n in numbers)
        return tuple(collapse_addresses(found))

    added = pool.grown(prefixes(before), prefixes(before | more))
    assert tuple(collapse_addresses(added)) == prefixes(more - before)


def test_weight_counts_addresses_or_networks() -> None:
    """As the quota of a pool does."""
    assert pool.weight(ip_network("10.0.0.0/24")) == 256
    assert pool.weight(ip_network("fd00::/64")) == 1
    assert pool.weight(ip_network("fd00::/62")) == 4
