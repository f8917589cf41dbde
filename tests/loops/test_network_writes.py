"""Networks that people make, change and delete, as the clusters then have them."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.errors import Conflict
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.ganeti.simulator.values import SimNetwork
from cyclades_tx.model.server import WantedNic
from cyclades_tx.store import value_recount
from tests.loops.cloud import Cloud

PRIVATE = "cyclades.network.private"


class Lab:
    """A driven cloud of two clusters with a pool of prefixes, and words for its networks."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    async def make(self, *cidrs: str) -> Any:
        """A private network of the user's; no cluster has it yet."""
        row = await self.cloud.world.networks.create(
            self.cloud.who, WantedNetwork(name="own", flavor="MAC_FILTERED", everywhere=False)
        )
        for cidr in cidrs:
            await self.subnet(row, cidr)
        return row

    async def subnet(self, row: Any, cidr: str) -> Any:
        """A subnet of it."""
        return await self.cloud.world.subnets.create(
            self.cloud.who, row.uuid, WantedSubnet(cidr), "req-net"
        )

    async def server(self, row: Any, cluster_id: int) -> str:
        """A server on it that runs on one cluster."""
        await self.cloud.database.run("update cluster set drained = id <> %s", (cluster_id,))
        return await self.cloud.active(networks=(WantedNic(row.uuid),))

    async def delete_server(self, uuid: str) -> None:
        """Delete a server and wait."""
        await self.cloud.world.servers.delete(self.cloud.who, uuid, "req-delete")
        await self.cloud.settled()

    def there(self, row: Any, cluster_id: int) -> SimNetwork | None:
        """The network as a cluster has it."""
        return self.cloud.ganetis[cluster_id].inventory.networks.get(f"snf-net-{row.id}")

    async def states(self, row: Any) -> list[str]:
        """The states of its records, by cluster."""
        found = await self.cloud.database.all(
            "select state from cluster_network where network_id = %s order by cluster_id", (row.id,)
        )
        return [each.state for each in found]

    async def ends(self, row: Any) -> list[tuple[str, str]]:
        """Kind and end of its operations."""
        found = await self.cloud.database.all(
            "select kind, state from operation where network_id = %s and server_id is null"
            " order by id",
            (row.id,),
        )
        return [(each.kind, each.state) for each in found]


@pytest_twisted.async_fixture
async def lab(make_cloud: Any) -> Lab:
    """Two driven clusters and a pool."""
    cloud = make_cloud()
    await cloud.equip(clusters=2)
    await ValuePools(cloud.database).create("mac_prefix", "aa:00:0", 100)
    await cloud.drive()
    await cloud.settled()
    return Lab(cloud)


async def test_a_private_network_comes_to_each_cluster_with_its_first_server(lab: Lab) -> None:
    """Before the server, with a prefix of the cluster's own; deleting removes it everywhere."""
    cloud = lab.cloud
    first, second = cloud.ganetis
    row = await lab.make("10.8.0.0/24", "fd00:8::/64")
    await cloud.settled()
    assert lab.there(row, first) is None
    servers = [await lab.server(row, first)]
    there = lab.there(row, first)
    assert there is not None
    assert (there.cidr, there.gateway, there.cidr6) == ("10.8.0.0/24", "10.8.0.1", "fd00:8::/64")
    assert there.mac_prefix == "aa:00:10"
    assert set(there.tags) == {"private-filtered", "nfdhcpd", "private"}
    assert lab.there(row, second) is None
    servers.append(await lab.server(row, second))
    there = lab.there(row, second)
    assert there is not None
    assert (there.cidr, there.mac_prefix) == ("10.8.0.0/24", "aa:00:11")
    with pytest.raises(Conflict) as caught:
        await cloud.world.networks.delete(cloud.who, row.uuid)
    assert caught.value.reason == "NetworkInUse"
    for uuid in servers:
        await lab.delete_server(uuid)
    await cloud.world.networks.delete(cloud.who, row.uuid, request_id="req-gone")
    assert await cloud.used(PRIVATE) == 0
    # Its prefix is not given to another while a cluster still has the network.
    assert await value_recount.find(cloud.database) == []
    await cloud.settled()
    assert lab.there(row, first) is lab.there(row, second) is None
    assert await lab.states(row) == []
    assert (await lab.ends(row))[-2:] == [("remove_network", "succeeded")] * 2
    assert await value_recount.find(cloud.database) == []
    again = await lab.make()
    assert again.mac_prefix == row.mac_prefix
    await cloud.check_books()


