"""Taking and giving back addresses, alone and by many at once."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.errors import BadRequest, Conflict, CycladesError, NotFound, Unavailable
from cyclades_tx.model import address as arithmetic
from cyclades_tx.store import addresses
from cyclades_tx.store.ports import create_port, delete_ports, delete_ports_of_server
from cyclades_tx.testing.network_builders import a_member, a_network, a_subnet


async def take(database: Any, subnet_id: int) -> str:
    """Take one address in a transaction of its own."""
    taken: str = await database.transaction(lambda tx: addresses.take(tx, subnet_id))
    return taken


async def give_all_back(database: Any, subnet_id: int) -> None:
    """Give back every address of a subnet, each in a transaction of its own, side by side."""
    rows = await database.all("select id from address where subnet_id = %s", (subnet_id,))
    random.Random(7).shuffle(rows)
    await gatherResults(
        [
            Deferred.fromCoroutine(
                database.transaction(lambda tx, row=row: addresses.give_back(tx, row.id))
            )
            for row in rows
        ]
    )


async def attempts(works: list[Any]) -> list[Any]:
    """Run transactions at once; return each result or our error."""

    async def one(work: Any) -> Any:
        try:
            return await work
        except CycladesError as error:
            return error

    return list(await gatherResults([Deferred.fromCoroutine(one(work)) for work in works]))


async def test_the_lowest_free_address_is_taken(database: Any) -> None:
    """One after the other they come in order, behind the gateway."""
    subnet_id = await a_subnet(database, "10.0.0.0/24")
    assert [await take(database, subnet_id) for _ in range(3)] == [
        "10.0.0.2", "10.0.0.3", "10.0.0.4",
    ]  # fmt: skip


async def test_every_address_of_a_subnet_is_given_once_then_none(database: Any) -> None:
    """After the last the error is the one that Network's clients know."""
    subnet_id = await a_subnet(database, "10.0.0.0/29")
    assert {await take(database, subnet_id) for _ in range(5)} == {
        f"10.0.0.{n}" for n in range(2, 7)
    }
    with pytest.raises(Conflict) as caught:
        await take(database, subnet_id)
    assert caught.value.reason == "IpAddressGenerationFailure"


async def test_a_rolled_back_taker_leaves_its_address(database: Any) -> None:
    """What was not committed is free."""
    subnet_id = await a_subnet(database, "10.0.0.0/30", external=False)

    async def fail(tx: Any) -> None:
        await addresses.take(tx, subnet_id)
        raise NotFound("on purpose")

    with pytest.raises(NotFound):
        await database.transaction(fail)
    assert await take(database, subnet_id) == "10.0.0.2"


async def test_no_address_is_given_twice_when_64_take_at_once(database: Any) -> None:
    """A /26 with a gateway has 61: each is given once, three get the right error, all return."""
    subnet_id = await a_subnet(database, "10.0.0.0/26")
    results = await attempts(
        [database.transaction(lambda tx: addresses.take(tx, subnet_id)) for _ in range(64)]
    )
    given = [result for result in results if isinstance(result, str)]
    errors = [result.reason for result in results if isinstance(result, Conflict)]
    assert len(set(given)) == len(given) == 61
    assert errors == ["IpAddressGenerationFailure"] * 3
    assert await addresses.recount(database, subnet_id) == (61, 0, 61, True)
    await give_all_back(database, subnet_id)
    assert await addresses.recount(database, subnet_id) == (61, 61, 0, True)


async def test_a_taker_waits_when_all_ranges_are_locked_instead_of_saying_full(
    database: Any, sleep: Any
) -> None:
    """The only range is held by another; when that one is rolled back, the waiter has it."""
    subnet_id = await a_subnet(database, "10.0.0.0/30")
    held: Deferred[None] = Deferred()
    go: Deferred[None] = Deferred()

    async def hold(tx: Any) -> None:
        await addresses.take(tx, subnet_id)
        held.callback(None)
        await go
        raise NotFound("on purpose")

    holder = Deferred.fromCoroutine(attempts([database.transaction(hold)]))
    await held
    waiter = Deferred.fromCoroutine(take(database, subnet_id))
    await sleep(0.1)
    assert not waiter.called
    go.callback(None)
    assert await waiter == "10.0.0.2"
    await holder


