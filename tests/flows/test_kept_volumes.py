"""Volumes that no server has, and whose disks a cluster keeps, are removed and grown."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.drift.servers import Looker
from cyclades_tx.errors import BadRequest, Conflict, NotFound, OverQuota
from cyclades_tx.flows.volumes import NewVolume, Volumes
from cyclades_tx.ganeti.simulator.behaviors import Misbehavior
from cyclades_tx.model import kept_volume_plan as plan
from cyclades_tx.model.drift import HOLDER
from cyclades_tx.model.ownership import holder_tag
from cyclades_tx.model.quota import DISK, GIB
from tests.loops.cloud import Cloud, refused

#: What a lost answer looks like.
LOST = [Misbehavior.DROP_REPLY, Misbehavior.GATEWAY_TIMEOUT_AFTER]
#: The methods and paths of the requests of an extension, step by step.
REQUESTS = (
    ("POST", "instances$"), ("PUT", "modify"), ("POST", "grow"), ("PUT", "modify"),
    ("DELETE", "instances/snf-hold"),
)  # fmt: skip


class Kept:
    """A cloud with a volume that has a disk and no server.

    :ivar uuid: the volume's.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.volumes = Volumes(cloud.database, cloud.world.volume_attachments)
        self.uuid = ""

    async def make(self) -> None:
        """A volume that was on a server, which is gone since."""
        cloud = self.cloud
        self.uuid = await self.volumes.create(cloud.who, NewVolume(1, "v"))
        server = await cloud.active()
        await cloud.world.volume_attachments.attach(cloud.who, server, self.uuid, "req-attach")
        await cloud.settled()
        await cloud.world.servers.delete(cloud.who, server, "req-gone")
        await cloud.settled()
        row = await self.row()
        assert (row.status, row.server_id, row.initialised) == ("available", None, True)
        assert await cloud.used(DISK) == GIB
        assert self.at_cluster() == {self.name(row): 1024}

    async def row(self) -> Any:
        """The volume's row."""
        return await self.cloud.database.first("select * from volume where uuid = %s", (self.uuid,))

    async def stands(self) -> tuple[str, int]:
        """Its status and size."""
        row = await self.row()
        return row.status, row.size_gib

    def name(self, row: Any) -> str:
        """The name of its disk."""
        return self.cloud.world.names.disk(row.id)

    def at_cluster(self) -> dict[str | None, int]:
        """The disks that no instance has, with their sizes; there are no instances."""
        ganeti = self.cloud.ganeti
        assert ganeti.instances == {}
        detached = ganeti.inventory.detached.values()
        return {each.disk.name: each.disk.size for each in detached}

    async def delete(self) -> None:
        """Wish it gone, and wait."""
        await self.volumes.delete(self.cloud.who, self.uuid, "req-delete")
        await self.cloud.settled()

    async def extend(self, size_gib: int) -> None:
        """Wish it larger, and wait."""
        await self.volumes.extend(self.cloud.who, self.uuid, size_gib, "req-extend")
        await self.cloud.settled()

    async def ended(self) -> tuple[str, str]:
        """How the newest operation ended, and why."""
        row = await self.cloud.database.first(
            "select state, reason from operation order by id desc limit 1"
        )
        return row.state, row.reason


@pytest_twisted.async_fixture
async def kept(driven: Cloud) -> Kept:
    """A volume that no server has, with a disk."""
    await driven.database.run("update cluster set hotplug = true")
    made = Kept(driven)
    await made.make()
    return made


async def test_volume_is_deleted_with_its_disk(kept: Any) -> None:
    """Nothing of it is left, neither at the cluster nor in the books."""
    await kept.volumes.delete(kept.cloud.who, kept.uuid, "req-delete")
    assert (await kept.row()).status == "deleting"
    assert await kept.cloud.used(DISK) == GIB
    for wish in (
        kept.volumes.delete(kept.cloud.who, kept.uuid, "r"),
        kept.volumes.delete(kept.cloud.who, kept.uuid, "r", force=True),
        kept.volumes.extend(kept.cloud.who, kept.uuid, 5, "r"),
        kept.volumes.reset_status(kept.cloud.who, kept.uuid, "available"),
    ):
        await refused(BadRequest, wish)
    await kept.cloud.settled()
    row = await kept.row()
    assert (row.status, row.cluster_id, kept.at_cluster()) == ("deleted", None, {})
    assert await kept.cloud.used(DISK) == 0
    assert await kept.ended() == ("succeeded", "")
    told = "select kind from event where subject = %s order by id desc limit 1"
    assert await kept.cloud.database.value(told, (kept.uuid,)) == "volume.deleted"
    await kept.cloud.check_books()


