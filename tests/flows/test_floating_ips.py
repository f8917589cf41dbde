"""Floating IPs are interfaces of their own: put on, taken off, given back, and never lost."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import DeferredList, ensureDeferred

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound, OverQuota
from cyclades_tx.flows.floating_ips import WantedFloatingIp
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.flows.ports import WantedPort
from cyclades_tx.ganeti.simulator.behaviors import Misbehavior
from cyclades_tx.model.quota import FLOATING_IP
from cyclades_tx.model.who import ADMIN
from cyclades_tx.store import addresses, quotas
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud, refused

POOL = "192.0.2.64/26"


@pytest_twisted.async_fixture
async def public(driven: Cloud) -> Any:
    """A driven cloud whose cluster changes running machines, and an external network."""
    return await with_pool(driven)


async def with_pool(driven: Cloud) -> Any:
    """The same cloud, with an external network."""
    await driven.database.run("update cluster set hotplug = true")
    row = await driven.world.networks.create(
        None,
        WantedNetwork(
            name="public",
            flavor="IP_LESS_ROUTED",
            external=True,
            floating_ip_pool=True,
            subnets=(WantedSubnet(POOL),),
        ),
    )
    driven.public = row.uuid  # type: ignore[attr-defined]
    await driven.settled()
    return driven


async def reserve(cloud: Any, **wanted: Any) -> str:
    """Keep one; its UUID."""
    uuid: str = await cloud.world.floating_ips.create(
        cloud.who, WantedFloatingIp(cloud.public, **wanted), "req-create"
    )
    return uuid


async def floating(cloud: Any, uuid: str) -> Any:
    """The row of one, with its address and the port that has it; None when it is gone."""
    return await cloud.database.first(
        "select f.*, host(a.address) as address, a.port_id as extra_id,"
        " (select uuid::text from port where id = f.port_id) as port"
        " from floating_ip f join address a on a.id = f.address_id where f.uuid = %s",
        (uuid,),
    )


async def port_of(cloud: Any, server: str) -> str:
    """The first port of a server."""
    uuid: str = await cloud.database.value(
        "select p.uuid::text from port p join server s on s.id = p.server_id where s.uuid = %s"
        " order by p.position limit 1",
        (server,),
    )
    return uuid


async def put(cloud: Any, uuid: str, port: str | None) -> None:
    """Put one on a port, or take it off."""
    await cloud.world.floating_ips.update(cloud.who, uuid, {"port_ref": port}, "req-put")


async def ips(cloud: Any, server: str) -> list[str | None]:
    """The addresses of the interfaces at the cluster."""
    return [nic.ip for nic in cloud.ganeti.instances[cloud.instance(await cloud.row(server))].nics]


async def history(cloud: Any, address: str) -> list[tuple[int, bool]]:
    """Which servers had an address, the first one first, and whether they still have it."""
    rows = await cloud.database.all(
        "select server_id, released_at is null as still from address_history"
        " where host(address) = %s order by id",
        (address,),
    )
    return [(row.server_id, row.still) for row in rows]


async def check(cloud: Any) -> None:
    """Quota and addresses counted from scratch are what is stored."""
    assert await quotas.drift(cloud.database) == []
    for row in await cloud.database.all("select id from subnet"):
        assert (await addresses.recount(cloud.database, row.id)).right
    assert (
        await cloud.database.all(
            "select a.id from address a where a.port_id is null"
            " and not exists (select from floating_ip f where f.address_id = a.id)"
        )
        == []
    )


async def test_floating_ip_on_a_port_is_an_interface_with_its_address(public: Any) -> None:
    """It is written down who had it, from when to when, on which server."""
    server = await public.active()
    uuid = await reserve(public)
    one = await floating(public, uuid)
    await put(public, uuid, await port_of(public, server))
    assert await ips(public, server) == ["10.1.0.2"], "not before the cluster has it"
    await public.settled()
    assert one.address in await ips(public, server)
    row = await public.row(server)
    assert await history(public, one.address) == [(row.id, True)]
    await put(public, uuid, None)
    await public.settled()
    assert await ips(public, server) == ["10.1.0.2"]
    gone = await floating(public, uuid)
    assert (gone.port_id, gone.extra_id) == (None, None)
    assert await history(public, one.address) == [(row.id, False)]
    await check(public)


async def test_association_that_failed_leaves_the_address_with_its_project(public: Any) -> None:
    """And can be tried again."""
    server = await public.active()
    uuid = await reserve(public)
    public.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1)
    await put(public, uuid, await port_of(public, server))
    await public.settled()
    left = await floating(public, uuid)
    assert (left.port_id, left.extra_id) == (None, None)
    row = await public.row(server)
    assert await history(public, left.address) == [(row.id, False)]
    await put(public, uuid, await port_of(public, server))
    await public.settled()
    assert left.address in await ips(public, server)
    await check(public)


async def test_disassociation_that_failed_leaves_it_where_it_was(public: Any) -> None:
    """Also when it was to be given back."""
    server = await public.active()
    uuid = await reserve(public)
    port = await port_of(public, server)
    await put(public, uuid, port)
    await public.settled()
    for wish in ("put", "delete"):
        public.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1)
        if wish == "put":
            await put(public, uuid, None)
        else:
            await public.world.floating_ips.delete(public.who, uuid, "req-delete")
        await public.settled()
        kept = await floating(public, uuid)
        assert (kept.port, kept.released_at) == (port, None), wish
    await check(public)


async def test_given_back_while_it_is_on_a_server_it_goes_with_its_interface(public: Any) -> None:
    """Nobody sees it in between; quota and address are free when the interface is gone."""
    server = await public.active()
    uuid = await reserve(public)
    await put(public, uuid, await port_of(public, server))
    await public.settled()
    await public.world.floating_ips.delete(public.who, uuid, "req-delete")
    again = public.world.floating_ips.delete(public.who, uuid, "req-again")
    await refused(NotFound, again)
    assert await public.used(FLOATING_IP) == 1
    await public.settled()
    assert await floating(public, uuid) is None
    assert await public.used(FLOATING_IP) == 0
    await check(public)


async def test_taken_off_and_given_back_at_once_it_is_gone_in_the_end(public: Any) -> None:
    """As clients do it: without waiting between the two."""
    server = await public.active()
    uuid = await reserve(public)
    await put(public, uuid, await port_of(public, server))
    await public.settled()
    await put(public, uuid, None)
    await public.world.floating_ips.delete(public.who, uuid, "req-delete")
    await public.settled()
    assert await floating(public, uuid) is None
    await check(public)


async def test_deleted_server_leaves_its_floating_ip(public: Any) -> None:
    """Free for the next one; the history is closed."""
    server = await public.active()
    row = await public.row(server)
    uuid = await reserve(public)
    await put(public, uuid, await port_of(public, server))
    await public.settled()
    await public.world.servers.delete(public.who, server, "req-delete")
    await public.settled()
    left = await floating(public, uuid)
    assert (left.port_id, left.extra_id) == (None, None)
    assert await history(public, left.address) == [(row.id, False)]
    await check(public)


async def test_server_s_port_with_a_floating_ip_is_not_detached(public: Any) -> None:
    """The address would stand beside nothing."""
    server = await public.active()
    uuid = await reserve(public)
    port = await port_of(public, server)
    await put(public, uuid, port)
    await public.settled()
    detached = public.world.interfaces.detach(public.who, server, port, "req")
    assert "disassociate" in (await refused(Conflict, detached)).message


async def test_floating_ip_on_one_server_does_not_jump_to_another(public: Any) -> None:
    """It is taken off first; a port without a server cannot have it at all."""
    first, second = await public.active("a"), await public.active("b")
    uuid = await reserve(public)
    await put(public, uuid, await port_of(public, first))
    await public.settled()
    other = await port_of(public, second)
    assert "disassociate" in (await refused(Conflict, put(public, uuid, other))).message
    (alone,) = await public.world.ports.create(public.who, [WantedPort(public.network)])
    await refused(Conflict, put(public, uuid, alone))
    assert len(await ips(public, second)) == 1


async def test_over_quota_nothing_is_taken(public: Any) -> None:
    """The message names the limit."""
    project_id = public.who.project_id
    await builders.a_holding(public.database, project_id, FLOATING_IP, 1, used=0)
    await reserve(public)
    error = await refused(OverQuota, reserve(public))
    assert "floating ips" in error.message
    assert await public.database.value("select count(*) from floating_ip") == 1
    await check(public)


async def test_address_of_one_s_choice_is_for_administrators(public: Any) -> None:
    """A member is refused; a taken one is a conflict, one from elsewhere a bad request."""
    admin = await builders.somebody(public.database, ADMIN)
    await public.database.transaction(
        lambda tx: quotas.make_holdings(tx, admin.project_id, {FLOATING_IP: 5})
    )
    create = public.world.floating_ips.create
    await refused(Forbidden, reserve(public, address="192.0.2.70"))
    wanted = WantedFloatingIp(public.public, address="192.0.2.70")
    assert (await floating(public, await create(admin, wanted, "r"))).address == "192.0.2.70"
    assert (await refused(Conflict, create(admin, wanted, "r"))).reason == "IpAddressInUse"
    elsewhere = WantedFloatingIp(public.public, address="198.51.100.1")
    await refused(BadRequest, create(admin, elsewhere, "r"))
    await check(public)


async def test_what_gives_no_floating_ips_is_refused(public: Any) -> None:
    """A private network, one that nobody knows, one of which nothing more is given."""
    flow = public.world.floating_ips
    await refused(BadRequest, flow.create(public.who, WantedFloatingIp(public.network), "r"))
    await refused(NotFound, flow.create(public.who, WantedFloatingIp("nothing"), "r"))
    await public.database.run("update network set drained = true where uuid = %s", (public.public,))
    await refused(Conflict, reserve(public))


async def test_floating_ips_of_others_are_not_found(public: Any) -> None:
    """Neither are ports of others a place for one's own."""
    stranger = await public.somebody()
    server = await public.active()
    uuid = await reserve(public)
    flow = public.world.floating_ips
    for change in ({"port_ref": None}, {"description": "x"}):
        await refused(NotFound, flow.update(stranger, uuid, change, "r"))
    await refused(NotFound, flow.delete(stranger, uuid, "r"))
    theirs = await flow.create(stranger, WantedFloatingIp(public.public), "r")
    port = await port_of(public, server)
    await refused(NotFound, flow.update(stranger, theirs, {"port_ref": port}, "r"))
    address = (await floating(public, uuid)).address
    await refused(NotFound, flow.add_to_server(stranger, server, address, None, "r"))
    await refused(NotFound, flow.add_to_server(public.who, server, "192.0.2.120", None, "r"))