async def test_takers_side_by_side_do_not_wait_for_each_other(database: Any) -> None:
    """A fresh pool has several ranges: a second taker passes a first that has not committed."""
    subnet_id = await a_subnet(database, "10.0.0.0/24")

    async def work(tx: Any) -> tuple[str, str]:
        return await addresses.take(tx, subnet_id), await take(database, subnet_id)

    first, second = await database.transaction(work)
    assert first == "10.0.0.2"
    assert second != first


async def test_mixed_takers_and_givers_keep_the_count(database: Any) -> None:
    """Takes of any and of given addresses and returns, many at once, several rounds."""
    subnet_id = await a_subnet(database, "10.0.0.0/26")
    dice = random.Random(11)
    for _ in range(6):
        rows = await database.all("select id from address where subnet_id = %s", (subnet_id,))
        given_back = dice.sample(rows, len(rows) // 2)
        works = [
            database.transaction(lambda tx, row=row: addresses.give_back(tx, row.id))
            for row in given_back
        ]
        works += [database.transaction(lambda tx: addresses.take(tx, subnet_id)) for _ in range(12)]
        works += [
            database.transaction(
                lambda tx, n=number: addresses.take_given(tx, subnet_id, f"10.0.0.{n}")
            )
            for number in dice.choices(range(2, 63), k=12)
        ]
        dice.shuffle(works)
        results = await attempts(works)
        texts = [result for result in results if isinstance(result, str)]
        kept = {row.id for row in rows} - {row.id for row in given_back}
        count = await addresses.recount(database, subnet_id)
        assert count.right
        assert count.taken == len(kept) + len(texts)


async def test_a_given_address_splits_its_range_and_joins_again(database: Any) -> None:
    """The free ranges are what they were when it is given back."""
    subnet_id = await a_subnet(database, "10.0.0.0/24")
    ranges = (
        "select first_address, last_address from free_address_range where subnet_id = %s order by 1"
    )
    before = await database.all(ranges, (subnet_id,))
    for address in ("10.0.0.2", "10.0.0.77", "10.0.0.78", "10.0.0.254"):
        assert (
            await database.transaction(
                lambda tx, address=address: addresses.take_given(tx, subnet_id, address)
            )
            == address
        )
    assert await addresses.recount(database, subnet_id) == (253, 249, 4, True)
    rows = await database.all("select id from address where subnet_id = %s", (subnet_id,))
    for row in rows:
        assert await database.transaction(lambda tx, row=row: addresses.give_back(tx, row.id))
    assert await database.all(ranges, (subnet_id,)) == before


async def test_the_same_given_address_goes_to_one_of_many(database: Any) -> None:
    """The others hear that it is in use."""
    subnet_id = await a_subnet(database, "10.0.0.0/24")
    results = await attempts(
        [
            database.transaction(lambda tx: addresses.take_given(tx, subnet_id, "10.0.0.9"))
            for _ in range(10)
        ]
    )
    assert results.count("10.0.0.9") == 1
    assert {result.reason for result in results if result != "10.0.0.9"} == {"IpAddressInUse"}


@pytest.mark.parametrize(
    "address", ["10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.1.2", "fd00::2", "nonsense", ""]
)
async def test_an_address_that_no_machine_of_the_subnet_can_have_is_refused(
    database: Any, address: str
) -> None:
    """Network, gateway, broadcast, outside, another family, none."""
    subnet_id = await a_subnet(database, "10.0.0.0/24")
    with pytest.raises(BadRequest):
        await database.transaction(lambda tx: addresses.take_given(tx, subnet_id, address))


async def test_an_address_outside_the_pools_can_be_asked_for(database: Any) -> None:
    """It has no range to come from, and none to go back to."""
    network = await a_network(database, None, shared=True)
    subnet_id = await database.value(
        "insert into subnet (network_id, cidr) values (%s, '10.0.0.0/24') returning id",
        (network.id,),
    )
    text = await database.transaction(lambda tx: addresses.take_given(tx, subnet_id, "10.0.0.9"))
    assert text == "10.0.0.9"
    with pytest.raises(Conflict):
        await database.transaction(lambda tx: addresses.take_given(tx, subnet_id, "10.0.0.9"))
    row = await database.first("select id from address where subnet_id = %s", (subnet_id,))
    assert await database.transaction(lambda tx: addresses.give_back(tx, row.id))
    assert await addresses.recount(database, subnet_id) == (0, 0, 0, True)


async def test_giving_back_twice_is_told(database: Any) -> None:
    """The second time there is nothing."""
    subnet_id = await a_subnet(database, "10.0.0.0/24")
    await take(database, subnet_id)
    row = await database.first("select id from address where subnet_id = %s", (subnet_id,))
    assert await database.transaction(lambda tx: addresses.give_back(tx, row.id))
    assert not await database.transaction(lambda tx: addresses.give_back(tx, row.id))


async def test_recount_sees_an_address_that_is_free_and_taken(database: Any) -> None:
    """And one that is neither."""
    subnet_id = await a_subnet(database, "10.0.0.0/29")
    await take(database, subnet_id)
    assert (await addresses.recount(database, subnet_id)).right
    await database.run("update free_address_range set first_address = '10.0.0.2'")
    assert not (await addresses.recount(database, subnet_id)).right
    await database.run("update free_address_range set first_address = '10.0.0.5'")
    assert not (await addresses.recount(database, subnet_id)).right


async def test_a_wide_subnet_has_as_few_rows_as_a_small_one(database: Any) -> None:
    """A /16 is not 65,536 rows."""
    subnet_id = await a_subnet(database, "10.0.0.0/16")
    rows = await database.value(
        "select count(*) from free_address_range where subnet_id = %s", (subnet_id,)
    )
    assert rows <= 16


async def another_subnet(database: Any, network: Any, cidr: str) -> None:
    """A second IPv4 subnet, which flows do not make: Ganeti has one range for a network."""
    subnet = ip_network(cidr)
    gateway = arithmetic.default_gateway(subnet)

    async def make(tx: Any) -> None:
        subnet_id = await tx.value(
            "insert into subnet (network_id, cidr, gateway) values (%s, %s, %s) returning id",
            (network.id, cidr, str(gateway)),
        )
        await addresses.fill(tx, subnet_id, arithmetic.pools(subnet, gateway))

    await database.transaction(make)


async def test_a_port_gets_a_mac_and_an_address_of_each_family(database: Any) -> None:
    """The IPv6 address belongs to the MAC; on two IPv4 subnets one address is enough."""
    who = await a_member(database)
    network = await a_network(database, who, "10.0.0.0/24", "fd00:1::/64")
    await another_subnet(database, network, "10.0.1.0/24")
    port = await database.transaction(
        lambda tx: create_port(
            tx, network_id=network.id, project_id=who.project_id, user_id=who.user_id,
            random_bits=lambda bits: 0x1234567,
        )
    )  # fmt: skip
    assert port.mac == "aa:00:01:23:45:67"
    assert port.addresses == ("10.0.0.2", "fd00:1::a800:1ff:fe23:4567")


async def test_a_mac_that_is_in_use_is_made_again(database: Any) -> None:
    """The random source gives the same number first."""
    who = await a_member(database)
    network = await a_network(database, who, "10.0.0.0/24")
    numbers = iter([5, 5, 5, 6])

    async def make(tx: Any) -> str:
        port = await create_port(
            tx, network_id=network.id, project_id=who.project_id, user_id=who.user_id,
            random_bits=lambda bits: next(numbers),
        )  # fmt: skip
        return port.mac

    assert [await database.transaction(make) for _ in range(2)] == [
        "aa:00:00:00:00:05", "aa:00:00:00:00:06",
    ]  # fmt: skip


async def test_the_second_subnet_serves_when_the_first_is_full(database: Any) -> None:
    """And when both are, the error says so."""
    who = await a_member(database)
    network = await a_network(database, who, "10.0.0.0/30")
    await another_subnet(database, network, "10.0.1.0/30")

    async def make(tx: Any) -> Any:
        return await create_port(
            tx, network_id=network.id, project_id=who.project_id, user_id=who.user_id
        )

    assert [(await database.transaction(make)).addresses for _ in range(2)] == [
        ("10.0.0.2",), ("10.0.1.2",),
    ]  # fmt: skip
    with pytest.raises(Conflict) as caught:
        await database.transaction(make)
    assert caught.value.reason == "IpAddressGenerationFailure"
    assert await database.value("select count(*) from port") == 2


async def test_a_port_with_a_given_address_takes_it_from_the_right_subnet(database: Any) -> None:
    """And one of no subnet is refused."""
    who = await a_member(database)
    network = await a_network(database, who, "10.0.0.0/24")
    await another_subnet(database, network, "10.0.1.0/24")

    async def make(tx: Any, address: str) -> Any:
        return await create_port(
            tx,
            network_id=network.id,
            project_id=who.project_id,
            user_id=who.user_id,
            address=address,
        )

    port = await database.transaction(lambda tx: make(tx, "10.0.1.7"))
    assert port.addresses == ("10.0.1.7",)
    with pytest.raises(BadRequest):
        await database.transaction(lambda tx: make(tx, "10.0.2.7"))


async def test_each_named_subnet_gives_an_address(database: Any) -> None:
    """And a subnet of another network is not found."""
    who = await a_member(database)
    network = await a_network(database, who, "10.0.0.0/24")
    await another_subnet(database, network, "10.0.1.0/24")
    foreign = await a_subnet(database, "10.9.0.0/24")
    rows = await database.all("select id from subnet where network_id = %s", (network.id,))

    async def make(tx: Any, ids: list[int]) -> Any:
        return await create_port(
            tx,
            network_id=network.id,
            project_id=who.project_id,
            user_id=who.user_id,
            subnet_ids=ids,
        )

    port = await database.transaction(lambda tx: make(tx, [row.id for row in rows]))
    assert port.addresses == ("10.0.0.2", "10.0.1.2")
    with pytest.raises(NotFound):
        await database.transaction(lambda tx: make(tx, [foreign]))


async def test_a_full_named_subnet_is_told_though_another_is_free(database: Any) -> None:
    """Somebody who names subnets wants an address of each."""
    who = await a_member(database)
    network = await a_network(database, who, "10.0.0.0/30")
    await another_subnet(database, network, "10.0.1.0/24")
    rows = await database.all("select id from subnet order by id")

    async def make(tx: Any) -> Any:
        return await create_port(
            tx,
            network_id=network.id,
            project_id=who.project_id,
            user_id=who.user_id,
            subnet_ids=[row.id for row in rows],
        )

    await database.transaction(make)
    with pytest.raises(Conflict) as caught:
        await database.transaction(make)
    assert caught.value.reason == "IpAddressGenerationFailure"


async def test_an_address_of_a_subnet_that_is_gone_is_not_found(database: Any) -> None:
    """Whoever names it."""
    with pytest.raises(NotFound):
        await database.transaction(lambda tx: addresses.take_given(tx, 10**9, "10.0.0.2"))


async def test_no_free_mac_is_a_reason_to_come_back(database: Any) -> None:
    """When the random source only gives numbers that are in use."""
    who = await a_member(database)
    network = await a_network(database, who, "10.0.0.0/24")

    async def make(tx: Any) -> Any:
        return await create_port(
            tx,
            network_id=network.id,
            project_id=who.project_id,
            user_id=who.user_id,
            random_bits=lambda bits: 5,
        )

    await database.transaction(make)
    with pytest.raises(Unavailable):
        await database.transaction(make)


async def test_a_drained_network_takes_no_port(database: Any) -> None:
    """And a network that is gone is not found."""
    who = await a_member(database)
    network = await a_network(database, who, "10.0.0.0/24")
    await database.run("update network set drained = true where id = %s", (network.id,))

    async def make(tx: Any, network_id: int) -> Any:
        return await create_port(
            tx, network_id=network_id, project_id=who.project_id, user_id=who.user_id
        )

    with pytest.raises(Conflict):
        await database.transaction(lambda tx: make(tx, network.id))
    with pytest.raises(NotFound):
        await database.transaction(lambda tx: make(tx, 10**12))


async def a_server(database: Any, who: Any) -> int:
    """A server's row, with what it cannot be without."""
    type_id = await database.value(
        "insert into volume_type (name, disk_template)"
        " values (gen_random_uuid()::text, 'plain') returning id"
    )
    flavor_id = await database.value(
        "insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)"
        " values (gen_random_uuid()::text, 1, 128, 1, %s) returning id",
        (type_id,),
    )
    server_id: int = await database.value(
        "insert into server"
        " (name, user_id, project_id, flavor_id, vcpus, memory_mib, reservation_id)"
        " values ('s', %s, %s, %s, 1, 128, 'r-1') returning id",
        (who.user_id, who.project_id, flavor_id),
    )
    return server_id


async def test_a_deleted_servers_own_ports_go_and_the_users_stay(database: Any) -> None:
    """Addresses of the first are free again; a floating one stays with its project."""
    who = await a_member(database)
    network = await a_network(database, None, "10.0.0.0/24", external=True, shared=True)
    server_id = await a_server(database, who)

    async def make(tx: Any) -> list[Any]:
        ports = [
            await create_port(
                tx, network_id=network.id, project_id=who.project_id, user_id=who.user_id,
                server_id=server_id, position=position, automatic=automatic,
            )
            for position, automatic in ((0, True), (1, True), (2, False))
        ]  # fmt: skip
        await tx.run(
            "insert into floating_ip (address_id, network_id, project_id, user_id, port_id)"
            " select id, %s, %s, %s, %s from address where port_id = %s",
            (network.id, who.project_id, who.user_id, ports[0].id, ports[1].id),
        )
        return ports

    own, floating, users = await database.transaction(make)
    history = "select count(*), count(released_at) from address_history"
    assert await database.first(history) == (3, 0)
    released = await database.transaction(lambda tx: delete_ports_of_server(tx, server_id))
    assert released == own.addresses
    assert await database.first(history) == (3, 3)
    left = await database.all("select id, server_id, device_owner, state from port")
    assert left == [(users.id, None, "", "down")]
    assert await database.first("select port_id from floating_ip") == (None,)
    kept = await database.all("select host(address) as text, port_id from address order by address")
    assert kept == [(floating.addresses[0], None), (users.addresses[0], users.id)]
    subnet_id = await database.value("select id from subnet")
    assert await addresses.recount(database, subnet_id) == (253, 251, 2, True)
    assert await database.transaction(lambda tx: delete_ports_of_server(tx, server_id + 1)) == ()


async def test_deleting_no_ports_is_nothing(database: Any) -> None:
    """An empty list needs no statement."""
    assert await database.transaction(lambda tx: delete_ports(tx, [])) == ()


async def test_a_server_has_one_port_in_a_place(database: Any) -> None:
    """The second is told which of the two unique things was in the way."""
    who = await a_member(database)
    network = await a_network(database, who, "10.0.0.0/24")
    server_id = await a_server(database, who)

    async def make(tx: Any, position: int, mac: str | None = None) -> Any:
        return await create_port(
            tx, network_id=network.id, project_id=who.project_id, user_id=who.user_id,
            server_id=server_id, position=position, mac=mac,
        )  # fmt: skip

    port = await database.transaction(lambda tx: make(tx, 0))
    with pytest.raises(Conflict) as caught:
        await database.transaction(lambda tx: make(tx, 0))
    assert caught.value.reason == "PortInUse"
    with pytest.raises(Conflict) as caught:
        await database.transaction(lambda tx: make(tx, 1, port.mac))
    assert caught.value.reason == "MacAddressInUse"


async def test_other_pools_have_what_is_not_taken_while_takers_go_on(open_database: Any) -> None:
    """Nobody gets an address twice, and afterwards the books agree."""
    database = open_database(least=1, most=8)
    subnet_id = await a_subnet(database, "10.0.0.0/24")
    wanted = arithmetic.pools(
        ip_network("10.0.0.0/24"),
        None,
        [(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.99")),
         (IPv4Address("10.0.0.120"), IPv4Address("10.0.0.130"))],
    )  # fmt: skip

    async def one() -> str:
        taken: str = await database.transaction(lambda tx: addresses.take(tx, subnet_id))
        return taken

    async def other() -> None:
        await database.transaction(lambda tx: addresses.replace_pools(tx, subnet_id, wanted))

    working: list[Any] = [Deferred.fromCoroutine(one()) for _ in range(20)]
    working.append(Deferred.fromCoroutine(other()))
    working += [Deferred.fromCoroutine(one()) for _ in range(20)]
    found = await gatherResults(working)
    taken = [each for each in found if each is not None]
    assert len(taken) == len(set(taken)) == 40
    count = await addresses.recount(database, subnet_id)
    assert count.right
    assert count.pooled == 98 + 11
