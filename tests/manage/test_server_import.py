"""Instances that a cluster had before become servers as they are, or are left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest_twisted

from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.ganeti.simulator.values import SimDisk
from cyclades_tx.model import quota
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud

Manage = Callable[..., Any]

UUID = "6f5c9e52-0f1e-4d7c-9d4b-8f1f7c1f2a10"


@pytest_twisted.async_fixture
async def cloud(whole_cloud: Cloud) -> Any:
    """A driven cloud with an external network, and an owner who is known by name."""
    cloud: Any = whole_cloud
    row = await cloud.world.networks.create(
        None,
        WantedNetwork(
            name="public",
            flavor="IP_LESS_ROUTED",
            external=True,
            floating_ip_pool=True,
            subnets=(WantedSubnet("192.0.2.64/26"),),
        ),
    )
    cloud.public = cloud.world.names.network(row.id)
    cloud.inside = cloud.world.names.network(
        await cloud.database.value("select id from network where uuid = %s", (cloud.network,))
    )
    await cloud.database.run(
        "insert into role_assignment (user_id, project_id, role_id) select %s, %s, id from role"
        " where name = 'member'",
        (cloud.who.user_id, cloud.who.project_id),
    )
    await cloud.drive()
    await cloud.settled()
    return cloud


def plant(cloud: Any, name: str, **parts: Any) -> None:
    """An instance that nobody made here."""
    hand, has = cloud.ganeti.by_hand, cloud.ganeti
    disks = (SimDisk("snf-vol-700", 2048, "d-1"), SimDisk(None, 1024, "d-2"))
    hand.add(name, **{"vcpus": 2, "memory": 512, "disks": disks, **parts})
    hand.add_nic(name, cloud.inside, "10.1.0.50", nic_name="snf-nic-900")
    hand.add_nic(name, cloud.public, "192.0.2.77", nic_name="outside")
    assert name in has.instances


async def take(manage: Manage, cloud: Any, name: str, *words: str, code: int = 0) -> str:
    """What the command says."""
    given = {
        "--backend": str(cloud.cluster_id),
        "--user": cloud.who.user_id,
        "--flavor": cloud.flavor.uuid,
    }
    for word, value in zip(words[::2], words[1::2], strict=False):
        given[word] = value
    line = [part for pair in given.items() for part in pair]
    flags = [word for word in words[-1:] if len(words) % 2]
    found = await manage("server-import", name, *line, *flags)
    assert found.code == code, found
    assert "Traceback" not in found.err
    return str(found.out + found.err)


async def count(cloud: Any) -> int:
    """How many servers there are, also deleted ones."""
    found: int = await cloud.database.value("select count(*) from server")
    return found


async def test_instance_becomes_a_server_as_it_is(manage: Manage, cloud: Any) -> None:
    """With its number, ports, addresses and volumes; charged; and it can be used like any other."""
    plant(cloud, "snf-500", tags=(f"cyclades:server:{UUID}",))
    jobs = len(cloud.ganeti.jobs)
    told = await take(manage, cloud, "snf-500", "--name", "old web", "--dry-run")
    assert "can be made" in told
    assert (await count(cloud), await cloud.used(quota.VM)) == (0, 0)
    told = await take(manage, cloud, "snf-500", "--name", "old web")
    assert "2 ports, 2 disks" in told
    row = await cloud.row(UUID)
    assert (row.id, row.name, row.state, row.charge) == (500, "old web", "active", "on")
    assert (row.vcpus, row.memory_mib, row.hostname) == (2, 512, "old-web")
    ports = await cloud.database.all(
        "select p.id, p.position, host(a.address) as address from port p"
        " join address a on a.port_id = p.id where p.server_id = 500 order by p.position"
    )
    assert [(port.position, port.address) for port in ports] == [
        (0, "10.1.0.50"),
        (1, "192.0.2.77"),
    ]
    assert ports[0].id == 900
    volumes = await cloud.database.all(
        "select id, size_gib, bootable, status from volume where server_id = 500 order by position"
    )
    assert [(each.size_gib, each.bootable, each.status) for each in volumes] == [
        (2, True, "in_use"),
        (1, False, "in_use"),
    ]
    assert volumes[0].id == 700
    assert await cloud.used(quota.DISK) == 3 * quota.GIB
    assert await cloud.used(quota.RAM) == 512 * quota.MIB
    history = await cloud.database.all("select host(address) as address from address_history")
    assert [each.address for each in history] == ["192.0.2.77"]
    assert len(cloud.ganeti.jobs) == jobs, "nothing is done at the cluster"
    await cloud.check_books()
    assert (await cloud.row(await cloud.active())).id > 500
    await cloud.world.servers.stop(cloud.who, UUID, "req-stop")
    await cloud.settled()
    assert await cloud.state(UUID) == ("stopped", "off")
    await cloud.world.servers.delete(cloud.who, UUID, "req-delete")
    await cloud.settled()
    assert "snf-500" not in cloud.ganeti.instances
    assert await cloud.used(quota.VM) == 1
    await cloud.check_books()


async def test_instance_of_another_name_is_told_its_own(manage: Manage, cloud: Any) -> None:
    """A number is kept for it; renamed, it is taken in stopped as it is."""
    plant(cloud, "web1.example.org")
    told = await take(manage, cloud, "web1.example.org", code=1)
    line = next(line for line in told.splitlines() if "gnt-instance rename" in line)
    name = line.split()[-1]
    assert cloud.world.names.server_id(name) is not None
    assert await count(cloud) == 0
    hand = cloud.ganeti.by_hand
    hand.stop("web1.example.org")
    old = cloud.ganeti.instances["web1.example.org"]
    hand.remove("web1.example.org")
    hand.add(name, vcpus=1, memory=256, disks=old.disks, nics=old.nics, running=False,
             admin_up=False)  # fmt: skip
    await take(manage, cloud, name)
    number = cloud.world.names.server_id(name)
    row = await cloud.database.first("select * from server where id = %s", (number,))
    assert (row.state, row.charge, row.name) == ("stopped", "off", name)
    await cloud.check_books()


async def test_what_cannot_be_recorded_is_not_taken_in(manage: Manage, cloud: Any) -> None:
    """Each reason is told, and nothing is left of the try."""
    hand = cloud.ganeti.by_hand
    plant(cloud, "snf-501")
    hand.add_nic("snf-501", None, nic_name="foreign")
    plant(cloud, "snf-502")
    hand.change_nic("snf-502", 0, ip="10.99.0.1")
    plant(cloud, "snf-503")
    server = await cloud.active()
    number = (await cloud.row(server)).id
    taken = await cloud.database.value("select mac::text from port where server_id = %s", (number,))
    hand.change_nic("snf-503", 1, mac=taken)
    other = await cloud.somebody()
    await ValuePools(cloud.database).create("mac_prefix", "aa:00:0", 100)
    row = await cloud.world.networks.create(other, WantedNetwork(name="theirs"))
    await cloud.settled()
    theirs = cloud.world.names.network(row.id)
    hand.add("snf-505", vcpus=1, memory=128)
    hand.add_nic("snf-505", theirs, nic_name="snf-nic-950")
    plant(cloud, "snf-504", tags=(f"cyclades:server:{server}",))
    before = await count(cloud)
    for name, why in (
        ("snf-501", "not one of our networks"),
        ("snf-502", "10.99.0.1"),
        ("snf-503", taken),
        ("snf-504", f"server {number}"),
        ("snf-505", "belongs to another project"),
        (f"snf-{number}", "is there already"),
        ("snf-599", "has no instance"),
        ("snf-9999999999999", "has no instance"),
    ):
        assert why in await take(manage, cloud, name, code=1), name
    await cloud.world.servers.delete(cloud.who, server, "req-delete")
    await cloud.settled()
    plant(cloud, f"snf-{number}")
    assert "was deleted here" in await take(manage, cloud, f"snf-{number}", code=1)
    assert await count(cloud) == before
    await cloud.check_books()


async def test_quota_and_words_hold(manage: Manage, cloud: Any) -> None:
    """In a sentence, without a trace, and nothing has changed."""
    plant(cloud, "snf-500")
    await builders.a_holding(cloud.database, cloud.who.project_id, quota.VM, 0)
    assert "Quota exceeded for instances" in await take(manage, cloud, "snf-500", code=1)
    await builders.a_holding(cloud.database, cloud.who.project_id, quota.VM, None)
    for words, code in (
        (("--user", "nobody"), 1),
        (("--flavor", "nowhere"), 1),
        (("--backend", "nowhere"), 1),
        (("--image", "nowhere"), 1),
        (("--project", "nowhere"), 1),
        (("--name", "\u202e"), 2),
    ):
        await take(manage, cloud, "snf-500", *words, code=code)
    await take(manage, cloud, "snf-500; reboot", code=2)
    await cloud.database.run("update cluster set offline = true")
    assert "offline" in await take(manage, cloud, "snf-500", code=1)
    assert await count(cloud) == 0
