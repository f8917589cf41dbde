"""Addresses and MACs as arithmetic."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.errors import BadRequest, Conflict
from cyclades_tx.model import address as arithmetic
from cyclades_tx.model.ids import parse_uuid

subnets = st.builds(
    lambda number, length: IPv4Network((number >> (32 - length) << (32 - length), length)),
    st.integers(2**24, 2**32 - 1),
    st.integers(16, 30),
)


@st.composite
def subnets_with_gateway(draw: st.DrawFn) -> tuple[IPv4Network, IPv4Address | None]:
    """A subnet, and an address for a machine in it or none."""
    subnet = draw(subnets)
    last = int(subnet.broadcast_address) - 1
    number = draw(st.none() | st.integers(int(subnet.network_address) + 1, last))
    return subnet, None if number is None else IPv4Address(number)


ranges = st.builds(
    lambda first, size: arithmetic.Range(IPv4Address(first), IPv4Address(first + size)),
    st.integers(1, 2**31),
    st.integers(0, 2**24),
)


@given(subnets_with_gateway())
def test_default_pools_are_all_machines_but_the_gateway(
    case: tuple[IPv4Network, IPv4Address | None],
) -> None:
    """Their sizes add up, and none holds network, broadcast or gateway."""
    subnet, gateway = case
    pools = arithmetic.pools(subnet, gateway)
    assert sum(map(len, pools)) == subnet.num_addresses - 2 - (gateway is not None)
    for special in (subnet.network_address, subnet.broadcast_address, gateway):
        assert special is None or not any(special in pool for pool in pools)


@given(ranges)
def test_pieces_are_the_pool_without_gap_or_overlap(pool: arithmetic.Range) -> None:
    """One begins where the other ended, and there are few."""
    pieces = arithmetic.pieces(pool)
    assert pieces[0].first == pool.first
    assert pieces[-1].last == pool.last
    assert all(int(b.first) == int(a.last) + 1 for a, b in itertools.pairwise(pieces))
    assert len(pieces) <= arithmetic.MOST_PIECES


@given(ranges, st.data())
def test_piece_of_holds_the_address(pool: arithmetic.Range, data: st.DataObject) -> None:
    """Every address of a pool is in the piece that is said to be its own."""
    number = data.draw(st.integers(int(pool.first), int(pool.last)))
    piece = arithmetic.piece_of(pool, IPv4Address(number))
    assert IPv4Address(number) in piece
    assert piece in arithmetic.pieces(pool)


def test_a_wide_pool_costs_no_more_pieces_than_a_small_one_may() -> None:
    """A /16 is cut into as many ranges as a /24."""
    wide, small = (
        arithmetic.pools(IPv4Network(text), None) for text in ("10.0.0.0/16", "10.0.0.0/24")
    )
    assert len(arithmetic.pieces(wide[0])) == len(arithmetic.pieces(small[0]))


@given(st.sampled_from(["aa:00:0", "aa:00:01", "52:54:0f"]), st.integers(0, 2**28 - 1))
def test_a_mac_has_its_prefix_and_is_valid(prefix: str, seed: int) -> None:
    """Whatever the random source gives."""
    mac = arithmetic.make_mac(prefix, lambda bits: seed % 2**bits)
    assert mac.startswith(prefix)
    assert arithmetic.mac_from(mac) == mac


@given(st.sampled_from(["aa:00:0", "aa:00:01"]), st.integers(0, 4095))
def test_a_clusters_prefix_is_three_octets_that_begin_with_the_networks(
    prefix: str, position: int
) -> None:
    """Ganeti takes three octets, whatever the cluster's number."""
    made = arithmetic.cluster_mac_prefix(prefix, position)
    assert made.startswith(prefix)
    assert arithmetic.mac_from(f"{made}:00:00:01")


def test_the_first_sixteen_clusters_have_prefixes_of_their_own() -> None:
    """The digit behind the network's prefix is the cluster's number."""
    assert arithmetic.cluster_mac_prefix("aa:00:0", 11) == "aa:00:0b"
    assert len({arithmetic.cluster_mac_prefix("aa:00:0", n) for n in range(16)}) == 16