async def test_volume_grows_and_keeps_its_disk(kept: Any) -> None:
    """Meanwhile that much is kept for it; afterwards a server gets the same disk."""
    cloud = kept.cloud
    before = (await kept.row()).ganeti_uuid
    await kept.volumes.extend(cloud.who, kept.uuid, 3, "req-extend")
    assert await kept.stands() == ("extending", 1)
    reserved = "select reserved from holding where project_id = %s and resource = %s"
    assert await cloud.database.value(reserved, (cloud.who.project_id, DISK)) == 2 * GIB
    await cloud.settled()
    assert await kept.stands() == ("available", 3)
    assert kept.at_cluster() == {kept.name(await kept.row()): 3072}
    assert await cloud.used(DISK) == 3 * GIB
    await cloud.check_books()
    for size in (3, 1):
        await refused(BadRequest, kept.volumes.extend(cloud.who, kept.uuid, size, "r"))
    server = await cloud.active()
    await cloud.world.volume_attachments.attach(cloud.who, server, kept.uuid, "req-attach")
    await cloud.settled()
    row = await kept.row()
    assert (row.status, row.size_gib, row.ganeti_uuid) == ("in_use", 3, before)
    await cloud.check_books()


async def test_growth_beyond_the_quota_or_the_cluster_is_refused(kept: Any) -> None:
    """And so is that of others' volumes; nothing is begun."""
    cloud = kept.cloud
    stranger = await cloud.somebody()
    await refused(NotFound, kept.volumes.extend(stranger, kept.uuid, 2, "r"))
    await refused(NotFound, kept.volumes.delete(stranger, kept.uuid, "r"))
    await cloud.database.run("update holding set maximum = used where resource = %s", (DISK,))
    await refused(OverQuota, kept.volumes.extend(cloud.who, kept.uuid, 2, "r"))
    await cloud.database.run("update volume set ganeti_uuid = ''")
    await refused(Conflict, kept.volumes.delete(cloud.who, kept.uuid, "r"))
    assert await kept.stands() == ("available", 1)
    await cloud.check_books()


@pytest.mark.parametrize("kind", LOST)
async def test_lost_answers_have_one_effect(kept: Any, kind: Misbehavior) -> None:
    """Whichever it is: each job is found by its reason, or the holder shows what was done."""
    ganeti = kept.cloud.ganeti
    for size, (method, path) in enumerate(REQUESTS, 2):
        ganeti.misbehave(kind, times=1, methods=(method,), path=path)
        jobs = len(ganeti.jobs)
        await kept.extend(size)
        assert await kept.stands() == ("available", size), path
        assert kept.at_cluster() == {kept.name(await kept.row()): size * 1024}
        assert len(ganeti.jobs) == jobs + len(REQUESTS)
    method, path = REQUESTS[-1]
    ganeti.misbehave(kind, times=1, methods=(method,), path=path)
    await kept.delete()
    assert (await kept.row()).status == "deleted"
    assert kept.at_cluster() == {}
    await kept.cloud.check_books()


async def test_job_that_fails_once_is_done_again(kept: Any) -> None:
    """Any of them."""
    ganeti = kept.cloud.ganeti
    for size, (method, path) in enumerate(REQUESTS, 2):
        ganeti.misbehave(Misbehavior.FAIL_JOB, times=1, methods=(method,), path=path)
        await kept.extend(size)
        assert await kept.stands() == ("available", size), path
    method, path = REQUESTS[-1]
    ganeti.misbehave(Misbehavior.FAIL_JOB, times=1, methods=(method,), path=path)
    await kept.delete()
    assert (await kept.row()).status == "deleted"
    assert kept.at_cluster() == {}
    await kept.cloud.check_books()


