"""Interfaces come to servers and leave them, at simulated clusters; nothing leaks on the way."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.flows.interfaces import WantedInterface
from cyclades_tx.flows.ports import WantedAddress, WantedPort
from cyclades_tx.ganeti.simulator.behaviors import Misbehavior
from cyclades_tx.model.server import WantedNic
from cyclades_tx.model.who import ADMIN
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud, refused


@pytest_twisted.async_fixture
async def plugged(driven: Cloud) -> Cloud:
    """A driven cloud whose cluster changes running machines, and a second network."""
    await driven.database.run("update cluster set hotplug = true")
    driven.second = await driven.a_network("10.2.0.0/24")  # type: ignore[attr-defined]
    await driven.settled()
    return driven


async def port(cloud: Cloud, uuid: str) -> Any:
    """The row of a port; None when it is gone."""
    return await cloud.database.first(
        "select p.*, p.mac::text as mac_text, (select array_agg(host(a.address)) from address a"
        " where a.port_id = p.id) as ips from port p where p.uuid = %s",
        (uuid,),
    )


async def nics(cloud: Cloud, server: str) -> list[tuple[str, str | None]]:
    """MAC and address of each interface at the cluster."""
    instance = cloud.ganeti.instances[cloud.instance(await cloud.row(server))]
    return [(nic.mac, nic.ip) for nic in instance.nics]


async def attach(cloud: Cloud, server: str, **wanted: Any) -> str:
    """Wish an interface; the UUID of its port."""
    uuid: str = await cloud.world.interfaces.attach(
        cloud.who, server, WantedInterface(**wanted), "req-attach"
    )
    return uuid


async def a_port(cloud: Cloud, network: str, **wanted: Any) -> str:
    """A port of the project's that no server has."""
    (uuid,) = await cloud.world.ports.create(cloud.who, [WantedPort(network, **wanted)])
    return uuid


async def test_attached_network_is_an_interface_with_the_port_s_address(plugged: Any) -> None:
    """First the port in BUILD, then the same MAC and address at the cluster."""
    server = await plugged.active()
    uuid = await attach(plugged, server, network_ref=plugged.second, fixed_ip="10.2.0.77")
    made = await port(plugged, uuid)
    assert (made.state, made.ips, made.device_owner) == ("build", ["10.2.0.77"], "compute:nova")
    await plugged.settled()
    assert (await port(plugged, uuid)).state == "active"
    assert (await nics(plugged, server))[1] == (made.mac_text, "10.2.0.77")
    assert (await plugged.operations(server))[-1].state == "succeeded"
    await plugged.check_books()


async def test_detached_interface_of_a_network_gives_its_address_back(plugged: Any) -> None:
    """The port that was made for it goes with it."""
    server = await plugged.active()
    uuid = await attach(plugged, server, network_ref=plugged.second)
    await plugged.settled()
    await plugged.world.interfaces.detach(plugged.who, server, uuid, "req-detach")
    assert (await port(plugged, uuid)).state == "active", "until the cluster says otherwise"
    await plugged.settled()
    assert await port(plugged, uuid) is None
    assert len(await nics(plugged, server)) == 1
    await plugged.check_books()


async def test_own_port_comes_and_goes_with_its_address(plugged: Any) -> None:
    """It stays when its interface is gone, with the address, for the next server."""
    server = await plugged.active()
    uuid = await a_port(plugged, plugged.second, name="mine")
    before = await port(plugged, uuid)
    assert (before.state, before.server_id) == ("down", None)
    await attach(plugged, server, port_ref=uuid)
    await plugged.settled()
    assert (await port(plugged, uuid)).state == "active"
    await plugged.world.interfaces.detach(plugged.who, server, uuid, "req-detach")
    await plugged.settled()
    after = await port(plugged, uuid)
    assert (after.state, after.server_id, after.ips, after.device_owner) == (
        "down",
        None,
        before.ips,
        "",
    )
    await plugged.check_books()


