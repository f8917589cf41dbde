"""The books of addresses: every planted fault is found and mended, none is invented."""

from __future__ import annotations

import random
from typing import Any

import psycopg2
import pytest
from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.errors import Conflict
from cyclades_tx.model import books
from cyclades_tx.store import addresses, pool_recount
from cyclades_tx.store import books as recounts
from cyclades_tx.store.pool import Limits
from cyclades_tx.store.ports import create_port
from cyclades_tx.testing import builders
from cyclades_tx.testing.network_builders import a_member, a_network, a_subnet

RANGES = (
    "select first_address, last_address from free_address_range where subnet_id = %s order by 1"
)


async def mend_all(database: Any) -> list[str]:
    """Mend what is found and can be; the kinds that were found."""
    found = await pool_recount.find(database)
    for finding in found:
        if finding.mendable:
            assert await pool_recount.mend(database, finding)
    return sorted(finding.kind for finding in found)


async def a_port(database: Any, who: Any, network: Any, **given: Any) -> Any:
    """A port of a network."""
    return await database.transaction(
        lambda tx: create_port(
            tx, network_id=network.id, project_id=who.project_id, user_id=who.user_id, **given
        )
    )


async def take(database: Any, subnet_id: int, port_id: int | None = None) -> str:
    """An address of a subnet."""
    taken: str = await database.transaction(lambda tx: addresses.take(tx, subnet_id, port_id))
    return taken


async def test_books_that_are_right_have_no_findings(database: Any) -> None:
    """With ports, floating IPs, given addresses, and ports without a server that a user made."""
    who = await a_member(database)
    network = await a_network(database, None, "10.0.0.0/24", "fd00:1::/64", external=True)
    for _ in range(3):
        await a_port(database, who, network)
    await a_port(database, who, network, address="10.0.0.77")
    floating = await a_port(database, who, network)
    await database.run(
        "insert into floating_ip (address_id, network_id, project_id, user_id)"
        " select id, %s, %s, %s from address where port_id = %s and family(address) = 4",
        (network.id, who.project_id, who.user_id, floating.id),
    )
    await database.run(
        "update address set port_id = null where port_id = %s and family(address) = 4",
        (floating.id,),
    )
    assert await pool_recount.find(database) == []


async def test_an_address_that_nobody_has_is_given_back(database: Any) -> None:
    """It is free again, and the ranges are exactly right."""
    subnet_id = await a_subnet(database, "10.0.0.0/24")
    before = await database.all(RANGES, (subnet_id,))
    for _ in range(5):
        await take(database, subnet_id)
    (finding,) = await pool_recount.find(database)
    assert (finding.kind, len(finding.ids)) == (books.LEAKED_ADDRESSES, 5)
    assert "5 addresses of 10.0.0.0/24" in finding.sentence
    assert await pool_recount.mend(database, finding)
    assert await pool_recount.find(database) == []
    assert await database.all(RANGES, (subnet_id,)) == before


async def test_a_leaked_address_that_got_an_owner_since_is_left(database: Any) -> None:
    """Mending looks again under the lock."""
    who = await a_member(database)
    network = await a_network(database, None, "10.0.0.0/24", shared=True)
    subnet_id = await database.value("select id from subnet")
    await take(database, subnet_id)
    (finding,) = await pool_recount.find(database)
    port = await a_port(database, who, network, subnet_ids=[])
    await database.run("update address set port_id = %s", (port.id,))
    assert await pool_recount.mend(database, finding)
    assert await database.value("select count(*) from address") == 1


async def test_an_address_that_a_cluster_reserves_is_no_leak(database: Any) -> None:
    """It belongs to nobody on purpose; without the reservation it is a leak."""
    subnet_id = await a_subnet(database, "10.0.0.0/24")
    cluster = await builders.a_cluster(database)
    await take(database, subnet_id)
    await database.run(
        "insert into address_reservation (address_id, cluster_id) select id, %s from address",
        (cluster.id,),
    )
    assert await pool_recount.find(database) == []
    await database.run("delete from cluster where id = %s", (cluster.id,))
    assert await mend_all(database) == [books.LEAKED_ADDRESSES]


async def test_ports_that_were_made_for_a_server_and_have_none_go(database: Any) -> None:
    """With their addresses; a port that a user made stays."""
    who = await a_member(database)
    network = await a_network(database, None, "10.0.0.0/24", shared=True)
    await a_port(database, who, network, automatic=True)
    users = await a_port(database, who, network)
    assert await mend_all(database) == [books.LEAKED_PORTS]
    assert await database.all("select id from port") == [(users.id,)]
    assert await mend_all(database) == []