async def test_next_process_goes_on_where_the_last_one_stopped(kept: Any) -> None:
    """Whatever it has left behind."""
    cloud = kept.cloud
    for size, step in enumerate((plan.HOLD, plan.PUT_BACK), 2):
        # The job that is left lasts until nobody waits for it.
        cloud.ganeti.misbehave(Misbehavior.SLOW, seconds=0.2)
        await kept.volumes.extend(cloud.who, kept.uuid, size, "req-extend")

        async def under_way(step: str = step) -> bool:
            row = await cloud.database.first("select step from operation order by id desc limit 1")
            return row is not None and row.step == step

        await cloud.until(under_way, f"{step} is under way")
        await cloud.stop()
        cloud.ganeti.behave()
        await cloud.drive()
        await cloud.settled()
        assert await kept.stands() == ("available", size), step
        assert kept.at_cluster() == {kept.name(await kept.row()): size * 1024}
    await cloud.check_books()


async def test_what_fails_again_and_again_leaves_the_volume_as_it_was(kept: Any) -> None:
    """With its disk, without a holder, and with the reason; the next try works."""
    disks = kept.at_cluster()
    for path in ("instances$", "modify", "grow"):
        kept.cloud.ganeti.misbehave(Misbehavior.FAIL_JOB, times=3, path=path)
        await kept.extend(2)
        state, reason = await kept.ended()
        assert (state, bool(reason)) == ("failed", True), path
        assert (await kept.stands(), kept.at_cluster()) == (("available", 1), disks)
        await kept.cloud.check_books()
    await kept.extend(2)
    assert await kept.stands() == ("available", 2)


async def test_deletion_that_fails_can_be_tried_again(kept: Any) -> None:
    """It goes on from what the first try has left; meanwhile operators are told of that."""
    cloud = kept.cloud
    drive = cloud.drive_of(cloud.cluster_id)
    looker = Looker(cloud.reactor, cloud.database, drive._cluster, cloud.cluster_id, drive._names)
    cloud.ganeti.misbehave(Misbehavior.FAIL_JOB, times=3, methods=("DELETE",))
    await kept.delete()
    assert await kept.stands() == ("error_deleting", 1)
    assert (await kept.ended())[0] == "failed"
    assert await cloud.used(DISK) == GIB
    (holder,) = cloud.ganeti.instances.values()
    assert [disk.name for disk in holder.disks][1:] == [kept.name(await kept.row())]
    assert not holder.running
    (found,) = (await looker.everything()).findings
    assert (found.kind, found.subject) == (HOLDER, holder.name)
    await cloud.check_books()
    await kept.delete()
    assert ((await kept.row()).status, kept.at_cluster()) == ("deleted", {})
    assert (await looker.everything()).findings == []
    assert await cloud.used(DISK) == 0


async def test_disk_that_is_gone_already_is_no_hindrance(kept: Any) -> None:
    """Somebody removed it by hand, or an earlier try was not seen to succeed."""
    for uuid in list(kept.cloud.ganeti.inventory.detached):
        kept.cloud.ganeti.inventory.drop_detached(uuid)
    await kept.extend(2)
    assert (await kept.stands(), (await kept.ended())[0]) == (("available", 1), "failed")
    await kept.delete()
    assert ((await kept.row()).status, kept.at_cluster()) == ("deleted", {})
    await kept.cloud.check_books()


async def test_instance_of_somebody_else_is_left_alone(kept: Any) -> None:
    """However it is called."""
    cloud = kept.cloud
    row = await kept.row()
    name = cloud.world.names.holder(row.id)
    cloud.ganeti.by_hand.add(name)
    await kept.delete()
    assert await kept.stands() == ("error_deleting", 1)
    assert "not known to be ours" in (await kept.ended())[1]
    assert holder_tag(kept.uuid) not in cloud.ganeti.instances[name].tags
    assert len(cloud.ganeti.inventory.detached) == 1