async def test_deleted_port_of_a_server_is_detached_first(plugged: Any) -> None:
    """Also one that the user made."""
    server = await plugged.active()
    uuid = await a_port(plugged, plugged.second)
    await attach(plugged, server, port_ref=uuid)
    await plugged.settled()
    await plugged.world.ports.delete(plugged.who, uuid, "req-delete")
    await plugged.settled()
    assert await port(plugged, uuid) is None
    assert len(await nics(plugged, server)) == 1
    await plugged.check_books()


async def test_port_that_was_deleted_goes_with_its_server(cloud: Cloud) -> None:
    """Also when the server's end comes before its interface was removed."""
    await cloud.drive()
    await cloud.database.run("update cluster set hotplug = true")
    server = await cloud.active()
    uuid = await a_port(cloud, cloud.network)
    await attach(cloud, server, port_ref=uuid)
    await cloud.settled()
    await cloud.stop()
    await cloud.world.ports.delete(cloud.who, uuid, "req-delete")
    await cloud.world.servers.delete(cloud.who, server, "req-delete")
    await cloud.drive()
    await cloud.settled()
    assert await port(cloud, uuid) is None
    await cloud.check_books()


async def test_port_that_could_not_be_detached_is_not_deleted_later(plugged: Any) -> None:
    """The wish ends with its failure; the port is the user's as before."""
    server = await plugged.active()
    uuid = await a_port(plugged, plugged.second)
    await attach(plugged, server, port_ref=uuid)
    await plugged.settled()
    plugged.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1)
    await plugged.world.ports.delete(plugged.who, uuid, "req-delete")
    await plugged.settled()
    kept = await port(plugged, uuid)
    assert (kept.state, kept.automatic) == ("active", False)
    assert (await plugged.operations(server))[-1].state == "failed"
    await plugged.check_books()


async def test_failed_attachment_gives_port_and_address_back(plugged: Any) -> None:
    """The job fails: what was made for it is gone, the user's own port is free again."""
    server = await plugged.active()
    own = await a_port(plugged, plugged.second)
    for wanted in ({"network_ref": plugged.second}, {"port_ref": own}):
        plugged.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1)
        uuid = await attach(plugged, server, **wanted)
        await plugged.settled()
        assert (await plugged.operations(server))[-1].state == "failed"
        left = await port(plugged, uuid)
        assert left is None if uuid != own else (left.server_id, left.state) == (None, "down")
    assert len(await nics(plugged, server)) == 1
    await plugged.check_books()


async def test_refused_attachment_gives_everything_back(plugged: Any) -> None:
    """The cluster takes no job at all."""
    server = await plugged.active()
    plugged.ganeti.misbehave(Misbehavior.REFUSE, status=400, times=1)
    uuid = await attach(plugged, server, network_ref=plugged.second)
    await plugged.settled()
    assert await port(plugged, uuid) is None
    await plugged.check_books()


@pytest.mark.parametrize("kind", [Misbehavior.DROP_REPLY, Misbehavior.GATEWAY_TIMEOUT_AFTER])
async def test_lost_answer_makes_one_interface(plugged: Any, kind: Misbehavior) -> None:
    """The job is found by its reason and adopted."""
    server = await plugged.active()
    plugged.ganeti.misbehave(kind, times=1, methods=("PUT",))
    uuid = await attach(plugged, server, network_ref=plugged.second)
    await plugged.settled()
    assert (await port(plugged, uuid)).state == "active"
    assert len(await nics(plugged, server)) == 2
    jobs = [job for job in plugged.ganeti.jobs.values() if "SET_PARAMS" in job.summary[0]]
    assert len(jobs) == 1


async def test_interface_that_a_running_machine_keeps_waits_for_its_restart(plugged: Any) -> None:
    """Its address is nobody else's before; the port says DOWN, the operation why."""
    server = await plugged.active()
    uuid = await attach(plugged, server, network_ref=plugged.second)
    await plugged.settled()
    plugged.ganeti.misbehave(Misbehavior.FAIL_HOTPLUG, times=1)
    await plugged.world.interfaces.detach(plugged.who, server, uuid, "req-detach")
    await plugged.settled()
    waiting = await port(plugged, uuid)
    assert (waiting.state, waiting.pending_restart) == ("down", "detach")
    assert waiting.ips
    assert "next started or rebooted" in (await plugged.operations(server))[-1].reason
    again = plugged.world.interfaces.detach(plugged.who, server, uuid, "req-again")
    assert "next started" in (await refused(Conflict, again)).message
    await plugged.world.servers.reboot(plugged.who, server, True, "req-reboot")
    await plugged.settled()
    assert await port(plugged, uuid) is None
    await plugged.check_books()


