"""Making networks, standing on clusters, and who may attach to what."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound, Unavailable
from cyclades_tx.flows.networks import Networks, WantedNetwork, WantedSubnet
from cyclades_tx.store import addresses
from cyclades_tx.store import networks as store
from cyclades_tx.testing.network_builders import a_bare_cluster, a_member, a_network

OPERATIONS = (
    "select kind, state, cluster_id, network_id, server_id, reason from operation"
    " order by cluster_id"
)


async def test_a_network_is_made_on_every_cluster_that_is_not_offline(database: Any) -> None:
    """A row and an operation for each, and its driver is woken, in one transaction."""
    first, second = await a_bare_cluster(database), await a_bare_cluster(database)
    await a_bare_cluster(database, offline=True)
    heard: list[str] = []
    stop = database.listen("cyclades_wake", heard.append)
    await database.when_listening()
    row = await a_network(database, None, "10.0.0.0/24", shared=True)
    assert await database.all(OPERATIONS) == [
        ("make_network", "pending", cluster, row.id, None, f"Waits to be made on cluster {name}.")
        for cluster, name in ((first, "cluster-0"), (second, "cluster-1"))
    ]
    standing = await database.all(
        "select cluster_id, state, mac_prefix from cluster_network order by 1"
    )
    assert standing == [(first, "making", "aa:00:00"), (second, "making", "aa:00:01")]
    for _ in range(6000):
        if len(heard) == 2:
            break
        await database.value("select pg_sleep(0.01)::text")
    stop()
    assert sorted(heard) == [f"{first}:n{row.id}", f"{second}:n{row.id}"]


async def test_a_new_cluster_gets_the_networks_that_there_are(database: Any) -> None:
    """Not the deleted ones; a second call changes nothing."""
    kept, gone = [await a_network(database, None, "10.0.0.0/24") for _ in range(2)]
    await database.run(
        "update network set state = 'deleted', deleted_at = now() where id = %s", (gone.id,)
    )
    cluster_id = await a_bare_cluster(database)
    for _ in range(2):
        await database.transaction(lambda tx: store.ensure_all_on_cluster(tx, cluster_id, 60.0))
    assert [row.network_id for row in await database.all(OPERATIONS)] == [kept.id]


async def test_ensuring_gives_the_same_operation_until_the_network_stands(database: Any) -> None:
    """Then none; after an error a new one; while it is removed a conflict."""
    cluster_id = await a_bare_cluster(database)
    row = await a_network(database, None, "10.0.0.0/24")

    async def ensure() -> int | None:
        found: int | None = await database.transaction(
            lambda tx: store.ensure_on_cluster(tx, row.id, cluster_id, 60.0)
        )
        return found

    first = await ensure()
    assert first is not None
    assert await gatherResults([Deferred.fromCoroutine(ensure()) for _ in range(4)]) == [first] * 4
    await database.run("update operation set state = 'failed', finished_at = now()")
    await database.run("update cluster_network set state = 'error', reason = 'no bridge'")
    second = await ensure()
    assert second not in (None, first)
    assert await database.first("select state, reason from cluster_network") == ("making", "")
    await database.run("update cluster_network set state = 'active'")
    assert await ensure() is None
    await database.run("update cluster_network set state = 'removing'")
    with pytest.raises(Conflict):
        await ensure()
    await database.run("update network set state = 'deleted', deleted_at = now()")
    with pytest.raises(NotFound):
        await ensure()


async def test_many_ensure_at_once_make_one_operation(database: Any) -> None:
    """The first time too."""
    row = await a_network(database, None, "10.0.0.0/24")
    cluster_id = await a_bare_cluster(database)
    found = await gatherResults(
        [
            Deferred.fromCoroutine(
                database.transaction(
                    lambda tx: store.ensure_on_cluster(tx, row.id, cluster_id, 60.0)
                )
            )
            for _ in range(8)
        ]
    )
    assert len(set(found)) == 1
    assert await database.value("select count(*) from operation") == 1


@pytest.mark.parametrize(
    ("gateway", "pools"),
    [
        ("first", [("10.0.0.2", "10.0.0.14")]),
        (None, [("10.0.0.1", "10.0.0.14")]),
        ("10.0.0.14", [("10.0.0.1", "10.0.0.13")]),
        ("10.0.0.5", [("10.0.0.1", "10.0.0.4"), ("10.0.0.6", "10.0.0.14")]),
    ],
)
async def test_a_subnets_pools_leave_out_its_gateway(
    database: Any, gateway: str | None, pools: list[tuple[str, str]]
) -> None:
    """Wherever it is; all of them are free."""
    row = await Networks(database).create(
        None, WantedNetwork(subnets=(WantedSubnet("10.0.0.0/28", gateway=gateway),))
    )
    found = await database.all(
        "select host(first_address), host(last_address) from allocation_pool p"
        " join subnet s on s.id = p.subnet_id where s.network_id = %s order by first_address",
        (row.id,),
    )
    assert [tuple(each) for each in found] == pools
    subnet_id = await database.value("select id from subnet")
    count = await addresses.recount(database, subnet_id)
    assert count.right
    assert count.free == count.pooled == 14 - (gateway is not None)


async def test_given_pools_are_kept(database: Any) -> None:
    """An empty list of them too."""
    networks = Networks(database)
    for cidr, pools, expected in (
        ("10.0.0.0/24", (("10.0.0.20", "10.0.0.29"),), 10),
        ("10.0.1.0/24", (), 0),
    ):
        row = await networks.create(None, WantedNetwork(subnets=(WantedSubnet(cidr, pools=pools),)))
        subnet_id = await database.value("select id from subnet where network_id = %s", (row.id,))
        assert (await addresses.recount(database, subnet_id)) == (expected, expected, 0, True)


@pytest.mark.parametrize(
    "subnet",
    [
        WantedSubnet("10.0.0.1/24"),
        WantedSubnet("10.0.0.0/15"),
        WantedSubnet("fd00::/48"),
        WantedSubnet("10.0.0.0/24", gateway="10.0.1.1"),
        WantedSubnet("10.0.0.0/24", gateway="x"),
        WantedSubnet("10.0.0.0/24", dns_nameservers=("x",)),
        WantedSubnet("fd00::/64", pools=(("fd00::1", "fd00::2"),)),
    ],
)
async def test_a_wrong_subnet_leaves_no_network(database: Any, subnet: WantedSubnet) -> None:
    """Neither in the flow nor in the database."""
    wanted = WantedNetwork(subnets=(subnet,))
    with pytest.raises(BadRequest):
        await Networks(database).create(None, wanted)
    assert await database.value("select count(*) from network") == 0


async def test_flavors_choose_mode_link_and_tags(database: Any) -> None:
    """What the operator names wins; a routed link is the network's own."""
    networks = Networks(database, bridge="br7", mac_prefix="52:54:0")
    custom = await networks.create(None, WantedNetwork())
    assert (custom.mode, custom.link, custom.mac_prefix, custom.tags) == (
        "bridged",
        "br7",
        "52:54:0",
        [],
    )
    routed = await networks.create(None, WantedNetwork(flavor="IP_LESS_ROUTED"))
    assert (routed.mode, routed.link) == ("routed", f"snf-link-{routed.id}")
    assert routed.tags == ["ip-less-routed"]
    named = await networks.create(
        None, WantedNetwork(mode="routed", link="tap", mac_prefix="aa:00:01", tags=("a",))
    )
    assert (named.mode, named.link, named.mac_prefix, named.tags) == (
        "routed",
        "tap",
        "aa:00:01",
        ["a"],
    )
    pool = await networks.create(None, WantedNetwork(floating_ip_pool=True))
    assert pool.external