async def test_a_prefix_is_not_free_while_a_cluster_has_the_network(lab: Lab) -> None:
    """Nobody drives the clusters when it is deleted; later they remove it."""
    cloud = lab.cloud
    row = await lab.make("10.8.0.0/24")
    for cluster_id in cloud.ganetis:
        await lab.delete_server(await lab.server(row, cluster_id))
    await cloud.stop()
    await cloud.world.networks.delete(cloud.who, row.uuid)
    other = await lab.make()
    assert other.mac_prefix != row.mac_prefix
    assert await value_recount.find(cloud.database) == []
    await cloud.drive()
    await cloud.settled()
    assert await value_recount.find(cloud.database) == []
    assert (await lab.make()).mac_prefix == row.mac_prefix


async def test_a_network_that_nothing_is_on_is_made_anew_with_its_new_subnet(lab: Lab) -> None:
    """The cluster had made it without one; the next server gets an address of it."""
    cloud = lab.cloud
    first, _ = cloud.ganetis
    row = await lab.make()
    await lab.delete_server(await lab.server(row, first))
    there = lab.there(row, first)
    assert there is not None
    assert there.cidr == "10.0.0.0/29"
    await lab.subnet(row, "10.8.0.0/24")
    uuid = await lab.server(row, first)
    there = lab.there(row, first)
    assert there is not None
    assert there.cidr == "10.8.0.0/24"
    assert await lab.states(row) == ["active"]
    instance = cloud.ganeti.inventory.instances[cloud.instance(await cloud.row(uuid))]
    assert instance.nics[0].ip == "10.8.0.2"
    assert set(await lab.ends(row)) == {("make_network", "succeeded")}
    await cloud.check_books()


async def test_changes_while_a_network_is_being_made_end_in_the_last_shape(lab: Lab) -> None:
    """Subnets come and go faster than the cluster's jobs."""
    cloud = lab.cloud
    first, _ = cloud.ganetis
    row = await lab.make()
    await lab.delete_server(await lab.server(row, first))
    four = await lab.subnet(row, "10.8.0.0/24")
    await lab.subnet(row, "fd00:8::/64")
    await cloud.until(lambda: _submitted(cloud, row), "a job was sent")
    await cloud.world.subnets.delete(cloud.who, four.uuid)
    await lab.subnet(row, "10.9.0.0/24")
    await cloud.settled()
    there = lab.there(row, first)
    assert there is not None
    assert (there.cidr, there.cidr6) == ("10.9.0.0/24", "fd00:8::/64")
    assert await lab.states(row) == ["active"]
    assert there.groups


async def _submitted(cloud: Cloud, row: Any) -> bool:
    return bool(
        await cloud.database.value(
            "select exists (select from operation where network_id = %s and finished_at is null"
            " and state <> 'pending')",
            (row.id,),
        )
    )


async def test_a_network_deleted_while_it_is_made_anew_is_removed(lab: Lab) -> None:
    """The open operation becomes the removal; nothing stays at the cluster."""
    cloud = lab.cloud
    first, _ = cloud.ganetis
    row = await lab.make()
    await lab.delete_server(await lab.server(row, first))
    await lab.subnet(row, "10.8.0.0/24")
    await cloud.until(lambda: _submitted(cloud, row), "a job was sent")
    await cloud.world.networks.delete(cloud.who, row.uuid)
    await cloud.settled()
    assert lab.there(row, first) is None
    assert await lab.states(row) == []
    assert await value_recount.find(cloud.database) == []
    assert await cloud.used(PRIVATE) == 0


async def test_a_lazy_network_is_not_taken_for_missing(lab: Lab) -> None:
    """The look at the networks makes none that no server needs."""
    cloud = lab.cloud
    first, second = cloud.ganetis
    row = await lab.make("10.8.0.0/24")
    await lab.server(row, first)
    await cloud.drive_of(second).network_drift.check()
    await cloud.settled()
    assert lab.there(row, second) is None
    cloud.ganetis[first].inventory.drop_network(f"snf-net-{row.id}")
    await cloud.drive_of(first).network_drift.check()
    await cloud.settled()
    assert lab.there(row, first) is not None