async def test_interface_that_a_running_machine_misses_is_down_until_its_restart(
    plugged: Any,
) -> None:
    """Looks at the cluster in between do not call it active."""
    server = await plugged.active()
    plugged.ganeti.misbehave(Misbehavior.FAIL_HOTPLUG, times=1)
    uuid = await attach(plugged, server, network_ref=plugged.second)
    await plugged.settled()
    assert (await port(plugged, uuid)).state == "down"
    plugged.ganeti.by_hand.change(plugged.instance(await plugged.row(server)), vcpus=2)

    async def seen() -> bool:
        return (await plugged.row(server)).vcpus == 2

    await plugged.until(seen, "the change by hand is followed")
    assert (await port(plugged, uuid)).state == "down"
    await plugged.world.servers.stop(plugged.who, server, "req-stop")
    await plugged.settled()
    assert (await port(plugged, uuid)).state == "active"


async def test_running_server_of_a_cluster_without_hotplug_is_a_conflict(driven: Cloud) -> None:
    """With the way out in the message; a stopped one is changed."""
    server = await driven.active()
    error = await refused(Conflict, attach(driven, server, network_ref=driven.network))
    assert "stopped servers only" in error.message
    await driven.world.servers.stop(driven.who, server, "req-stop")
    await driven.settled()
    await attach(driven, server, network_ref=driven.network)
    await driven.settled()
    assert len(await nics(driven, server)) == 2
    await driven.check_books()


async def test_busy_server_is_a_conflict_and_nothing_is_taken(plugged: Any) -> None:
    """One change at a time."""
    server = await plugged.active()
    await plugged.world.servers.reboot(plugged.who, server, True, "req-reboot")
    count = await plugged.database.value("select count(*) from port")
    await refused(Conflict, attach(plugged, server, network_ref=plugged.second))
    assert await plugged.database.value("select count(*) from port") == count
    await plugged.settled()


async def test_deletion_of_a_server_cancels_an_attachment_that_waits(cloud: Cloud) -> None:
    """Nothing was sent: the user's port is free, the other one gone."""
    await cloud.drive()
    await cloud.database.run("update cluster set hotplug = true")
    server = await cloud.active()
    own = await a_port(cloud, cloud.network)
    await cloud.stop()
    await attach(cloud, server, port_ref=own)
    await cloud.world.servers.delete(cloud.who, server, "req-delete")
    assert (await port(cloud, own)).server_id is None
    await cloud.drive()
    await cloud.settled()
    assert (await port(cloud, own)).state == "down"
    await cloud.check_books()


async def test_server_is_made_with_a_port_and_leaves_it(plugged: Any) -> None:
    """Its address and MAC; a second server cannot have it; it outlives the server."""
    uuid = await a_port(plugged, plugged.second, addresses=(WantedAddress(None, "10.2.0.9"),))
    server = await plugged.active(networks=(WantedNic(port_ref=uuid),))
    assert await nics(plugged, server) == [((await port(plugged, uuid)).mac_text, "10.2.0.9")]
    await refused(Conflict, plugged.create(networks=(WantedNic(port_ref=uuid),)))
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    left = await port(plugged, uuid)
    assert (left.server_id, left.ips) == (None, ["10.2.0.9"])
    await plugged.check_books()


