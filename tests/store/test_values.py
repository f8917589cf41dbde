"""Taking bridges and MAC prefixes from their pools, side by side, and giving them back."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.errors import BadRequest, Conflict, CycladesError, Unavailable
from cyclades_tx.flows.networks import Networks, WantedNetwork
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.store import value_recount, values


async def network(database: Any, **wanted: Any) -> Any:
    """A network that takes from a pool."""
    return await Networks(database).create(
        None, WantedNetwork(**{"flavor": "MAC_FILTERED", **wanted})
    )


async def test_64_at_once_get_each_prefix_once_and_the_rest_the_fault(open_database: Any) -> None:
    """Of 40 prefixes; afterwards all come back, and the books agree."""
    database = open_database(least=1, most=16)
    pool_id = await ValuePools(database).create("mac_prefix", "aa:00:0", 41)

    async def one() -> Any:
        try:
            return await network(database)
        except Unavailable as error:
            return error

    found = await gatherResults([Deferred.fromCoroutine(one()) for _ in range(64)])
    made = [each for each in found if not isinstance(each, CycladesError)]
    assert len(made) == 40
    expected = {f"aa:00:{n:x}" for n in range(1, 16)} | {
        f"aa:{n >> 4:02x}:{n & 15:x}" for n in range(16, 41)
    }
    assert {each.mac_prefix for each in made} == expected
    refused = [each for each in found if isinstance(each, CycladesError)]
    assert {each.details["neutron_type"] for each in refused} == {"NoNetworkAvailable"}
    assert await value_recount.find(database) == []
    networks = Networks(database)
    await gatherResults([Deferred.fromCoroutine(networks.delete(None, each.uuid)) for each in made])
    assert await value_recount.find(database) == []
    assert (await ValuePools(database).show(pool_id))["free"] == 40


async def test_values_come_in_order_and_those_given_back_come_first(database: Any) -> None:
    """One after another; the next is the lowest that is free."""
    await ValuePools(database).create("bridge", "prv", 20)
    made = [await network(database, flavor="PHYSICAL_VLAN") for _ in range(3)]
    assert [each.link for each in made] == ["prv1", "prv2", "prv3"]
    await Networks(database).delete(None, made[1].uuid)
    assert (await network(database, flavor="PHYSICAL_VLAN")).link == "prv2"


async def test_a_named_number_is_taken_or_refused(database: Any) -> None:
    """In the middle of a range, a second time, and beside the pool."""
    await ValuePools(database).create("bridge", "prv", 20)
    row = await network(database, flavor="PHYSICAL_VLAN", number=7)
    assert row.link == "prv7"
    with pytest.raises(Conflict) as caught:
        await network(database, flavor="PHYSICAL_VLAN", number=7)
    assert caught.value.reason == "VlanIdInUse"
    with pytest.raises(BadRequest):
        await network(database, flavor="PHYSICAL_VLAN", number=21)
    assert await value_recount.find(database) == []


async def test_taking_and_giving_back_at_random_keeps_the_books(database: Any) -> None:
    """What is free is always what no network has."""
    chance = random.Random(7)
    await ValuePools(database).create("mac_prefix", "aa:00:0", 33)
    networks = Networks(database)
    there: list[Any] = []
    for turn in range(60):
        if there and chance.random() < 0.5:
            await networks.delete(None, there.pop(chance.randrange(len(there))).uuid)
        elif len(there) < 32:
            there.append(await network(database))
        if turn % 20 == 19:
            assert await value_recount.find(database) == []


async def test_a_value_is_given_back_once_and_never_while_somebody_has_it(database: Any) -> None:
    """Nor one that belongs to no pool."""
    await ValuePools(database).create("bridge", "prv", 4)
    row = await network(database, flavor="PHYSICAL_VLAN")
    for text in (row.link, "prv3", "prv9", "office"):
        assert not await database.transaction(
            lambda tx, text=text: values.give_back(tx, "bridge", text)
        )
    assert await value_recount.find(database) == []


async def test_a_pool_leaves_out_what_networks_have_already(database: Any) -> None:
    """And the prefix of the networks of other flavors."""
    await database.run(
        "insert into network (flavor, mode, link, mac_prefix) values"
        " ('PHYSICAL_VLAN', 'bridged', 'prv2', 'aa:00:0'),"
        " ('MAC_FILTERED', 'bridged', 'prv0', 'aa:00:3')"
    )
    pools = ValuePools(database, mac_prefix="aa:00:1")
    bridges = await pools.show(await pools.create("bridge", "prv", 4))
    assert (bridges["free"], bridges["used"]) == (3, 1)
    prefixes = await pools.show(await pools.create("mac_prefix", "aa:00:0", 8))
    assert (prefixes["free"], prefixes["used"], prefixes["reserved"]) == (5, 1, ["aa:00:1"])
    assert (await network(database)).mac_prefix == "aa:00:2"


async def test_a_pool_is_made_larger_and_smaller_but_not_over_what_is_used(database: Any) -> None:
    """Nor is what a network has kept back, or the pool removed."""
    pools = ValuePools(database)
    pool_id = await pools.create("bridge", "prv", 4)
    await pools.change(pool_id, size=10, reserve=[1, 2])
    row = await network(database, flavor="PHYSICAL_VLAN")
    assert row.link == "prv3"
    for refused in (
        pools.change(pool_id, size=2),
        pools.change(pool_id, reserve=[3]),
        pools.remove(pool_id),
        pools.create("bridge", "prv", 3),
    ):
        with pytest.raises(Conflict):
            await refused
    await pools.change(pool_id, size=3, release=[1])
    shown = await pools.show(pool_id)
    assert (shown["free"], shown["used"], shown["reserved"]) == (1, 1, ["prv2"])
    assert await value_recount.find(database) == []
    await Networks(database).delete(None, row.uuid)
    await pools.remove(pool_id)
    assert await database.value("select count(*) from value_pool") == 0


async def test_two_pools_never_have_one_value(database: Any) -> None:
    """Whichever is made first."""
    pools = ValuePools(database)
    await pools.create("mac_prefix", "aa:00:8", 8)
    for base, size in (("aa:00:0", 16), ("aa:00:9", 2), ("aa:00:0", 65536)):
        with pytest.raises(Conflict):
            await pools.create("mac_prefix", base, size)
    await pools.create("mac_prefix", "aa:00:0", 9)


async def test_a_base_is_one_pool_s(database: Any) -> None:
    """Also where the numbers of two would not meet, and however a pool comes to it."""
    pools = ValuePools(database)
    await pools.create("bridge", "prv", 10)
    other = await pools.create("bridge", "vlan", 10, 100)
    for changed in (pools.change(other, base="prv"), pools.create("bridge", "prv", 10, 100)):
        with pytest.raises(Conflict, match="There is a pool of prv already"):
            await changed
    assert (await pools.show(other))["base"] == "vlan"
