"""Networks that every new server gets, and those of servers that name none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import force_setattr
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred

from cyclades_tx.errors import BadRequest, Conflict, Unavailable
from cyclades_tx.flows.floating_ips import WantedFloatingIp
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.flows.server_networks import ServerNetworks
from cyclades_tx.model.server import WantedNic
from tests.loops.cloud import Cloud, refused

IPV4 = "SNF:ANY_PUBLIC_IPV4"
IPV6 = "SNF:ANY_PUBLIC_IPV6"
ANY = "SNF:ANY_PUBLIC"


@pytest_twisted.async_fixture
async def make(make_cloud: Callable[..., Cloud]) -> Any:
    """Make a driven cloud with these keys in the table ``ganeti``."""

    async def equipped(**keys: Any) -> Any:
        cloud = make_cloud(ganeti=keys)
        await cloud.equip()
        await cloud.drive()
        return cloud

    return equipped


async def outside(cloud: Cloud, *cidrs: str) -> Any:
    """An external network that gives floating IPs."""
    row = await cloud.world.networks.create(
        None,
        WantedNetwork(
            name="public",
            flavor="IP_LESS_ROUTED",
            external=True,
            floating_ip_pool=True,
            subnets=tuple(WantedSubnet(cidr) for cidr in cidrs),
        ),
    )
    await cloud.settled()
    return row


async def nics(cloud: Cloud, server: str) -> list[tuple[str, list[str], str]]:
    """Network, addresses and owner of each interface, in order."""
    rows = await cloud.database.all(
        "select n.uuid::text as network, array(select host(a.address) from address a where"
        " a.port_id = p.id order by family(a.address)) as ips, p.device_owner from port p"
        " join network n on n.id = p.network_id join server s on s.id = p.server_id"
        " where s.uuid = %s order by p.position",
        (server,),
    )
    return [(row.network, row.ips, row.device_owner) for row in rows]


async def there(cloud: Cloud, server: str) -> list[str | None]:
    """The addresses of the interfaces at the cluster, in order."""
    return [nic.ip for nic in cloud.ganeti.instances[cloud.instance(await cloud.row(server))].nics]


async def test_forced_address_comes_first_and_needs_no_quota(make: Any) -> None:
    """Whatever else is asked for; its history is kept."""
    cloud = await make(forced_networks=[IPV4])
    public = await outside(cloud, "192.0.2.0/29")
    for wanted, count in ((None, 2), ((), 1), ((WantedNic(cloud.network),), 2)):
        server = await cloud.active(networks=wanted)
        found = await nics(cloud, server)
        assert len(found) == count
        assert (found[0][0], found[0][2]) == (public.uuid, "compute:nova")
        assert (await there(cloud, server))[0] == found[0][1][0]
    rows = await cloud.database.all("select server_id from address_history")
    assert len(rows) == 3
    assert await cloud.used("cyclades.floating_ip") == 0
    await cloud.check_books()


async def test_forced_network_that_is_full_is_unavailable(make: Any) -> None:
    """The next of the same entry is taken, if there is one; nothing is left of a refusal."""
    cloud = await make(forced_networks=[[IPV4, IPV6]])
    await outside(cloud, "192.0.2.0/30")
    first = await cloud.active("a", networks=())
    assert len(await nics(cloud, first)) == 1
    await refused(Unavailable, cloud.create("b", networks=()))
    six = await outside(cloud, "2001:db8::/64")
    second = await cloud.active("c", networks=())
    assert [(each[0], len(each[1])) for each in await nics(cloud, second)] == [(six.uuid, 1)]
    assert await cloud.used("cyclades.vm") == 2
    await cloud.check_books()


async def test_default_address_is_a_floating_ip_of_the_project(make: Any) -> None:
    """Any that nothing uses; it stays with the project when the server goes."""
    cloud = await make(default_networks=[IPV4])
    public = await outside(cloud, "192.0.2.0/29")
    assert (await refused(Conflict, cloud.create(networks=None))).reason == "no_default_network"
    uuid = await cloud.world.floating_ips.create(cloud.who, WantedFloatingIp(public.uuid), "req-f")
    server = await cloud.active(networks=None)
    ((network, (address,), owner),) = await nics(cloud, server)
    assert (network, owner) == (public.uuid, "network:floatingip")
    assert await there(cloud, server) == [address]
    assert (
        await refused(Conflict, cloud.create("b", networks=None))
    ).reason == "no_default_network"
    named = await cloud.active("c", networks=(WantedNic(cloud.network),))
    assert [each[0] for each in await nics(cloud, named)] == [cloud.network]
    await cloud.world.servers.delete(cloud.who, server, "req-d")
    await cloud.settled()
    row = await cloud.database.first(
        "select f.port_id, a.port_id as extra from floating_ip f join address a"
        " on a.id = f.address_id where f.uuid = %s",
        (uuid,),
    )
    assert (row.port_id, row.extra) == (None, None)
    history = await cloud.database.first("select host(address) as address, released_at is null"
                                         " as open from address_history")  # fmt: skip
    assert (history.address, history.open) == (address, False)
    assert await cloud.used("cyclades.floating_ip") == 1


async def test_default_address_is_taken_off_like_any_other(make: Any) -> None:
    """By its floating IP."""
    cloud = await make(default_networks=[ANY])
    await cloud.database.run("update cluster set hotplug = true")
    public = await outside(cloud, "192.0.2.0/29")
    uuid = await cloud.world.floating_ips.create(cloud.who, WantedFloatingIp(public.uuid), "req-f")
    server = await cloud.active(networks=None)
    await cloud.world.floating_ips.update(cloud.who, uuid, {"port_ref": None}, "req-off")
    await cloud.settled()
    assert await nics(cloud, server) == []
    assert await there(cloud, server) == []


async def test_default_network_is_like_one_that_was_asked_for(make: Any) -> None:
    """A network of another project's is none; too many are refused before anything is made."""
    cloud = await make()
    other = await cloud.somebody()
    theirs = await cloud.world.networks.create(other, WantedNetwork(everywhere=False))
    force_setattr(cloud.world.config.ganeti, "default_networks", (theirs.uuid, cloud.network))
    assert (await refused(Conflict, cloud.create(networks=None))).reason == "no_default_network"
    for entry, error in (
        (((theirs.uuid, cloud.network),), None),
        (((cloud.network,),) * 9, BadRequest),
    ):
        force_setattr(cloud.world.config.ganeti, "default_networks", entry)
        if error is None:
            server = await cloud.active(networks=None)
            assert [each[0] for each in await nics(cloud, server)] == [cloud.network]
        else:
            await refused(error, cloud.create("b", networks=None))
    await cloud.check_books()