async def test_ports_and_servers_of_others_are_not_found(plugged: Any) -> None:
    """Neither way round, and a port of another server of one's own neither."""
    stranger = await plugged.somebody()
    server, other = await plugged.active("a"), await plugged.active("b")
    (theirs,) = await plugged.world.ports.create(stranger, [WantedPort(plugged.second)])
    await refused(NotFound, attach(plugged, server, port_ref=theirs))
    await refused(NotFound, attach(plugged, server, port_ref="nothing"))
    await refused(NotFound, attach(plugged, server, network_ref="nothing"))
    interfaces = plugged.world.interfaces
    await refused(NotFound, interfaces.attach(stranger, server, WantedInterface(theirs), "r"))
    foreign = await plugged.database.value(
        "select p.uuid::text from port p join server s on s.id = p.server_id where s.uuid = %s",
        (other,),
    )
    await refused(NotFound, interfaces.detach(plugged.who, server, foreign, "r"))
    await refused(NotFound, interfaces.detach(stranger, other, foreign, "r"))
    await refused(NotFound, plugged.world.ports.delete(stranger, foreign, "r"))
    await refused(NotFound, plugged.world.ports.update(stranger, foreign, {"name": "x"}))
    await refused(BadRequest, plugged.create(networks=(WantedNic(port_ref=theirs),)))


async def test_only_administrators_choose_mac_addresses(plugged: Any) -> None:
    """And nobody one that is in use."""
    admin = await builders.somebody(plugged.database, ADMIN)
    mac = "aa:00:00:12:34:56"
    await refused(Forbidden, a_port(plugged, plugged.second, mac=mac))
    (uuid,) = await plugged.world.ports.create(admin, [WantedPort(plugged.second, mac=mac)])
    assert (await port(plugged, uuid)).mac_text == mac
    again = plugged.world.ports.create(admin, [WantedPort(plugged.second, mac=mac)])
    assert (await refused(Conflict, again)).reason == "MacAddressInUse"


async def test_several_ports_are_made_all_or_none(plugged: Any) -> None:
    """The last one's address is taken: none is there, and no address is gone."""
    wanted = [
        WantedPort(plugged.second, addresses=(WantedAddress(None, address),))
        for address in ("10.2.0.20", "10.2.0.21", "10.2.0.20")
    ]
    error = await refused(Conflict, plugged.world.ports.create(plugged.who, wanted))
    assert error.reason == "IpAddressInUse"
    assert await plugged.database.value("select count(*) from port") == 0
    await plugged.check_books()


async def test_addresses_of_a_port_change_while_no_server_has_it(plugged: Any) -> None:
    """The old one is free then; on a server it is a conflict, unless nothing changes."""
    uuid = await a_port(plugged, plugged.second, addresses=(WantedAddress(None, "10.2.0.30"),))
    ports = plugged.world.ports
    change = {"addresses": (WantedAddress(None, "10.2.0.31"),)}
    await ports.update(plugged.who, uuid, change)
    assert (await port(plugged, uuid)).ips == ["10.2.0.31"]
    await plugged.check_books()
    server = await plugged.active()
    await attach(plugged, server, port_ref=uuid)
    await plugged.settled()
    await ports.update(plugged.who, uuid, change)
    other = {"addresses": (WantedAddress(None, "10.2.0.32"),)}
    assert (await refused(Conflict, ports.update(plugged.who, uuid, other))).reason == "PortBound"


async def test_fixed_addresses_come_and_go_by_the_old_actions(plugged: Any) -> None:
    """As an interface each; an address that the server has not is a bad request."""
    server = await plugged.active()
    interfaces = plugged.world.interfaces
    await interfaces.add_fixed_ip(plugged.who, server, plugged.second, "req-add")
    await plugged.settled()
    (_, address) = (await nics(plugged, server))[1]
    await interfaces.remove_fixed_ip(plugged.who, server, address, "req-remove")
    await plugged.settled()
    assert len(await nics(plugged, server)) == 1
    await refused(BadRequest, interfaces.remove_fixed_ip(plugged.who, server, address, "req"))


async def test_no_server_has_more_interfaces_than_the_most(plugged: Any) -> None:
    """The one too many is a conflict and takes no address."""
    server = await plugged.active()
    await plugged.world.servers.stop(plugged.who, server, "req-stop")
    await plugged.settled()
    for _ in range(plugged.world.config.ganeti.max_nics - 1):
        await attach(plugged, server, network_ref=plugged.second)
        await plugged.settled()
    await refused(Conflict, attach(plugged, server, network_ref=plugged.second))
    await plugged.check_books()