async def test_a_routed_link_belongs_to_one_network(database: Any) -> None:
    """The second is a conflict."""
    networks = Networks(database)
    wanted = WantedNetwork(flavor="IP_LESS_ROUTED", link="own")
    await networks.create(None, wanted)
    with pytest.raises(Conflict):
        await networks.create(None, wanted)


@pytest.mark.parametrize("flavor", ["MAC_FILTERED", "PHYSICAL_VLAN"])
async def test_flavors_that_need_a_pool_of_values_wait_for_one(database: Any, flavor: str) -> None:
    """Without a pool the network cannot be made now, and nothing of it is left."""
    with pytest.raises(Unavailable):
        await Networks(database).create(None, WantedNetwork(flavor=flavor))
    assert await database.value("select count(*) from network") == 0


@pytest.mark.parametrize(
    "wanted",
    [
        WantedNetwork(flavor="NONE"),
        WantedNetwork(mode="tunneled"),
        WantedNetwork(name="x" * 256),
        WantedNetwork(name="a\0b"),
        WantedNetwork(link="x" * 33),
        WantedNetwork(mtu=67),
        WantedNetwork(subnets=(WantedSubnet("10.0.0.0/24"), WantedSubnet("10.0.1.0/24"))),
        WantedNetwork(subnets=(WantedSubnet("fd00::/64"), WantedSubnet("fd00:0:0:1::/64"))),
        WantedNetwork(mac_prefix="zz:00:0"),
    ],
)
async def test_a_wrong_wish_is_a_bad_request(database: Any, wanted: WantedNetwork) -> None:
    """And nothing is made."""
    with pytest.raises(BadRequest):
        await Networks(database).create(None, wanted)
    assert await database.value("select count(*) from network") == 0


