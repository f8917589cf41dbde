"""Networks that differ on a cluster are found and mended; nothing else is touched."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.ganeti.simulator.values import SimNetwork
from cyclades_tx.loops.network_drift import NetworkDrift
from cyclades_tx.model import network_drift as drift
from cyclades_tx.store import addresses, upkeep
from tests.loops.cloud import Cloud


class Driven:
    """A driven cloud whose network stands, and words for its faults."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.database = cloud.database
        self.inventory = cloud.ganeti.inventory
        self.counted: list[tuple[str, str]] = []

    @property
    def drift(self) -> NetworkDrift:
        """The loop of the first cluster."""
        found = self.cloud.drive_of(self.cloud.cluster_id).network_drift
        found._counted = lambda what, kind, number: self.counted.append((what, kind))
        return found

    async def check(self) -> list[str]:
        """Look, mend, wait until what was begun has ended; the kinds that were found."""
        found = await self.drift.check()
        await self.cloud.settled()
        return sorted(each.kind for each in found)

    async def id_of(self, uuid: str) -> int:
        """The id of a network."""
        number: int = await self.database.value("select id from network where uuid = %s", (uuid,))
        return number

    async def name(self) -> str:
        """The Ganeti name of the cloud's network."""
        return f"snf-net-{await self.id_of(self.cloud.network)}"

    async def there(self) -> SimNetwork:
        """The cloud's network as the cluster has it."""
        return self.inventory.networks[await self.name()]

    async def change(self, **parts: Any) -> None:
        """Change it by hand."""
        self.inventory.put_network(replace(await self.there(), **parts))

    async def state(self) -> str | None:
        """The state of its record."""
        state: str | None = await self.database.value(
            "select state from cluster_network where network_id = %s",
            (await self.id_of(self.cloud.network),),
        )
        return state

    async def notes(self) -> list[tuple[str, str, bool]]:
        """What is written down."""
        rows = await self.database.all(
            "select kind, remedy, left_alone from upkeep_finding order by kind, subject"
        )
        return [tuple(row) for row in rows]


@pytest_twisted.async_fixture
async def driven_networks(cloud: Cloud) -> Driven:
    """A driven cloud whose network stands on its cluster."""
    await cloud.database.run("update cluster set node_groups = '{default}'")
    await cloud.drive()
    made = Driven(cloud)

    async def stands() -> bool:
        return await made.state() == "active"

    await cloud.world.networks._database.transaction(lambda tx: _ensure(tx, cloud), "test.ensure")
    await cloud.until(stands, "the network stands")
    return made


async def _ensure(tx: Any, cloud: Cloud) -> None:
    from cyclades_tx.store import networks

    for row in await tx.all("select id from network"):
        await networks.ensure_on_cluster(tx, row.id, cloud.cluster_id, 60.0)


async def test_a_network_that_is_right_is_left_alone(driven_networks: Driven) -> None:
    """No finding, no operation, no question more than needed."""
    jobs = len(driven_networks.cloud.ganeti.jobs)
    assert await driven_networks.check() == []
    assert len(driven_networks.cloud.ganeti.jobs) == jobs
    assert await driven_networks.notes() == []


async def test_a_network_removed_by_hand_is_made_again(driven_networks: Driven) -> None:
    """As it was, connected, and usable for a server."""
    before = await driven_networks.there()
    driven_networks.inventory.drop_network(before.name)
    assert await driven_networks.check() == [drift.MISSING]
    after = await driven_networks.there()
    assert (after.cidr, after.groups, after.tags) == (before.cidr, before.groups, before.tags)
    assert await driven_networks.check() == []
    await driven_networks.cloud.active()
    assert driven_networks.counted == [("mended", "network_missing"), ("found", "network_missing")]


async def test_a_node_group_that_is_added_later_is_connected(driven_networks: Driven) -> None:
    """Servers can be made meanwhile: the record stays usable."""
    opcodes = driven_networks.cloud.ganeti.queue._opcodes
    driven_networks.cloud.ganeti.groups = opcodes._groups = ("default", "late")
    (finding,) = await driven_networks.drift.check()
    assert finding.kind == drift.UNCONNECTED
    assert await driven_networks.state() == "active"
    await driven_networks.cloud.settled()
    assert [group for group, _, _ in (await driven_networks.there()).groups] == ["default", "late"]
    assert await driven_networks.check() == []


async def test_new_node_groups_bring_a_look_at_once(driven_networks: Driven) -> None:
    """When the cluster's numbers are refreshed."""
    cloud = driven_networks.cloud
    await cloud.drive_of(cloud.cluster_id).refresh()
    opcodes = cloud.ganeti.queue._opcodes
    cloud.ganeti.groups = opcodes._groups = ("default", "late")
    cloud.drive_of(cloud.cluster_id).wake("refresh")

    async def connected() -> bool:
        return len((await driven_networks.there()).groups) == 2

    await cloud.until(connected, "the network is connected to both groups")
    await cloud.settled()


