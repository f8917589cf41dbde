"""Another's instance under one of our names is left alone, and a moved one keeps its server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.ganeti.simulator import MemoryGaneti
from cyclades_tx.model.drift import Remedy
from cyclades_tx.model.fact import JobFact, furthest
from cyclades_tx.model.job import JobStatus
from cyclades_tx.model.ownership import owner_tag
from cyclades_tx.store import facts, operations
from tests.loops.cloud import Cloud
from tests.loops.test_drift import Site, _deleted, look_at, quiet


async def _eager(make_cloud: Any, job_seconds: float = 0.02) -> Site:
    """A site that removes orphans by itself, at once."""
    cloud: Cloud = make_cloud(ganeti={"orphan_removal": "automatic", "orphan_grace_seconds": 0.05})
    await cloud.equip(job_seconds=job_seconds)
    await cloud.drive()
    quiet(cloud)
    return Site(cloud)


async def _theirs(site: Site) -> str:
    """Somebody else's instance under the name that our next server will have."""
    row = await site.cloud.row(await site.cloud.active("warm"))
    name = site.cloud.world.names.instance(row.id + 1)
    site.hand.add(name)
    return name


async def _look_twice(site: Site) -> None:
    """Look, and again when every grace time is over."""
    await site.look()
    await site.cloud.sleep(0.1)
    await site.look()
    await site.cloud.sleep(0.1)


async def test_an_instance_is_made_with_its_server_s_tag(driven: Cloud) -> None:
    """By which it is known whatever else has its number."""
    uuid = await driven.active()
    name = driven.instance(await driven.row(uuid))
    assert owner_tag(uuid) in driven.ganeti.instances[name].tags


async def test_a_failed_creation_does_not_make_another_s_instance_an_orphan(
    make_cloud: Any,
) -> None:
    """The name was taken; an operator must see to it, also when he wants all orphans gone."""
    site = await _eager(make_cloud)
    theirs = await _theirs(site)
    uuid = await site.cloud.create("collides")
    await site.cloud.settled()
    assert await site.cloud.state(uuid) == ("error", "none")
    await _look_twice(site)
    (found,) = [row for row in await site.findings() if row.remedied_at is None]
    assert (found.kind, found.remedy) == ("stranger", Remedy.OPERATOR)
    assert theirs in site.cloud.ganeti.instances


async def test_the_deletion_of_a_failed_server_leaves_another_s_instance(make_cloud: Any) -> None:
    """The server goes; what had its name does not."""
    site = await _eager(make_cloud)
    theirs = await _theirs(site)
    uuid = await site.cloud.create("collides")
    await site.cloud.settled()
    await site.cloud.world.servers.delete(site.cloud.who, uuid, "r")
    await site.cloud.settled()
    await _look_twice(site)
    assert await site.cloud.state(uuid) == ("deleted", "none")
    assert await site.kinds(open_only=True) == ["stranger"]
    assert theirs in site.cloud.ganeti.instances


async def test_a_deletion_during_the_creation_leaves_another_s_instance(make_cloud: Any) -> None:
    """The creation's job was canceled: neither its remains nor the deletion's are there."""
    cloud: Cloud = make_cloud()
    await cloud.equip(job_seconds=0.3)
    await cloud.drive()
    quiet(cloud)
    theirs = await _theirs(Site(cloud))
    uuid = await cloud.create("collides")
    await cloud.until_operation(uuid, "submitted")
    await cloud.world.servers.delete(cloud.who, uuid, "r")
    await cloud.settled()
    assert await cloud.state(uuid) == ("deleted", "none")
    assert theirs in cloud.ganeti.instances
    await cloud.check_books()