@pytest.mark.parametrize(
    "wanted",
    [
        WantedNetwork(shared=True),
        WantedNetwork(external=True),
        WantedNetwork(floating_ip_pool=True),
        WantedNetwork(link="br9"),
        WantedNetwork(tags=()),
    ],
)
async def test_what_only_administrators_may_wish(database: Any, wanted: WantedNetwork) -> None:
    """A member is refused, an administrator is not."""
    networks = Networks(database)
    with pytest.raises(Forbidden):
        await networks.create(await a_member(database), wanted)
    admin = await a_member(database, "admin")
    assert (await networks.create(admin, wanted)).project_id == admin.project_id


async def test_a_projects_network_is_charged_in_its_own_transaction(database: Any) -> None:
    """A refusal of the charge leaves no network."""
    who = await a_member(database)
    charged: list[Any] = []

    async def charge(tx: Any, project_id: str, amount: int) -> None:
        charged.append((project_id, amount))
        if len(charged) == 2:
            raise Conflict("enough")

    networks = Networks(database, charge=charge)
    await networks.create(None, WantedNetwork())
    await database.run("delete from network")
    await networks.create(who, WantedNetwork(name="first"))
    assert charged == [(who.project_id, 1)]
    await database.run("delete from network")
    with pytest.raises(Conflict):
        await networks.create(who, WantedNetwork(name="second"))
    assert await database.value("select count(*) from network") == 0


async def test_who_may_attach_to_what(database: Any) -> None:
    """Own and shared ones; external ones are seen, others are not."""
    who, other = await a_member(database), await a_member(database)
    own = await a_network(database, who)
    others = await a_network(database, other)
    shared = await a_network(database, None, shared=True)
    external = await a_network(database, None, external=True)
    networks = Networks(database)
    for row in (own, shared):
        assert (await networks.to_attach(database, who, row.uuid)).id == row.id
    with pytest.raises(Forbidden):
        await networks.to_attach(database, who, external.uuid)
    for ref in (others.uuid, "name", "", "\0", "1"):
        with pytest.raises(NotFound):
            await networks.to_attach(database, who, ref)
    await database.run("update network set drained = true where id = %s", (own.id,))
    with pytest.raises(Conflict):
        await networks.to_attach(database, who, own.uuid)
    assert (await store.seen(database, who, shared.uuid, attach=True)).id == shared.id
    with pytest.raises(NotFound):
        await store.seen(database, who, external.uuid, attach=True)


async def test_a_server_without_a_wish_gets_own_networks_before_shared_ones(database: Any) -> None:
    """Shared ones come where the project has none."""
    who = await a_member(database)
    shared = await a_network(database, None, shared=True)
    await a_network(database, None, external=True)
    networks = Networks(database)
    assert [row.id for row in await networks.attachable(database, who)] == [shared.id]
    own = await a_network(database, who)
    assert [row.id for row in await networks.attachable(database, who)] == [own.id]


async def test_list_and_show_for_operator_and_user(database: Any) -> None:
    """The operator sees all."""
    who, other = await a_member(database), await a_member(database)
    own, others = await a_network(database, who), await a_network(database, other)
    networks = Networks(database)
    assert [row.id for row in await networks.list()] == [own.id, others.id]
    assert [row.id for row in await networks.list(who)] == [own.id]
    assert (await networks.show(None, others.uuid)).id == others.id
    with pytest.raises(NotFound):
        await networks.show(who, others.uuid)


async def test_a_project_has_one_default_group(database: Any) -> None:
    """A second call makes nothing."""
    who = await a_member(database)
    for _ in range(2):
        await database.transaction(lambda tx: store.create_default_group(tx, who.project_id))
    assert await database.all("select name, project_id from security_group") == [
        ("default", who.project_id)
    ]
    rules = await database.all(
        "select direction, ethertype, remote_group_id = security_group_id as own"
        " from security_group_rule order by 1, 2"
    )
    assert rules == [
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
        ("ingress", "IPv4", True),
        ("ingress", "IPv6", True),
    ]