@pytest.mark.parametrize("state", ["deleted", "error"])
async def test_ports_of_a_server_that_holds_nothing_go(database: Any, state: str) -> None:
    """Its own are deleted, a user's is taken from it; a building server keeps its ports."""
    who = await builders.somebody(database)
    flavor = await builders.a_flavor(database)
    network = await a_network(database, None, "10.0.0.0/24", shared=True, external=True)
    gone = await builders.a_server(
        database, who, flavor, state=state, **({} if state == "deleted" else _fault())
    )
    building = await builders.a_server(database, who, flavor, state="building")
    for server, automatic, position in ((gone, True, 0), (gone, False, 1), (building, True, 0)):
        await a_port(
            database, who, network, server_id=server.id, position=position, automatic=automatic
        )
    assert await mend_all(database) == [books.PORTS_OF_GONE_SERVER]
    rows = await database.all("select server_id, automatic from port order by id")
    assert rows == [(None, False), (building.id, True)]
    assert await mend_all(database) == []
    still = await database.all("select server_id from address_history where released_at is null")
    assert still == [(building.id,)]


def _fault() -> dict[str, Any]:
    return {"fault_message": "no room", "fault_at": "2024-01-01T00:00:00Z"}


async def test_history_that_was_left_open_is_closed(database: Any) -> None:
    """What a server has stays open."""
    who = await builders.somebody(database)
    flavor = await builders.a_flavor(database)
    network = await a_network(database, None, "10.0.0.0/24", shared=True, external=True)
    server = await builders.a_server(database, who, flavor)
    await a_port(database, who, network, server_id=server.id, position=0)
    await database.run(
        "insert into address_history (address, network_id, server_id, user_id, project_id)"
        " values ('10.0.0.99', %s, %s, %s, %s)",
        (network.id, server.id, who.user_id, who.project_id),
    )
    assert await mend_all(database) == [books.OPEN_HISTORY]
    rows = await database.all(
        "select host(address), released_at is null from address_history order by address"
    )
    assert rows == [("10.0.0.2", True), ("10.0.0.99", False)]


async def test_what_only_a_person_can_mend_is_told(database: Any) -> None:
    """Addresses outside their subnet, pools that are wrong, external networks that overlap."""
    await a_network(database, None, "10.0.0.0/24", external=True)
    await a_network(database, None, "10.0.0.128/25", external=True)
    await a_network(database, None, "10.0.0.0/24", shared=True)
    first = await database.value("select min(id) from subnet")
    who = await a_member(database)
    port = await a_port(
        database, who, await database.first("select id from network limit 1"), subnet_ids=[]
    )
    await database.run(
        "insert into address (subnet_id, address, port_id) values (%s, '10.7.0.1', %s)",
        (first, port.id),
    )
    await database.run(
        "update subnet set gateway = '10.0.0.9' where id = %s",
        (first,),
    )
    found = {finding.kind: finding for finding in await pool_recount.find(database)}
    assert set(found) == {books.OVERLAP, books.ADDRESS_OUTSIDE, books.WRONG_POOL}
    assert not any(finding.mendable for finding in found.values())
    assert "10.7.0.1 is not in 10.0.0.0/24" in found[books.ADDRESS_OUTSIDE].sentence
    assert "holds the gateway" in found[books.WRONG_POOL].sentence


@pytest.mark.parametrize("cidr", ["10.0.0.0/30", "10.0.0.0/29", "10.0.0.0/26", "10.0.0.0/24"])
async def test_whatever_happened_to_the_free_ranges_they_are_right_afterwards(
    database: Any, cidr: str
) -> None:
    """Lost, doubled, free though taken: afterwards they are the pools without what is taken."""
    for seed in range(6):
        await _damaged(database, random.Random(seed), cidr)


async def _damaged(database: Any, chance: random.Random, cidr: str) -> None:
    await database.run("truncate subnet, address, network, port cascade")
    who = await a_member(database)
    network = await a_network(database, None, cidr, shared=True)
    subnet_id = await database.value("select id from subnet")
    pool = await database.first(
        "select first_address - '0.0.0.0'::inet as low, last_address - '0.0.0.0'::inet as high"
        " from allocation_pool"
    )
    size = pool.high - pool.low + 1
    for number in sorted(chance.sample(range(size), chance.randrange(min(size, 20) + 1))):
        address = f"10.0.0.{2 + number}"
        await a_port(database, who, network, address=address)
    damaged = False
    if chance.random() < 0.8:
        rows = await database.all(
            "select first_address, last_address - first_address as more from free_address_range"
        )
        for row in chance.sample(rows, chance.randrange(len(rows) + 1)):
            damaged = True
            await database.run(
                "delete from free_address_range where first_address = %s", (row.first_address,)
            )
        for _ in range(chance.randrange(3)):
            low = pool.low + chance.randrange(size)
            high = min(low + chance.randrange(4), pool.high)
            damaged |= bool(
                await database.run(
                    "insert into free_address_range values (%s, '0.0.0.0'::inet + %s::bigint,"
                    " '0.0.0.0'::inet + %s::bigint) on conflict do nothing",
                    (subnet_id, low, high),
                )
            )
    right = (await addresses.recount(database, subnet_id)).right
    found = await pool_recount.find(database)
    assert bool(found) != right
    assert damaged or right
    for finding in found:
        assert finding.kind == books.FREE_ADDRESSES
        assert await pool_recount.mend(database, finding)
    assert (await addresses.recount(database, subnet_id)).right
    assert await pool_recount.find(database) == []
    # And everything that is free can be had, and nothing else.
    free = await database.value(
        "select coalesce(sum(last_address - first_address + 1), 0) from free_address_range"
    )
    for _ in range(int(free)):
        await take(database, subnet_id)
    with pytest.raises(Conflict):
        await take(database, subnet_id)
    assert await database.value("select count(*) from address") == size