def test_eui64_flips_the_local_bit_and_puts_fffe_in_the_middle() -> None:
    """As RFC 4291 says."""
    made = arithmetic.eui64_address(IPv6Network("2001:db8:0:12::/64"), "aa:00:01:2b:3c:4d")
    assert made == IPv6Address("2001:db8:0:12:a800:1ff:fe2b:3c4d")


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1/24", "10.0.0.0", "10.0.0.0/31", "10.0.0.0/15", "fd00::/48", "fe80::%1/64", "x", "",
     "10.0.0.0/24\0", "10.0.0.0/255.255.255.0x"],
)  # fmt: skip
def test_a_wrong_subnet_is_a_bad_request(text: str) -> None:
    """Host bits, missing or wrong lengths, no address at all."""
    with pytest.raises(BadRequest):
        arithmetic.parse_subnet(text)


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.300", "fe80::1%eth0", "10.0.0.1\n", "١.2.3.4"]
)
def test_a_wrong_address_is_a_bad_request(text: str) -> None:
    """Zones too: they mean something on one machine only."""
    with pytest.raises(BadRequest):
        arithmetic.parse_address(text)


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        (("10.0.0.0", "10.0.0.9"), "OutOfBoundsAllocationPool"),
        (("10.0.0.9", "10.0.1.9"), "OutOfBoundsAllocationPool"),
        (("10.0.0.9", "10.0.0.8"), "InvalidAllocationPool"),
        (("10.0.0.1", "10.0.0.8"), "GatewayConflictWithAllocationPools"),
    ],
)
def test_a_pool_that_does_not_fit_is_a_conflict(pool: tuple[str, str], reason: str) -> None:
    """The reason is the word that Network's clients know."""
    first, last = map(ip_address, pool)
    with pytest.raises(Conflict) as caught:
        arithmetic.pools(ip_network("10.0.0.0/24"), ip_address("10.0.0.1"), [(first, last)])
    assert caught.value.reason == reason


def test_pools_that_overlap_are_a_conflict_and_neighbors_are_not() -> None:
    """The end of one may be next to the start of the other."""
    subnet = ip_network("10.0.0.0/24")
    low = (ip_address("10.0.0.2"), ip_address("10.0.0.9"))
    after = (ip_address("10.0.0.10"), ip_address("10.0.0.19"))
    over = (ip_address("10.0.0.9"), ip_address("10.0.0.19"))
    assert [len(pool) for pool in arithmetic.pools(subnet, None, [after, low])] == [8, 10]
    with pytest.raises(Conflict):
        arithmetic.pools(subnet, None, [low, over])


def test_ipv6_has_no_pools() -> None:
    """And may not be given any."""
    subnet = ip_network("fd00::/64")
    assert arithmetic.pools(subnet, None) == ()
    with pytest.raises(BadRequest):
        arithmetic.pools(subnet, None, [(ip_address("fd00::2"), ip_address("fd00::9"))])


@pytest.mark.parametrize(
    "mac", ["aa:00:00", "01:00:5e:00:00:01", "00:00:00:00:00:00", "zz:00:00:00:00:01", ""]
)
def test_a_wrong_mac_is_a_bad_request(mac: str) -> None:
    """Groups' addresses too."""
    with pytest.raises(BadRequest):
        arithmetic.mac_from(mac)


@pytest.mark.parametrize("prefix", ["aa:00", "ab:00:0", "AA:00:0", "aa:00:000"])
def test_a_wrong_mac_prefix_is_a_bad_request(prefix: str) -> None:
    """ab: has the bit for groups."""
    if prefix == "ab:00:0":
        assert int("ab", 16) & 1
    with pytest.raises(BadRequest):
        arithmetic.check_mac_prefix(prefix)


@pytest.mark.parametrize("gateway", ["10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1"])
def test_a_gateway_that_no_machine_can_have_is_a_bad_request(gateway: str) -> None:
    """Network, broadcast, outside, another family."""
    with pytest.raises(BadRequest):
        arithmetic.check_gateway(ip_network("10.0.0.0/24"), ip_address(gateway))


@given(st.uuids())
def test_a_uuid_is_read_in_every_writing(uuid: object) -> None:
    """With or without dashes, large or small."""
    text = str(uuid)
    assert parse_uuid(text) == text
    assert parse_uuid(text.replace("-", "").upper()) == text


@given(st.text(max_size=40))
def test_other_texts_are_no_uuids(text: str) -> None:
    """What is read at all is a UUID with 32 hex digits."""
    read = parse_uuid(text)
    assert read is None or len(text.replace("-", "")) == 32
