"""Networks given to other projects, taken off single clusters and put there again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest_twisted
from twisted.internet.defer import ensureDeferred

from cyclades_tx.errors import Conflict
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.flows.ports import WantedPort
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.model import quota
from cyclades_tx.model.server import WantedNic
from cyclades_tx.store import networks, ports
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud, refused

Manage = Callable[..., Any]


async def said(manage: Manage, *words: str, code: int = 0) -> str:
    """What a command says."""
    found = await manage("network-modify", *words)
    assert found.code == code, found
    assert "Traceback" not in found.err
    return str(found.out + found.err)


@pytest_twisted.async_fixture
async def cloud(whole_cloud: Cloud) -> Cloud:
    """A cloud of two clusters, with a private network of the project."""
    await whole_cloud.a_cluster("c2")
    await ValuePools(whole_cloud.database).create("mac_prefix", "aa:00:0", 100)
    whole_cloud.mine = await whole_cloud.world.networks.create(  # type: ignore[attr-defined]
        whole_cloud.who, WantedNetwork(name="mine", subnets=(WantedSubnet("10.7.0.0/24"),))
    )
    await whole_cloud.drive()
    await whole_cloud.settled()
    return whole_cloud


async def charged(cloud: Any, who: Any) -> int:
    """How many private networks a project is charged for."""
    found: int = await cloud.database.value(
        "select used from holding where project_id = %s and resource = %s",
        (who.project_id, quota.PRIVATE_NETWORK),
    )
    return found


async def assigned(cloud: Any, who: Any) -> None:
    """Give somebody a role, so that the command finds the project."""
    await cloud.database.run(
        "insert into role_assignment (user_id, project_id, role_id) select %s, %s, id from role"
        " where name = 'member'",
        (who.user_id, who.project_id),
    )


async def test_network_gets_another_owner(manage: Manage, cloud: Any) -> None:
    """Whose project is charged from then on, and sees it alone."""
    other = await cloud.somebody()
    await assigned(cloud, other)
    assert (await charged(cloud, cloud.who), await charged(cloud, other)) == (1, 0)
    await said(manage, cloud.mine.uuid, "--owner", other.user_id)
    assert (await charged(cloud, cloud.who), await charged(cloud, other)) == (0, 1)
    assert [row.name for row in await cloud.world.networks.list(other) if not row.shared] == [
        "mine"
    ]
    assert [row for row in await cloud.world.networks.list(cloud.who) if not row.shared] == []
    await said(manage, cloud.mine.uuid, "--owner", other.user_id, "--project", other.project_id)
    assert await charged(cloud, other) == 1
    await cloud.check_books()


async def test_owner_is_not_changed_while_others_use_it(manage: Manage, cloud: Any) -> None:
    """Nor over the new one's quota; nothing has changed then."""
    other = await cloud.somebody()
    await assigned(cloud, other)
    words = (cloud.mine.uuid, "--owner", other.user_id)
    (port,) = await cloud.world.ports.create(cloud.who, [WantedPort(cloud.mine.uuid)])
    assert "other projects" in await said(manage, *words, code=1)
    await cloud.world.ports.delete(cloud.who, port, "req-x")
    await cloud.database.run(
        "update holding set maximum = 0 where project_id = %s and resource = %s",
        (other.project_id, quota.PRIVATE_NETWORK),
    )
    await said(manage, *words, code=1)
    stranger = await builders.somebody(cloud.database)
    for more in (
        ("--owner", "nobody"),
        ("--owner", stranger.user_id),
        ("--project", other.project_id),
        ("--owner", "\u202e\u0007"),
    ):
        found = await manage("network-modify", cloud.mine.uuid, *more)
        assert found.code in (1, 2), found
        assert "Traceback" not in found.err
    assert (await charged(cloud, cloud.who), await charged(cloud, other)) == (1, 0)
    await cloud.check_books()