async def test_old_actions_put_it_on_a_server_and_take_it_off(public: Any) -> None:
    """By its address; one that is not on this server is a conflict."""
    server, other = await public.active("a"), await public.active("b")
    uuid = await reserve(public)
    address = (await floating(public, uuid)).address
    flow = public.world.floating_ips
    await flow.add_to_server(public.who, server, address, None, "req-add")
    await public.settled()
    assert address in await ips(public, server)
    await refused(Conflict, flow.remove_from_server(public.who, other, address, "r"))
    await flow.remove_from_server(public.who, server, address, "req-remove")
    await public.settled()
    assert address not in await ips(public, server)


async def test_sixty_four_who_want_one_of_sixty_one_get_each_another(public: Any) -> None:
    """The rest hear that none is left; all given back, everything is as before."""
    people = [await public.somebody() for _ in range(8)]
    for who in people:
        await builders.a_holding(public.database, who.project_id, FLOATING_IP, 100)
    flow = public.world.floating_ips
    wanted = WantedFloatingIp(public.public)
    asked = [(who, ensureDeferred(flow.create(who, wanted, "r"))) for who in people * 8]
    results = await DeferredList([each for _, each in asked], consumeErrors=True)
    made = [(who, uuid) for (who, _), (well, uuid) in zip(asked, results, strict=True) if well]
    refusals = [failure.value for well, failure in results if not well]
    assert len(made) == 61
    assert {each.reason for each in refusals} == {"IpAddressGenerationFailure"}
    taken = await public.database.all(
        "select host(a.address) as address from floating_ip f join address a on a.id = f.address_id"
    )
    assert len({row.address for row in taken}) == 61
    await check(public)
    for who, uuid in made:
        await flow.delete(who, uuid, "r")
    assert await public.database.value("select count(*) from floating_ip") == 0
    await check(public)