async def test_a_network_without_a_record_is_adopted(driven_networks: Driven) -> None:
    """Without a second one being made."""
    await driven_networks.database.run("delete from cluster_network")
    jobs = len(driven_networks.cloud.ganeti.jobs)
    assert await driven_networks.check() == [drift.UNRECORDED]
    assert await driven_networks.state() == "active"
    assert len(driven_networks.cloud.ganeti.jobs) == jobs


@pytest.mark.parametrize("state", ["making", "error", "removing"])
async def test_a_record_that_nothing_moves_any_more_is_looked_after(
    driven_networks: Driven, state: str
) -> None:
    """It is there and connected, so it is usable."""
    await driven_networks.database.run("update cluster_network set state = %s", (state,))
    assert await driven_networks.check() == [drift.STALLED]
    assert await driven_networks.state() == "active"


async def test_an_orphan_stays_and_is_told_once(driven_networks: Driven) -> None:
    """Also over several looks; when it is gone, so is the finding."""
    orphan = replace(await driven_networks.there(), name="snf-net-4711", groups=())
    driven_networks.inventory.put_network(orphan)
    for _ in range(2):
        assert await driven_networks.check() == [drift.ORPHAN]
    assert await driven_networks.notes() == [(drift.ORPHAN, "operator", True)]
    assert driven_networks.counted == [("found", "network_orphan")]
    driven_networks.inventory.drop_network("snf-net-4711")
    assert await driven_networks.check() == []
    assert await driven_networks.notes() == []


async def test_a_deleted_network_waits_for_its_grace_and_is_removed(
    driven_networks: Driven,
) -> None:
    """Only where the service may; its record goes too, and until then an operator is asked."""
    await driven_networks.database.run("update network set state = 'deleted', deleted_at = now()")
    assert await driven_networks.check() == [drift.UNDELETED]
    assert await driven_networks.notes() == [(drift.UNDELETED, "remove", True)]
    driven_networks.drift._rules = replace(driven_networks.drift._rules, removes=True)
    assert await driven_networks.check() == [drift.UNDELETED]
    assert await driven_networks.notes() == [(drift.UNDELETED, "remove", False)]
    await driven_networks.database.run(
        "update upkeep_finding set first_seen_at = now() - interval '25 hours'"
    )
    assert await driven_networks.check() == [drift.UNDELETED]
    assert driven_networks.inventory.networks == {}
    assert await driven_networks.state() is None
    assert await driven_networks.check() == []


async def test_a_deleted_network_without_a_record_can_be_removed_too(
    driven_networks: Driven,
) -> None:
    """The record that the removal needs is made for it."""
    await driven_networks.database.run("update network set state = 'deleted', deleted_at = now()")
    await driven_networks.database.run("delete from cluster_network")
    rules = replace(driven_networks.drift._rules, removes=True)
    driven_networks.drift._rules = replace(rules, grace=rules.grace * 0)
    assert await driven_networks.check() == [drift.UNDELETED]
    assert driven_networks.inventory.networks == {}


async def test_a_failing_repair_stops_after_some_tries(driven_networks: Driven) -> None:
    """It is written down for an operator, with the reason of the last failure."""
    cloud, database = driven_networks.cloud, driven_networks.database
    driven_networks.inventory.drop_network(await driven_networks.name())
    cloud.ganeti.misbehave("fail-job")
    most = driven_networks.drift._rules.most_failures
    for _ in range(most):
        await driven_networks.check()
        # A failure is followed by a pause, which is over here.
        await database.run("update operation set finished_at = finished_at - interval '1 day'"
                           " where state = 'failed'")  # fmt: skip
    await driven_networks.check()
    count = "select count(*) from operation where state = 'failed' and kind = 'make_network'"
    assert await database.value(count) == most
    assert await driven_networks.notes() == [(drift.STALLED, "make", True)]
    sentence = await database.value("select sentence from upkeep_finding")
    assert re.search(rf"{most} tries have failed; the last one: \S", sentence)


async def test_a_failed_connection_keeps_a_network_usable(driven_networks: Driven) -> None:
    """It stands where it stood."""
    cloud = driven_networks.cloud
    opcodes = cloud.ganeti.queue._opcodes
    cloud.ganeti.groups = opcodes._groups = ("default", "late")
    cloud.ganeti.misbehave("fail-job")
    assert await driven_networks.check() == [drift.UNCONNECTED]
    assert await driven_networks.state() == "active"


async def test_a_reserved_address_is_given_to_nobody_until_it_is_free_again(
    driven_networks: Driven,
) -> None:
    """What somebody has is told; the books stay right."""
    database = driven_networks.database
    await driven_networks.change(reserved=("10.1.0.2", "10.1.0.1", "nonsense", "10.9.9.9"))
    assert await driven_networks.check() == [drift.RESERVED]
    uuid = await driven_networks.cloud.active()
    row = await driven_networks.cloud.row(uuid)
    had = await database.value(
        "select host(address) from address a join port p on p.id = a.port_id where server_id = %s",
        (row.id,),
    )
    assert had == "10.1.0.3"
    assert await driven_networks.check() == []
    await driven_networks.change(reserved=("10.1.0.3",))
    assert await driven_networks.check() == [drift.RESERVED_IN_USE, drift.UNRESERVED]
    subnet_id = await database.value("select id from subnet")
    assert (await addresses.recount(database, subnet_id)).taken == 1
    await driven_networks.cloud.check_books()