async def test_a_wide_subnet_with_thousands_of_addresses_is_recounted_quickly(
    database: Any,
) -> None:
    """A /16 with every third of 30,000 addresses taken: found and mended in under a second.

    The wall clock is what this test is about.
    """
    from twisted.internet import reactor

    who = await a_member(database)
    network = await a_network(database, None, "10.0.0.0/16", shared=True)
    subnet_id = await database.value("select id from subnet")
    port = await a_port(database, who, network, subnet_ids=[])
    await database.run(
        "insert into address (subnet_id, address, port_id)"
        " select %s, '10.0.0.0'::inet + n, %s from generate_series(2, 30000, 3) n",
        (subnet_id, port.id),
    )
    clock: Any = reactor
    began = clock.seconds()
    (finding,) = await pool_recount.find(database)
    assert "10000 free that should not be" in finding.sentence
    looked = clock.seconds()
    assert await pool_recount.mend(database, finding)
    mended = clock.seconds()
    assert (looked - began, mended - looked) < (1.0, 1.0)
    assert (await addresses.recount(database, subnet_id)).right


async def test_recounting_while_fifty_are_taken_and_given_back_breaks_nothing(
    database: Any,
) -> None:
    """No taker fails, no address is had twice, and in the end everything is right."""
    who = await a_member(database)
    network = await a_network(database, None, "10.0.0.0/24", shared=True)
    subnet_id = await database.value("select id from subnet")
    going = True

    async def recount() -> int:
        done = 0
        while going:
            done += await database.transaction(
                lambda tx: pool_recount.recount_subnet(tx, subnet_id), "test.recount"
            )
        return done

    async def live(number: int) -> str:
        port = await a_port(database, who, network)
        if number % 3 == 0:
            row = await database.first("select id from address where port_id = %s", (port.id,))
            await database.transaction(lambda tx: addresses.give_back(tx, row.id))
            return ""
        return str(port.addresses[0])

    recounting = Deferred.fromCoroutine(recount())
    results = await gatherResults([Deferred.fromCoroutine(live(n)) for n in range(50)])
    going = False
    assert await recounting > 0
    had = [address for address in results if address]
    assert len(had) == len(set(had)) == 33
    assert await addresses.recount(database, subnet_id) == (253, 220, 33, True)
    assert await pool_recount.find(database) == []


class Interfered:
    """A transaction beside which somebody else begins to take from a range that is new."""

    def __init__(self, tx: Any, other: Any, subnet_id: int) -> None:
        self._tx = tx
        self._other = other
        self._subnet_id = subnet_id

    async def all(self, sql: str, args: Any) -> Any:
        """The first statement locks the ranges; what comes then is not locked."""
        rows = await self._tx.all(sql, args)
        if self._other is not None:
            cursor, self._other = self._other.cursor(), None
            values = (self._subnet_id, "10.0.0.9", "10.0.0.9")
            cursor.execute("insert into free_address_range values (%s, %s, %s)", values)
            cursor.connection.commit()
            cursor.execute(
                "select 1 from free_address_range where first_address = '10.0.0.9' for update"
            )
        return rows


async def test_a_subnet_that_is_being_taken_from_anew_is_left_for_the_next_time(
    database: Any, dsn: str
) -> None:
    """Waiting would end in a deadlock; and a subnet that is gone is no error."""
    network = await a_network(database, None, "10.0.0.0/24", shared=True)
    who = await a_member(database)
    subnet_id = await database.value("select id from subnet")
    await a_port(database, who, network, address="10.0.0.9")
    other = psycopg2.connect(dsn)
    try:
        done = await database.transaction(
            lambda tx: pool_recount.recount_subnet(Interfered(tx, other, subnet_id), subnet_id)
        )
    finally:
        other.close()
    assert not done
    assert await database.transaction(lambda tx: pool_recount.recount_subnet(tx, 10**9))
    assert await mend_all(database) == [books.FREE_ADDRESSES]


async def test_what_cannot_be_mended_now_keeps_nothing_else_from_it(
    open_database: Any, dsn: str
) -> None:
    """Somebody holds an address for long: the ports are mended, and the reason is told."""
    database = open_database(limits=Limits(lock_seconds=0.2))
    who = await a_member(database)
    network = await a_network(database, None, "10.0.0.0/24", shared=True)
    subnet_id = await database.value("select id from subnet")
    await take(database, subnet_id)
    await a_port(database, who, network, automatic=True)
    other = psycopg2.connect(dsn)
    try:
        other.cursor().execute("select 1 from address where port_id is null for update")
        result = await recounts.recount_pools(database)
    finally:
        other.close()
    assert [each.kind for each in result.left] == [books.LEAKED_ADDRESSES]
    assert [each.kind for each in result.mended] == [books.LEAKED_PORTS]
    assert result.trouble.startswith(f"subnet {subnet_id}: ")
    assert [note.left_alone for note in result.notes()] == [False]