async def test_server_that_goes_tells_of_its_floating_ip(public: Any) -> None:
    """Which is on no port then, and another revision."""
    server = await public.active()
    uuid = await reserve(public)
    await put(public, uuid, await port_of(public, server))
    await public.settled()
    before = await floating(public, uuid)
    told = "select count(*) from event where kind = 'floating_ip.changed' and subject = %s"
    count = await public.database.value(told, (uuid,))
    await public.world.servers.delete(public.who, server, "req-delete")
    await public.settled()
    after = await floating(public, uuid)
    assert (after.port, after.extra_id) == (None, None)
    assert after.revision > before.revision
    assert await public.database.value(told, (uuid,)) == count + 1


@pytest.mark.parametrize("sent", [False, True], ids=["waits", "runs"])
async def test_given_back_with_its_server_s_end_right_behind_it_is_gone(
    make_cloud: Any, sent: bool
) -> None:
    """As sdk's ``delete_server(delete_ips=True)`` does: the wish to take it off is overtaken."""
    cloud = make_cloud()
    await cloud.equip(job_seconds=0.5 if sent else 0.02)
    await cloud.drive()
    await with_pool(cloud)
    server = await cloud.active()
    uuid = await reserve(cloud)
    await put(cloud, uuid, await port_of(cloud, server))
    await cloud.settled()
    if not sent:
        await cloud.stop()
    await cloud.world.floating_ips.delete(cloud.who, uuid, "req-delete")
    if sent:
        await cloud.until_operation(server, "submitted")
    await cloud.world.servers.delete(cloud.who, server, "req-delete")
    await refused(NotFound, cloud.world.floating_ips.delete(cloud.who, uuid, "req-again"))
    if not sent:
        await cloud.drive()
    await cloud.settled()
    assert await cloud.state(server) == ("deleted", "none")
    assert await floating(cloud, uuid) is None
    assert await cloud.used(FLOATING_IP) == 0
    await check(cloud)
