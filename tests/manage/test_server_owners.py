"""Servers given to other owners, with everything that is on them, or refused with the reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest_twisted
from twisted.internet.defer import ensureDeferred

from cyclades_tx.errors import Conflict, NotFound
from cyclades_tx.flows.floating_ips import WantedFloatingIp
from cyclades_tx.flows.networks import WantedNetwork, WantedSubnet
from cyclades_tx.flows.ports import WantedPort
from cyclades_tx.flows.security_groups import WantedGroup
from cyclades_tx.flows.server_groups import ServerGroups
from cyclades_tx.flows.server_transfers import give
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.flows.volumes import NewVolume
from cyclades_tx.model import quota
from cyclades_tx.model.moves import UNSEEN
from cyclades_tx.model.server import WantedNic
from cyclades_tx.model.who import ADMIN
from cyclades_tx.store import project_limits, quotas, servers
from cyclades_tx.store import server_transfers as store
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud, refused

Manage = Callable[..., Any]


@pytest_twisted.async_fixture
async def cloud(whole_cloud: Cloud) -> Any:
    """A driven cloud that changes running machines, and a second owner."""
    cloud: Any = whole_cloud
    await cloud.database.run("update cluster set hotplug = true")
    await ValuePools(cloud.database).create("mac_prefix", "aa:00:0", 100)
    cloud.public = (
        await cloud.world.networks.create(
            None,
            WantedNetwork(
                name="public",
                flavor="IP_LESS_ROUTED",
                external=True,
                floating_ip_pool=True,
                subnets=(WantedSubnet("192.0.2.64/26"),),
            ),
        )
    ).uuid
    cloud.mine = (
        await cloud.world.networks.create(
            cloud.who, WantedNetwork(name="mine", subnets=(WantedSubnet("10.7.0.0/24"),))
        )
    ).uuid
    cloud.other = await cloud.somebody()
    await _assign(cloud, cloud.other.user_id, cloud.other.project_id)
    await cloud.drive()
    await cloud.settled()
    return cloud


async def _assign(cloud: Any, user_id: str, project_id: str) -> None:
    await cloud.database.run(
        "insert into role_assignment (user_id, project_id, role_id) select %s, %s, id from role"
        " where name = 'member'",
        (user_id, project_id),
    )


async def said(manage: Manage, *words: str, code: int = 0) -> str:
    """What the command says."""
    found = await manage("server-modify", *words)
    assert found.code == code, found
    assert "Traceback" not in found.err
    return str(found.out + found.err)


async def used(cloud: Any, project_id: str) -> dict[str, int]:
    """What a project uses, without zeros."""
    rows = await cloud.database.all(
        "select resource, used from holding where project_id = %s and used > 0", (project_id,)
    )
    return {row.resource: row.used for row in rows}


async def owners(cloud: Any, table: str) -> set[tuple[str, str]]:
    """Who has the rows of a table."""
    live = " where deleted_at is null" if table in ("server", "volume") else ""
    rows = await cloud.database.all(f"select user_id, project_id from {table}{live}")
    return {(row.user_id, row.project_id) for row in rows}


async def furnished(cloud: Any) -> str:
    """A running server with a volume, two ports and a floating IP; its UUID."""
    server: str = await cloud.active(networks=(WantedNic(cloud.network), WantedNic(cloud.mine)))
    volume = await cloud.world.volumes.create(cloud.who, NewVolume(3, "data"))
    await cloud.world.volume_attachments.attach(cloud.who, server, volume, "req-v")
    await cloud.settled()
    port = await cloud.database.value(
        "select p.uuid::text from port p join server s on s.id = p.server_id where s.uuid = %s"
        " order by p.position limit 1",
        (server,),
    )
    await cloud.world.floating_ips.create(
        cloud.who, WantedFloatingIp(cloud.public, port_ref=port), "req-f"
    )
    await cloud.settled()
    return server


async def test_server_goes_with_everything_that_is_on_it(manage: Manage, cloud: Any) -> None:
    """The new project is charged for all of it, the old one for nothing; the machine runs on."""
    server = await furnished(cloud)
    number = (await cloud.row(server)).id
    old, new = str(cloud.who.project_id), str(cloud.other.project_id)
    before = await used(cloud, old)
    assert before[quota.FLOATING_IP] == before[quota.PRIVATE_NETWORK] == 1
    assert before[quota.DISK] == 4 * quota.GIB
    jobs = len(cloud.ganeti.jobs)
    words = (str(number), "--owner", cloud.other.user_id, "--with-networks")
    told = await said(manage, *words, "--dry-run")
    assert "nothing was changed" in told
    assert "1 volume, 2 ports, 1 floating IP" in told
    assert await used(cloud, old) == before
    assert (await cloud.row(server)).project_id == old
    told = await said(manage, *words)
    assert "With its networks: mine." in told
    assert "disk 4 GiB" in told
    assert (await used(cloud, old), await used(cloud, new)) == ({}, before)
    theirs = {(cloud.other.user_id, new)}
    for table in ("server", "volume", "port", "floating_ip"):
        assert await owners(cloud, table) == theirs, table
    assert [row.name for row in await cloud.world.networks.list(cloud.other) if not row.shared] == [
        "public",
        "mine",
    ]
    groups = await cloud.database.all(
        "select distinct g.project_id from port_security_group m"
        " join security_group g on g.id = m.security_group_id"
    )
    assert [row.project_id for row in groups] == [new]
    await cloud.settled()
    row = await cloud.row(server)
    assert (row.state, row.charge) == ("active", "on")
    kinds = {job.summary[0].split("(")[0] for job in list(cloud.ganeti.jobs.values())[jobs:]}
    assert kinds <= {"TAGS_SET", "TAGS_DEL"}, "nothing else is done at the cluster"
    assert "belongs to" in await said(manage, *words), "and once more is nothing"
    assert await used(cloud, new) == before
    await cloud.check_books()


async def test_history_and_events_tell_of_both_owners(cloud: Any) -> None:
    """Who had the public address when; each project hears of its own."""
    server = await furnished(cloud)
    number = (await cloud.row(server)).id
    last = await cloud.database.value("select max(id) from event")
    await give(
        cloud.database, number, cloud.other.user_id, cloud.other.project_id, with_networks=True
    )
    rows = await cloud.database.all(
        "select project_id, user_id, released_at is null as has from address_history"
        " where server_id = %s order by id",
        (number,),
    )
    assert [(row.project_id, row.user_id, row.has) for row in rows] == [
        (cloud.who.project_id, cloud.who.user_id, False),
        (cloud.other.project_id, cloud.other.user_id, True),
    ]
    told: dict[str, set[str]] = {}
    for row in await cloud.database.all(
        "select project_id, kind from event where id > %s", (last,)
    ):
        told.setdefault(row.project_id, set()).add(row.kind)
    nouns = ("server", "volume", "port", "floating_ip", "network")
    assert told[cloud.who.project_id] == {f"{noun}.deleted" for noun in nouns}
    assert told[cloud.other.project_id] >= {f"{noun}.created" for noun in nouns}


async def test_what_cannot_go_along_is_named_at_once(manage: Manage, cloud: Any) -> None:
    """All of it in one answer, and nothing has changed."""
    await cloud.world.security_groups.create(cloud.who, [WantedGroup("web")])
    server = await cloud.active(
        networks=(WantedNic(cloud.mine),), security_groups=("web", "default")
    )
    number = str((await cloud.row(server)).id)
    before = await used(cloud, cloud.who.project_id)
    words = (number, "--owner", cloud.other.user_id)
    told = await said(manage, *words, code=1)
    assert "network mine" in told
    assert "--with-networks" in told
    assert "security group 'web'" in told
    await cloud.world.ports.create(cloud.who, [WantedPort(cloud.mine)])
    assert "Others have ports on network mine" in await said(
        manage, *words, "--with-networks", "-n", code=1
    )
    assert await used(cloud, cloud.who.project_id) == before
    assert await used(cloud, cloud.other.project_id) == {}
    await cloud.check_books()


async def test_quotas_of_the_new_project_and_user_hold(manage: Manage, cloud: Any) -> None:
    """Each resource that is short is named."""
    server = await cloud.active()
    number = str((await cloud.row(server)).id)
    words = (number, "--owner", cloud.other.user_id)
    maximum = "update holding set maximum = %s where project_id = %s and resource = %s"
    await cloud.database.run(maximum, (0, cloud.other.project_id, quota.VM))
    assert "Quota exceeded for instances" in await said(manage, *words, code=1)
    await cloud.database.run(maximum, (None, cloud.other.project_id, quota.VM))
    await cloud.database.transaction(
        lambda tx: project_limits.set_user_limits(
            tx, cloud.other.project_id, cloud.other.user_id, {"cores": 0}
        )
    )
    assert "cores" in await said(manage, *words, code=1)
    assert (await cloud.row(server)).project_id == cloud.who.project_id
    await cloud.check_books()


async def test_wrong_words_and_wrong_moments_are_refused(manage: Manage, cloud: Any) -> None:
    """In a sentence, without a trace."""
    server = await cloud.active()
    number = str((await cloud.row(server)).id)
    stranger = await builders.somebody(cloud.database)
    for words, code in (
        (("--owner", "nobody"), 1),
        (("--owner", stranger.user_id), 1),
        (("--owner", cloud.other.user_id, "--project", "nowhere"), 1),
        (("--owner", "\u202e\u0007"), 1),
        (("--project", str(cloud.other.project_id)), 2),
        (("--with-networks",), 2),
        (("--owner", cloud.other.user_id, "-n", "--name", "x"), 2),
    ):
        await said(manage, number, *words, code=code)
    await said(manage, "999999", "--owner", cloud.other.user_id, code=1)
    await cloud.stop()
    await cloud.world.servers.stop(cloud.who, server, "req-stop")
    assert "operation-list" in await said(manage, number, "--owner", cloud.other.user_id, code=1)
    assert (await cloud.row(server)).project_id == cloud.who.project_id


async def test_server_gets_another_user_of_its_project(manage: Manage, cloud: Any) -> None:
    """Nothing is charged anew, and its private network stays where it is."""
    server = await furnished(cloud)
    number = str((await cloud.row(server)).id)
    before = await used(cloud, cloud.who.project_id)
    mate = await builders.a_user(cloud.database, "mate")
    await _assign(cloud, mate, cloud.who.project_id)
    told = await said(manage, number, "--user", "mate")
    assert "belongs to mate" in told
    assert await owners(cloud, "server") == {(mate, cloud.who.project_id)}
    assert await owners(cloud, "volume") == {(mate, cloud.who.project_id)}
    assert await used(cloud, cloud.who.project_id) == before
    await cloud.check_books()


async def test_server_leaves_the_group_of_its_project(manage: Manage, cloud: Any) -> None:
    """The group stays, and is said."""
    group = await ServerGroups(cloud.database).create(cloud.who, "apart", "anti-affinity")
    server = await cloud.active(group_ref=group)
    number = str((await cloud.row(server)).id)
    told = await said(manage, number, "--owner", cloud.other.user_id)
    assert "leaves the server group apart" in told
    assert await cloud.database.value("select count(*) from server_group_member") == 0
    assert await cloud.database.value("select count(*) from server_group") == 1


async def _too_late(cloud: Any, server: str, late: Any) -> None:
    """Move a server while something has found it and waits for the books of its project."""
    number = (await cloud.row(server)).id
    waits = (
        "select exists (select from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock')"
    )
    begun: list[Any] = []

    async def work(tx: Any) -> None:
        await quotas.lock(tx, cloud.who.project_id)
        begun.append(ensureDeferred(late))
        await cloud.until(lambda: cloud.database.value(waits), "it waits")
        found = await store.belongings(tx, number, change_networks=False)
        await store.own(tx, number, found, cloud.other.user_id, cloud.other.project_id)

    await cloud.database.transaction(work)
    await begun[0]
    assert [each for each in await cloud.operations(server) if each.finished_at is None] == []


async def test_request_of_the_former_owner_comes_too_late(cloud: Any) -> None:
    """What has found the server before does not change another project's."""
    server = await cloud.active()
    removal = cloud.world.servers.delete(cloud.who, server, "req-late")
    await _too_late(cloud, server, refused(NotFound, removal))
    assert await cloud.state(server) == ("active", "on")


async def test_floating_ip_of_the_former_owner_is_not_given_back(cloud: Any) -> None:
    """It went with its server."""
    server = await furnished(cloud)
    uuid = await cloud.database.value("select uuid::text from floating_ip")
    release = cloud.world.floating_ips.delete(cloud.who, uuid, "req-late")
    await _too_late(cloud, server, refused(NotFound, release))
    assert await cloud.database.value("select count(*) from floating_ip") == 1


async def test_operator_who_comes_at_that_moment_tries_again(cloud: Any) -> None:
    """The books that he holds are not those of the project any more; a look is made later."""
    admin = replace(cloud.who, roles=frozenset((ADMIN,)))
    server = await cloud.active()
    stop = cloud.world.servers.stop(admin, server, "req-late")
    await _too_late(cloud, server, refused(Conflict, stop))
    await cloud.database.run("update server set project_id = %s", (cloud.who.project_id,))
    number = (await cloud.row(server)).id

    async def look() -> None:
        def work(tx: Any) -> Any:
            return servers.observe(tx, number, UNSEEN, cloud.world.names)

        assert await cloud.database.transaction(work) is None

    await _too_late(cloud, server, look())