async def test_a_deletion_without_proof_is_refused_with_a_sentence(make_cloud: Any) -> None:
    """A creation that was given up is charged for, and its name is another's."""
    site = await _eager(make_cloud)
    cloud = site.cloud
    uuid = await cloud.active()
    row = await cloud.row(uuid)
    name = cloud.instance(row)
    await cloud.database.run(
        "update server set state = 'error', launched_at = null, fault_message = 'x',"
        " fault_at = now() where id = %s",
        (row.id,),
    )
    site.hand.tag(name)
    await site.look()
    assert await cloud.state(uuid) == ("error", "on")
    await cloud.world.servers.delete(cloud.who, uuid, "r")
    await cloud.settled()
    newest = (await cloud.operations(uuid))[-1]
    assert newest.state == "failed"
    assert "not known to be its own" in newest.reason
    assert name in cloud.ganeti.instances
    # Its own tag is the proof.
    site.hand.tag(name, owner_tag(uuid))
    await cloud.world.servers.delete(cloud.who, uuid, "r")
    await cloud.settled()
    assert await cloud.state(uuid) == ("deleted", "none")
    assert name not in cloud.ganeti.instances


async def test_a_given_up_creation_takes_only_its_own_instance_over(make_cloud: Any) -> None:
    """And its success counts as seen from then on."""
    site = await _eager(make_cloud)
    cloud = site.cloud
    uuid = await cloud.active()
    row = await cloud.row(uuid)
    await cloud.database.run(
        "update server set state = 'error', launched_at = null, fault_message = 'x',"
        " fault_at = now() where id = %s",
        (row.id,),
    )
    await site.look()
    assert await cloud.state(uuid) == ("active", "on")
    assert (await cloud.row(uuid)).launched_at is not None


async def _told(cloud: Cloud, ganeti: MemoryGaneti, server_id: int, opcode: str) -> None:
    """A message says that a job of somebody else has ended."""
    fact = JobFact(
        ganeti.name, 9999, opcode, f"o{server_id}", server_id, JobStatus("success"), 0, 1
    )
    await cloud.database.transaction(lambda tx: facts.record(tx, furthest([fact])), "facts.record")