async def test_network_is_taken_off_a_cluster_and_put_there_again(
    manage: Manage, cloud: Any
) -> None:
    """Where it stays away until it is added, or a server needs it."""
    one, two = cloud.ganetis.values()
    name = cloud.world.names.network(cloud.mine.id)
    assert (name in one.networks, name in two.networks) == (True, True)
    await said(manage, cloud.mine.uuid, "--remove-from-backend", "c2")
    await cloud.settled()
    assert (name in one.networks, name in two.networks) == (True, False)
    every = "select everywhere from network where id = %s"
    assert await cloud.database.value(every, (cloud.mine.id,)) is False
    assert "does not have" in await said(
        manage, cloud.mine.uuid, "--remove-from-backend", "c2", code=1
    )
    await said(manage, cloud.mine.uuid, "--add-to-backend", "c2")
    await cloud.settled()
    assert (name in one.networks, name in two.networks) == (True, True)
    assert await cloud.database.value(every, (cloud.mine.id,)) is True
    await said(manage, cloud.mine.uuid, "--remove-from-backend", "c2")
    await cloud.settled()
    second = list(cloud.ganetis)[1]
    await cloud.active(networks=(WantedNic(cloud.mine.uuid),), cluster_id=second)
    assert name in two.networks, "the server has brought it along"


async def test_network_stays_while_servers_are_on_it(manage: Manage, cloud: Any) -> None:
    """On that cluster; on others it does not matter."""
    first, second = cloud.ganetis
    await cloud.active(networks=(WantedNic(cloud.mine.uuid),), cluster_id=second)
    words = ("--remove-from-backend", "c2")
    assert "servers" in await said(manage, cloud.mine.uuid, *words, code=1)
    await said(manage, cloud.mine.uuid, "--remove-from-backend", "c1")
    await cloud.settled()
    assert cloud.world.names.network(cloud.mine.id) in cloud.ganetis[second].networks
    assert cloud.world.names.network(cloud.mine.id) not in cloud.ganetis[first].networks
    for more in (
        ("--remove-from-backend", "nowhere"),
        ("--add-to-backend", "\u202e"),
        ("--add-to-backend", ""),
    ):
        assert (await manage("network-modify", cloud.mine.uuid, *more)).code in (1, 2)
    await cloud.database.run("update cluster set offline = true where name = 'c1'")
    assert "offline" in await said(manage, cloud.mine.uuid, "--add-to-backend", "c1", code=1)


async def test_nothing_is_made_on_a_network_that_is_being_taken_off(cloud: Any) -> None:
    """Whoever comes while it goes is told so; whoever came before keeps it there."""
    await cloud.stop()
    second = list(cloud.ganetis)[1]
    await cloud.world.networks.take_off(cloud.mine.uuid, second)
    error = await refused(
        Conflict, cloud.create(networks=(WantedNic(cloud.mine.uuid),), cluster_id=second)
    )
    assert error.reason == "NetworkInUse"
    assert await refused(Conflict, cloud.world.networks.put_on(cloud.mine.uuid, second))
    await cloud.drive()
    await cloud.settled()
    await cloud.check_books()


async def test_whoever_makes_something_on_it_first_keeps_it_there(cloud: Any) -> None:
    """The removal waits until that is written down, and sees it then."""
    await cloud.stop()
    second = list(cloud.ganetis)[1]
    cluster = await cloud.database.first("select id from cluster where id = %s", (second,))
    server = await builders.a_server(cloud.database, cloud.who, cloud.flavor, cluster=cluster)
    waits = (
        "select exists (select from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock')"
    )
    removals: list[Any] = []

    async def work(tx: Any) -> None:
        await networks.ensure_on_cluster(tx, cloud.mine.id, second, 60.0)
        removals.append(
            ensureDeferred(
                refused(Conflict, cloud.world.networks.take_off(cloud.mine.uuid, second))
            )
        )
        await cloud.until(lambda: cloud.database.value(waits), "the removal waits")
        await ports.create_port(
            tx,
            network_id=cloud.mine.id,
            project_id=cloud.who.project_id,
            user_id=cloud.who.user_id,
            server_id=server.id,
            position=0,
        )

    await cloud.database.transaction(work)
    assert (await removals[0]).reason == "NetworkInUse"
    state = "select state from cluster_network where network_id = %s and cluster_id = %s"
    assert await cloud.database.value(state, (cloud.mine.id, second)) == "active"