async def test_another_shape_is_told_and_another_prefix_recorded(driven_networks: Driven) -> None:
    """The cluster is not changed."""
    await driven_networks.change(mac_prefix="aa:00:0f", tags=(), gateway=None)
    assert await driven_networks.check() == [drift.DIFFERENT, drift.MAC_PREFIX]
    prefix = await driven_networks.database.value("select mac_prefix from cluster_network")
    assert prefix == "aa:00:0f"
    assert await driven_networks.check() == [drift.DIFFERENT]
    assert (await driven_networks.there()).tags == ()


async def test_a_wake_of_a_network_at_rest_looks_at_it_at_once(driven_networks: Driven) -> None:
    """A job that an operator sent has ended: the same wake as for an operation."""
    cloud = driven_networks.cloud
    driven_networks.inventory.drop_network(await driven_networks.name())
    number = await driven_networks.id_of(cloud.network)
    await cloud.database.run(
        "select pg_notify('cyclades_wake', %s)", (f"{cloud.cluster_id}:n{number}",)
    )

    async def there() -> bool:
        return await driven_networks.name() in driven_networks.inventory.networks

    await cloud.until(there, "the network is made again")
    await cloud.settled()


async def test_many_suspects_are_one_question(driven_networks: Driven) -> None:
    """Four and more networks are asked for together."""
    cloud = driven_networks.cloud
    for number in range(4):
        await cloud.a_network(f"10.2.{number}.0/24")
    await cloud.settled()
    asked: list[str] = []
    cluster = driven_networks.drift._work.cluster
    networks, network = cluster.networks, cluster.network

    async def all_of_them() -> Any:
        asked.append("all")
        return await networks()

    async def one(name: str) -> Any:
        asked.append(name)
        return await network(name)

    cluster.networks, cluster.network = all_of_them, one
    for row in await cloud.database.all("select id from network"):
        driven_networks.drift.suspect(row.id)

    async def looked() -> list[str]:
        return asked

    assert await cloud.until(looked, "the suspects were looked at") == ["all"]
    assert await driven_networks.drift.check((1,)) == ()
    assert asked[1:] == ["snf-net-1"]


async def test_only_the_subject_of_a_small_look_is_forgotten(driven_networks: Driven) -> None:
    """What is known of other networks stays written down."""
    orphan = replace(await driven_networks.there(), name="snf-net-4711", groups=())
    driven_networks.inventory.put_network(orphan)
    await driven_networks.check()
    await driven_networks.drift.check((await driven_networks.id_of(driven_networks.cloud.network),))
    assert await driven_networks.notes() == [(drift.ORPHAN, "operator", True)]
    driven_networks.inventory.drop_network(orphan.name)
    await driven_networks.drift.check((4711,))
    assert await driven_networks.notes() == []


async def test_a_driver_that_lost_its_cluster_mends_nothing(driven_networks: Driven) -> None:
    """Its writes check the epoch."""
    from cyclades_tx.errors import LostLease

    await driven_networks.database.run("delete from cluster_network")
    drift_loop = driven_networks.drift
    await driven_networks.database.run("update cluster_lease set epoch = epoch + 1")
    with pytest.raises(LostLease):
        await drift_loop.check()
    assert await driven_networks.state() is None


async def test_a_cluster_that_is_offline_is_never_asked(
    make_cloud: Callable[..., Cloud],
) -> None:
    """Neither at an interval nor for a wake."""
    cloud = make_cloud()
    await cloud.equip()
    await cloud.database.run("update cluster set offline = true")
    await cloud.drive()
    cloud.drive_of(cloud.cluster_id).wake("n1,refresh")
    await cloud.sleep(0.3)
    assert len(cloud.ganeti.jobs) == 0
    status = cloud.drive_of(cloud.cluster_id).network_drift.status()
    assert status["turns"] <= 1
    assert await upkeep.open_ones(cloud.database) == []


async def test_suspects_are_kept_when_the_look_did_not_work(driven_networks: Driven) -> None:
    """The cluster does not answer, or the database: they are looked at in a later turn."""
    from cyclades_tx.errors import Unavailable
    from cyclades_tx.ganeti.interfaces import GanetiUnavailable

    loop = driven_networks.drift
    cluster = loop._work.cluster
    answer, errors = cluster.network, [GanetiUnavailable("away"), Unavailable("full")]

    async def network(name: str) -> Any:
        if errors:
            raise errors.pop(0)
        return await answer(name)

    cluster.network = network
    driven_networks.inventory.drop_network(await driven_networks.name())
    loop._suspects.add(await driven_networks.id_of(driven_networks.cloud.network))
    assert await loop._turn("suspects") == 30.0
    with pytest.raises(Unavailable):
        await loop._turn("suspects")
    assert await loop._turn("suspects") is None
    await driven_networks.cloud.settled()
    assert await driven_networks.name() in driven_networks.inventory.networks
    assert loop._suspects == set()