class Pair:
    """Two driven clusters, and a server whose instance is moved from one to the other by hand."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    async def begin(self) -> Pair:
        """Make the server."""
        cloud = self.cloud
        await cloud.equip(clusters=2)
        await cloud.drive()
        quiet(cloud)
        self.uuid = await cloud.active()
        self.row = await cloud.row(self.uuid)
        self.name = cloud.instance(self.row)
        self.home = cloud.ganetis[self.row.cluster_id]
        self.other_id = next(number for number in cloud.ganetis if number != self.row.cluster_id)
        self.other = cloud.ganetis[self.other_id]
        return self

    def move(self) -> None:
        """Move it."""
        self.other.by_hand.add(self.name)
        self.home.by_hand.remove(self.name)

    async def look_into(self) -> Any:
        """Have the server looked into, as after the poll of its cluster; what came of it."""
        drive = self.cloud.drive_of(self.row.cluster_id)
        mending = drive._server_work.resting.mend(self.row.id)
        drive.servers.wake(self.row.id)
        return await mending


@pytest_twisted.async_fixture
async def pair(make_cloud: Any) -> Pair:
    """Two clusters and a server."""
    return await Pair(make_cloud()).begin()


async def test_a_server_that_was_moved_by_hand_is_kept_before_anyone_has_noticed(
    pair: Pair,
) -> None:
    """The other cluster is asked before the record is ended."""
    pair.move()
    assert await pair.look_into() is None
    assert await pair.cloud.state(pair.uuid) == ("active", "on")
    pair.other.by_hand.remove(pair.name)
    assert await pair.look_into() is not None
    assert await pair.cloud.state(pair.uuid) == ("deleted", "none")


async def test_a_message_of_the_removal_does_not_end_a_moved_server(pair: Pair) -> None:
    """It comes before any look at the other cluster."""
    pair.move()
    await _told(pair.cloud, pair.home, pair.row.id, "OP_INSTANCE_REMOVE")
    await look_at(pair.cloud, pair.row.cluster_id)
    assert await pair.cloud.state(pair.uuid) == ("active", "on")


async def test_an_operation_on_a_moved_server_fails_and_keeps_it(pair: Pair) -> None:
    """Its own cluster knows nothing of it any more."""
    pair.move()
    await pair.cloud.world.servers.stop(pair.cloud.who, pair.uuid, "r")
    await pair.cloud.settled()
    assert (await pair.cloud.operations(pair.uuid))[-1].state == "failed"
    assert await pair.cloud.state(pair.uuid) == ("active", "on")


async def test_a_cluster_that_does_not_answer_now_may_have_it(pair: Pair) -> None:
    """One that is known not to answer, or is offline, is not waited for."""
    pair.move()
    await pair.cloud.forget_cluster(pair.other_id)
    assert await pair.look_into() is None
    assert await pair.cloud.state(pair.uuid) == ("active", "on")
    await pair.cloud.database.run(
        "update cluster set reachable = false, unreachable_reason = 'x' where id = %s",
        (pair.other_id,),
    )
    assert await pair.look_into() is not None
    assert await pair.cloud.state(pair.uuid) == ("deleted", "none")


@pytest.mark.parametrize("moved", [False, True])
async def test_a_server_whose_instance_was_renamed_is_kept(pair: Pair, moved: bool) -> None:
    """It is known by its tag under any name, also on another cluster."""
    parts = replace(pair.home.instances[pair.name], name="renamed.example.org")
    pair.home.by_hand.remove(pair.name)
    (pair.other if moved else pair.home).by_hand.put_all([parts])
    assert await pair.look_into() is None
    assert await pair.cloud.state(pair.uuid) == ("active", "on")


async def test_an_operator_s_word_is_taken_without_asking(pair: Pair) -> None:
    """He has been told where it is; his word is for that turn only."""
    pair.move()
    drive = pair.cloud.drive_of(pair.row.cluster_id)
    work = drive._server_work.resting
    await pair.cloud.world.servers.stop(pair.cloud.who, pair.uuid, "r")
    mending = work.mend(pair.row.id, insist=True)
    drive.servers.wake(pair.row.id)
    # An operation was in the way: nothing was looked into, and the word is spent.
    assert await mending is None
    await pair.cloud.settled()
    assert await pair.look_into() is None
    assert await pair.cloud.state(pair.uuid) == ("active", "on")
    insisted = work.mend(pair.row.id, insist=True)
    drive.servers.wake(pair.row.id)
    assert await insisted is not None
    assert await pair.cloud.state(pair.uuid) == ("deleted", "none")


async def test_a_finding_of_a_server_that_moves_is_not_over(make_cloud: Any) -> None:
    """Nobody judged it: what an operator wanted waits for the next look, and is done then."""
    cloud: Cloud = make_cloud()
    await cloud.equip()
    await cloud.drive()
    quiet(cloud)
    site = Site(cloud)
    name = await _deleted(site)
    site.hand.add(name)
    await site.look()
    server_id = cloud.world.names.server_id(name)
    await cloud.database.run(
        "update server set updated_at = now() + interval '1 hour' where id = %s", (server_id,)
    )
    await site.look()
    assert await site.kinds(open_only=True) == ["orphan"]

    async def want(tx: Any) -> None:
        await tx.run("update drift_finding set wanted_at = now()")
        await tx.notify(operations.WAKE, f"{cloud.cluster_id}:drift")

    await cloud.database.transaction(want)
    turns = site.drift.loop.turns

    async def looked() -> bool:
        return site.drift.loop.turns > turns and not site.drift.loop.status()["running"]

    await cloud.until(looked, "what presses is looked at")
    (orphan,) = await site.findings()
    assert orphan.remedied_at is None and orphan.wanted_at is not None
    assert name in cloud.ganeti.instances
    await cloud.database.run("update server set updated_at = now() where id = %s", (server_id,))

    async def gone() -> bool:
        return name not in cloud.ganeti.instances and not await site.kinds(open_only=True)

    await cloud.until(gone, "the orphan is removed")
    assert (await site.findings())[0].mended