async def at_once(cloud: Cloud, count: int, monkeypatch: Any, **wanted: Any) -> list[Any]:
    """Ask for servers whose networks are all looked up before any of them is written down."""
    chosen = ServerNetworks.chosen
    waiting: list[Deferred[None]] = []
    looked: list[int] = []

    async def together(flow: Any, *arguments: Any) -> Any:
        found = await chosen(flow, *arguments)
        looked.append(1)
        if len(looked) < count:
            waiting.append(Deferred())
            await waiting[-1]
        while waiting:
            waiting.pop().callback(None)
        return found

    monkeypatch.setattr(ServerNetworks, "chosen", together)
    asked = [ensureDeferred(cloud.create(f"s{number}", **wanted)) for number in range(count)]
    return [result for _, result in await DeferredList(asked, consumeErrors=True)]


async def test_network_that_fills_up_meanwhile_is_passed_by(make: Any, monkeypatch: Any) -> None:
    """Two see the last address of one; the second gets the next network of the entry."""
    cloud = await make(forced_networks=[[IPV4, IPV6]])
    networks = [
        await outside(cloud, cidr) for cidr in ("192.0.2.0/30", "192.0.2.4/30", "2001:db8::/64")
    ]
    servers = await at_once(cloud, 3, monkeypatch, networks=())
    await cloud.settled()
    found = [(await nics(cloud, server))[0][0] for server in servers]
    assert sorted(found) == sorted(network.uuid for network in networks)
    await cloud.check_books()


async def test_last_address_of_all_goes_to_one(make: Any, monkeypatch: Any) -> None:
    """And the others are told what they are told when it is gone already."""
    cloud = await make(forced_networks=[IPV4])
    await outside(cloud, "192.0.2.0/30")
    results = await at_once(cloud, 3, monkeypatch, networks=())
    refusals = [result for result in results if not isinstance(result, str)]
    assert [type(each.value) for each in refusals] == [Unavailable] * 2
    await cloud.settled()
    assert await cloud.used("cyclades.vm") == 1
    await cloud.check_books()


async def test_default_that_fills_up_meanwhile_is_passed_by(make: Any, monkeypatch: Any) -> None:
    """Of floating IPs and of networks; one that was asked for by name is not exchanged."""
    cloud = await make(default_networks=[[IPV4, IPV6]])
    public = await outside(cloud, "192.0.2.0/29")
    six = await outside(cloud, "2001:db8::/64")
    await cloud.world.floating_ips.create(cloud.who, WantedFloatingIp(public.uuid), "req-f")
    servers = await at_once(cloud, 2, monkeypatch, networks=None)
    await cloud.settled()
    found = [(await nics(cloud, server))[0][0] for server in servers]
    assert sorted(found) == sorted([public.uuid, six.uuid])
    monkeypatch.undo()
    small = await cloud.a_network("10.9.0.0/30")
    results = await at_once(cloud, 2, monkeypatch, networks=(WantedNic(small),))
    refusals = [result for result in results if not isinstance(result, str)]
    assert [each.value.reason for each in refusals] == ["IpAddressGenerationFailure"]
    await cloud.settled()


async def test_several_servers_share_what_is_left(make: Any) -> None:
    """All of one request are on one network; where it has too few addresses, on the next."""
    cloud = await make(forced_networks=[IPV4])
    await outside(cloud, "192.0.2.0/30")
    wide = await outside(cloud, "198.51.100.0/29")
    new = {"networks": (), "min_count": 2, "max_count": 2}
    first = await cloud.create("many", **new)
    await cloud.settled()
    assert [each[0] for each in await nics(cloud, first)] == [wide.uuid]
    assert await cloud.used("cyclades.vm") == 2


@pytest.mark.parametrize("entry", ["x", "SNF:ANY", "", "SNF:ANY_PUBLIC_IPV5", ["x"]])
def test_wrong_entry_is_told_when_the_service_starts(make_cloud: Any, entry: Any) -> None:
    """And not when the first server is made."""
    with pytest.raises(Exception, match="forced_networks"):
        make_cloud(ganeti={"forced_networks": [entry]})
