"""Volumes come to servers and leave them, at simulated clusters; nothing is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound, OverQuota
from cyclades_tx.flows.clusters import Fleet
from cyclades_tx.flows.volumes import NewVolume, Volumes
from cyclades_tx.ganeti.simulator.behaviors import Misbehavior
from cyclades_tx.model.quota import DISK, GIB
from cyclades_tx.model.server import WantedDisk
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud, refused


@pytest_twisted.async_fixture
async def plugged(driven: Cloud) -> Cloud:
    """A driven cloud whose cluster changes running machines."""
    await driven.database.run("update cluster set hotplug = true")
    return driven


async def a_volume(cloud: Cloud, size_gib: int = 1, name: str = "v") -> str:
    """A volume that no server has; its UUID."""
    return await Volumes(cloud.database, cloud.world.volume_attachments).create(
        cloud.who, NewVolume(size_gib, name)
    )


async def volume(cloud: Cloud, uuid: str) -> Any:
    """The row of a volume."""
    return await cloud.database.first("select * from volume where uuid = %s", (uuid,))


async def disks(cloud: Cloud, server: str) -> list[tuple[str | None, int]]:
    """Name and size of each further disk at the cluster."""
    instance = cloud.ganeti.instances[cloud.instance(await cloud.row(server))]
    return [(disk.name, disk.size) for disk in instance.disks[1:]]


async def attach(cloud: Cloud, server: str, uuid: str, **wanted: Any) -> None:
    """Wish a volume on a server."""
    await cloud.world.volume_attachments.attach(cloud.who, server, uuid, "req-attach", **wanted)


async def attached(cloud: Cloud, server: str, **wanted: Any) -> str:
    """A volume that a server has; its UUID."""
    uuid = await a_volume(cloud)
    await attach(cloud, server, uuid, **wanted)
    await cloud.settled()
    assert (await volume(cloud, uuid)).status == "in_use"
    return uuid


async def detach(cloud: Cloud, server: str, uuid: str) -> None:
    """Wish a volume off its server, and wait."""
    await cloud.world.volume_attachments.detach(cloud.who, server, uuid, "req-detach")
    await cloud.settled()


async def check(cloud: Cloud) -> None:
    """What is charged for is what there is."""
    await cloud.check_books()
    halfway = "('attaching', 'detaching', 'extending', 'deleting', 'creating')"
    assert await cloud.database.all(f"select id from volume where status in {halfway}") == []


async def test_first_attachment_makes_the_disk(plugged: Any) -> None:
    """Of its size and under its name; before, no cluster had anything of it."""
    server, uuid = await plugged.active(), await a_volume(plugged, 2)
    before = await plugged.used(DISK)
    await attach(plugged, server, uuid, tag="data")
    row = await volume(plugged, uuid)
    assert (row.status, row.position, row.attachment_tag) == ("attaching", 1, "data")
    await plugged.settled()
    row = await volume(plugged, uuid)
    assert (row.status, row.initialised, row.delete_on_termination) == ("in_use", True, False)
    assert await disks(plugged, server) == [(f"snf-vol-{row.id}", 2048)]
    assert await plugged.used(DISK) == before
    assert (await plugged.operations(server))[-1].state == "succeeded"
    await check(plugged)


async def test_detached_volume_comes_back_with_its_disk(plugged: Any) -> None:
    """The same disk, on another server of the same machine."""
    first, second = await plugged.active("a"), await plugged.active("b")
    uuid = await attached(plugged, first)
    disk = (await volume(plugged, uuid)).ganeti_uuid
    await detach(plugged, first, uuid)
    free = await volume(plugged, uuid)
    assert (free.status, free.server_id, free.initialised) == ("available", None, True)
    assert (free.cluster_id, free.node) == (plugged.cluster_id, (await plugged.row(first)).node)
    assert await disks(plugged, first) == []
    await attach(plugged, second, uuid)
    await plugged.settled()
    row = await volume(plugged, uuid)
    assert (row.status, row.cluster_id, row.node, row.ganeti_uuid) == ("in_use", None, None, disk)
    assert [name for name, _ in await disks(plugged, second)] == [f"snf-vol-{row.id}"]
    await check(plugged)


async def test_volume_is_not_given_to_a_server_far_from_its_disk(plugged: Any) -> None:
    """On another machine, or another cluster; it is free as before."""
    first, second = await plugged.active("a"), await plugged.active("b")
    uuid = await attached(plugged, first)
    await detach(plugged, first, uuid)
    await plugged.database.run("update server set node = 'other' where uuid = %s", (second,))
    error = await refused(BadRequest, attach(plugged, second, uuid))
    assert "another machine" in error.message
    other = await builders.a_cluster(plugged.database)
    await plugged.database.run(
        "update volume set cluster_id = %s where uuid = %s", (other.id, uuid)
    )
    error = await refused(BadRequest, attach(plugged, second, uuid))
    assert "the server is not there" in error.message
    assert (await volume(plugged, uuid)).status == "available"


@pytest.mark.parametrize("word", ["ext", "drbd"])
async def test_disk_that_cannot_leave_its_server_stays_with_the_reason(
    plugged: Any, word: str
) -> None:
    """Nothing is lost without a word; it goes with the server, and says so."""
    server, uuid = await plugged.active(), await a_volume(plugged)
    provider = "'archipelago'" if word == "ext" else "null"
    await plugged.database.run(
        f"update volume_type set disk_template = %s, provider = {provider}", (word,)
    )
    attachments = plugged.world.volume_attachments
    error = await refused(BadRequest, attach(plugged, server, uuid, delete_on_termination=False))
    assert "delete_on_termination must be true" in error.message
    await attach(plugged, server, uuid)
    await plugged.settled()
    assert (await volume(plugged, uuid)).delete_on_termination
    wish = attachments.detach(plugged.who, server, uuid, "req-detach")
    error = await refused(Conflict, wish)
    assert "cannot leave their server" in error.message
    await refused(BadRequest, attachments.change(plugged.who, server, uuid, False))
    assert len(await disks(plugged, server)) == 1
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    assert (await volume(plugged, uuid)).status == "deleted"
    assert await plugged.used(DISK) == 0
    await check(plugged)


async def test_volume_grows_while_its_server_runs(plugged: Any) -> None:
    """Its project is charged for more when it has grown; until then that much is kept for it."""
    server = await plugged.active()
    uuid = await attached(plugged, server)
    before = await plugged.used(DISK)
    attachments = plugged.world.volume_attachments
    await attachments.extend(plugged.who, uuid, 3, "req-extend")
    assert (await volume(plugged, uuid)).status == "extending"
    reserved = "select reserved from holding where project_id = %s and resource = %s"
    assert await plugged.database.value(reserved, (plugged.who.project_id, DISK)) == 2 * GIB
    await plugged.settled()
    row = await volume(plugged, uuid)
    assert (row.status, row.size_gib) == ("in_use", 3)
    assert [size for _, size in await disks(plugged, server)] == [3072]
    assert await plugged.used(DISK) == before + 2 * GIB
    for size in (3, 1):
        await refused(BadRequest, attachments.extend(plugged.who, uuid, size, "r"))
    await check(plugged)
    await plugged.database.run("update holding set maximum = used where resource = %s", (DISK,))
    await refused(OverQuota, attachments.extend(plugged.who, uuid, 4, "r"))
    assert (await volume(plugged, uuid)).status == "in_use"


async def test_failures_leave_a_volume_as_it_was(plugged: Any) -> None:
    """Attaching, growing, detaching: each job fails once; each next try works."""
    server, uuid = await plugged.active(), await a_volume(plugged)
    attachments = plugged.world.volume_attachments
    plugged.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1)
    await attach(plugged, server, uuid)
    await plugged.settled()
    row = await volume(plugged, uuid)
    assert (row.status, row.server_id, row.initialised) == ("available", None, False)
    await check(plugged)
    await attach(plugged, server, uuid)
    await plugged.settled()
    plugged.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1)
    await attachments.extend(plugged.who, uuid, 2, "req-extend")
    await plugged.settled()
    assert ((await volume(plugged, uuid)).status, (await volume(plugged, uuid)).size_gib) == (
        "in_use",
        1,
    )
    plugged.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1)
    await detach(plugged, server, uuid)
    assert (await volume(plugged, uuid)).status == "in_use"
    assert (await plugged.operations(server))[-1].state == "failed"
    await check(plugged)
    await detach(plugged, server, uuid)
    assert (await volume(plugged, uuid)).status == "available"
    await check(plugged)


@pytest.mark.parametrize("kind", [Misbehavior.DROP_REPLY, Misbehavior.GATEWAY_TIMEOUT_AFTER])
async def test_lost_answers_have_one_effect(plugged: Any, kind: Misbehavior) -> None:
    """The jobs are found by their reason and adopted."""
    server, uuid = await plugged.active(), await a_volume(plugged)
    jobs = len(plugged.ganeti.jobs)
    plugged.ganeti.misbehave(kind, times=1, methods=("PUT",))
    await attach(plugged, server, uuid)
    await plugged.settled()
    plugged.ganeti.misbehave(kind, times=1, methods=("POST",))
    await plugged.world.volume_attachments.extend(plugged.who, uuid, 2, "req-extend")
    await plugged.settled()
    assert [size for _, size in await disks(plugged, server)] == [2048]
    assert len(plugged.ganeti.jobs) == jobs + 2
    await check(plugged)


async def test_refused_request_gives_the_volume_back(plugged: Any) -> None:
    """The cluster takes no job at all."""
    server, uuid = await plugged.active(), await a_volume(plugged)
    plugged.ganeti.misbehave(Misbehavior.REFUSE, status=400, times=1)
    await attach(plugged, server, uuid)
    await plugged.settled()

    async def free() -> bool:
        return (await volume(plugged, uuid)).status == "available"

    await plugged.until(free, "the volume is free again")
    await check(plugged)


async def test_disk_that_a_running_machine_keeps_is_nobody_else_s_before_its_restart(
    plugged: Any,
) -> None:
    """Two machines would write to it."""
    server = await plugged.active()
    uuid = await attached(plugged, server)
    plugged.ganeti.misbehave(Misbehavior.FAIL_HOTPLUG, times=1)
    await detach(plugged, server, uuid)
    row = await volume(plugged, uuid)
    assert (row.status, row.pending_restart) == ("detaching", "detach")
    attachments = plugged.world.volume_attachments
    again = attachments.detach(plugged.who, server, uuid, "req-again")
    assert "next started" in (await refused(Conflict, again)).message
    await refused(BadRequest, attach(plugged, server, uuid))
    await plugged.world.servers.reboot(plugged.who, server, True, "req-reboot")
    await plugged.settled()
    assert (await volume(plugged, uuid)).status == "available"
    await check(plugged)


async def test_running_server_of_a_cluster_without_hotplug_is_a_conflict(driven: Cloud) -> None:
    """With the way out in the message; a stopped one is changed, and a running one's disk grows."""
    server, uuid = await driven.active(), await a_volume(driven)
    assert "stopped servers only" in (await refused(Conflict, attach(driven, server, uuid))).message
    await driven.world.servers.stop(driven.who, server, "req-stop")
    await driven.settled()
    await attach(driven, server, uuid)
    await driven.settled()
    await driven.world.servers.start(driven.who, server, "req-start")
    await driven.settled()
    wish = driven.world.volume_attachments.detach(driven.who, server, uuid, "r")
    assert "stopped servers only" in (await refused(Conflict, wish)).message
    await driven.world.volume_attachments.extend(driven.who, uuid, 2, "req-extend")
    await driven.settled()
    assert [size for _, size in await disks(driven, server)] == [2048]
    await check(driven)


# The end of servers and volumes


async def test_volume_outlives_its_server_unless_it_goes_with_it(plugged: Any) -> None:
    """The machine is stopped and its disk taken off before the instance is removed."""
    server = await plugged.active()
    stays, other = await attached(plugged, server), await attached(plugged, server)
    goes = await attached(plugged, server, delete_on_termination=True)
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    assert (await plugged.state(server))[0] == "deleted"
    assert plugged.ganeti.instances == {}
    for uuid in (stays, other):
        row = await volume(plugged, uuid)
        assert (row.status, row.server_id, row.initialised) == ("available", None, True)
    assert (await volume(plugged, goes)).status == "deleted"
    assert await plugged.used(DISK) == 2 * GIB
    await check(plugged)
    next_one = await plugged.active("next")
    await attach(plugged, next_one, stays)
    await plugged.settled()
    assert (await volume(plugged, stays)).status == "in_use"
    await check(plugged)


@pytest.mark.parametrize("kind", [Misbehavior.DROP_REPLY, Misbehavior.GATEWAY_TIMEOUT_AFTER])
async def test_lost_answer_while_a_disk_leaves_loses_no_disk(
    plugged: Any, kind: Misbehavior
) -> None:
    """It is looked for, and taken off once."""
    server = await plugged.active()
    uuid = await attached(plugged, server)
    await plugged.world.servers.stop(plugged.who, server, "req-stop")
    await plugged.settled()
    plugged.ganeti.misbehave(kind, times=1, methods=("PUT",))
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    assert (await volume(plugged, uuid)).status == "available"
    assert [each.disk.name for each in plugged.ganeti.inventory.detached.values()] == [
        f"snf-vol-{(await volume(plugged, uuid)).id}"
    ]
    await check(plugged)


async def test_deletion_that_cannot_take_a_disk_off_removes_nothing(plugged: Any) -> None:
    """The server and the volume are as before; the next try works."""
    server = await plugged.active()
    uuid = await attached(plugged, server)
    await plugged.world.servers.stop(plugged.who, server, "req-stop")
    await plugged.settled()
    plugged.ganeti.misbehave(Misbehavior.FAIL_JOB, times=1)
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    assert (await plugged.state(server))[0] == "stopped"
    assert (await volume(plugged, uuid)).status == "in_use"
    await check(plugged)
    await plugged.world.servers.delete(plugged.who, server, "req-again")
    await plugged.settled()
    assert (await volume(plugged, uuid)).status == "available"
    await check(plugged)


async def test_word_about_termination_can_be_changed(plugged: Any) -> None:
    """Either way, as long as the disk can leave."""
    server = await plugged.active()
    uuid = await attached(plugged, server)
    for ends in (True, False):
        await plugged.world.volume_attachments.change(plugged.who, server, uuid, ends)
        assert (await volume(plugged, uuid)).delete_on_termination is ends


async def test_whoever_insists_deletes_a_volume_on_its_server(plugged: Any) -> None:
    """Its disk is removed, its project charged no more."""
    server = await plugged.active()
    uuid = await attached(plugged, server)
    before = await plugged.used(DISK)
    await plugged.world.volume_attachments.delete(plugged.who, uuid, "req-delete")
    await plugged.settled()
    assert (await volume(plugged, uuid)).status == "deleted"
    assert await disks(plugged, server) == []
    assert plugged.ganeti.inventory.detached == {}
    assert await plugged.used(DISK) == before - GIB
    await check(plugged)


async def test_deletion_waits_for_a_disk_that_is_still_being_put_on(plugged: Any) -> None:
    """By a job that outlives its attachment: else the disk would go with the instance."""
    server, uuid = await plugged.active(), await a_volume(plugged)
    await attach(plugged, server, uuid)
    await plugged.settled()
    await detach(plugged, server, uuid)
    plugged.ganeti.queue._seconds = {"default": 0.02, "OP_INSTANCE_SET_PARAMS": 4.0}
    await attach(plugged, server, uuid)

    async def putting_on() -> bool:
        return bool((await plugged.operations(server))[-1].state == "submitted")

    await plugged.until(putting_on, "the disk is being put on")
    await plugged.database.run("update operation set deadline_at = now() where state = 'submitted'")
    await plugged.settled()
    plugged.ganeti.queue._seconds = {"default": 0.02}
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    row = await volume(plugged, uuid)
    assert (row.status, row.ganeti_uuid in plugged.ganeti.inventory.detached) == (
        "available", True,
    )  # fmt: skip
    await check(plugged)


async def test_deletion_of_a_server_cancels_an_attachment_that_waits(cloud: Cloud) -> None:
    """Nothing was sent: the volume is free."""
    await cloud.drive()
    await cloud.database.run("update cluster set hotplug = true")
    server, uuid = await cloud.active(), await a_volume(cloud)
    await cloud.stop()
    await attach(cloud, server, uuid)
    await cloud.world.servers.delete(cloud.who, server, "req-delete")
    row = await volume(cloud, uuid)
    assert (row.status, row.server_id) == ("available", None)
    await cloud.drive()
    await cloud.settled()
    assert (await volume(cloud, uuid)).status == "available"
    await check(cloud)


@pytest.mark.parametrize("forced", [False, True], ids=["taken-off", "deleted"])
async def test_what_was_wished_of_a_volume_holds_when_its_server_goes(
    cloud: Cloud, forced: bool
) -> None:
    """One that was taken off is kept, although it would go with the server; one deleted is gone."""
    await cloud.drive()
    await cloud.database.run("update cluster set hotplug = true")
    server = await cloud.active()
    uuid = await attached(cloud, server, delete_on_termination=not forced)
    await cloud.stop()
    volumes = cloud.world.volume_attachments
    if forced:
        await volumes.delete(cloud.who, uuid, "req-force")
    else:
        await volumes.detach(cloud.who, server, uuid, "req-detach")
    await cloud.world.servers.delete(cloud.who, server, "req-delete")
    await cloud.drive()
    await cloud.settled()
    row = await volume(cloud, uuid)
    assert row.status == ("deleted" if forced else "available")
    assert len(cloud.ganeti.inventory.detached) == (not forced)
    await check(cloud)


async def test_cluster_with_the_disk_of_a_volume_is_not_removed(plugged: Any) -> None:
    """Although no server is there any more."""
    world = plugged.world
    server = await plugged.active()
    uuid = await attached(plugged, server)
    await detach(plugged, server, uuid)
    await world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    fleet = Fleet(plugged.database, world.clusters, world.keyring, network_deadline_seconds=60.0)
    error = await refused(Conflict, fleet.remove(str(plugged.cluster_id)))
    assert "the disks of 1 volume that no server has" in error.message


# By hand


async def test_disk_that_was_taken_away_by_hand_is_an_error(plugged: Any) -> None:
    """The volume has no server then; its owner may delete it."""
    server = await plugged.active()
    uuid = await attached(plugged, server)
    plugged.ganeti.by_hand.remove_disk(plugged.instance(await plugged.row(server)), 1)

    async def seen() -> bool:
        return (await volume(plugged, uuid)).status == "error"

    await plugged.until(seen, "the change by hand is followed")
    assert (await volume(plugged, uuid)).server_id is None
    await Volumes(plugged.database, plugged.world.volume_attachments).delete(
        plugged.who, uuid, "req-delete"
    )
    await check(plugged)


async def test_volume_s_disk_that_turns_up_is_the_volume_s(plugged: Any) -> None:
    """And not one more disk of the server's own."""
    server, uuid = await plugged.active(), await a_volume(plugged)
    row = await volume(plugged, uuid)
    name = plugged.instance(await plugged.row(server))
    plugged.ganeti.by_hand.add_disk(name, 1024, f"snf-vol-{row.id}")

    async def seen() -> bool:
        return (await volume(plugged, uuid)).status == "in_use"

    await plugged.until(seen, "the change by hand is followed")
    plugged.ganeti.by_hand.grow_disk(name, 1, 2048)

    async def grown() -> bool:
        return (await volume(plugged, uuid)).size_gib == 2

    await plugged.until(grown, "it is as large as it is")
    assert await plugged.used(DISK) == 3 * GIB
    await check(plugged)


# Who may


async def test_volumes_and_servers_of_others_are_not_found(plugged: Any) -> None:
    """Neither way round, nor with another server of one's own."""
    stranger = await plugged.somebody()
    server, other = await plugged.active("a"), await plugged.active("b")
    uuid = await attached(plugged, server)
    attachments = plugged.world.volume_attachments
    theirs = await Volumes(plugged.database, attachments).create(stranger, NewVolume(1))
    for ref in (theirs, "nothing", server):
        await refused(NotFound, attachments.attach(plugged.who, server, ref, "r"))
    await refused(NotFound, attachments.attach(stranger, server, theirs, "r"))
    for who, where in ((stranger, server), (plugged.who, other)):
        await refused(NotFound, attachments.detach(who, where, uuid, "r"))
        await refused(NotFound, attachments.change(who, where, uuid, True))
    await refused(NotFound, attachments.extend(stranger, uuid, 9, "r"))
    await refused(NotFound, attachments.delete(stranger, uuid, "r"))
    await refused(BadRequest, plugged.create(disks=(WantedDisk(theirs),)))
    assert (await volume(plugged, uuid)).status == "in_use"


async def test_busy_servers_and_volumes_are_refused_and_nothing_is_taken(plugged: Any) -> None:
    """One change at a time, one server for a volume, so many disks and no more."""
    server, uuid = await plugged.active(), await a_volume(plugged)
    await plugged.world.servers.reboot(plugged.who, server, True, "req-reboot")
    await refused(Conflict, attach(plugged, server, uuid))
    await plugged.settled()
    await attach(plugged, server, uuid)
    await refused(Conflict, attach(plugged, server, await a_volume(plugged)))
    await plugged.settled()
    await refused(BadRequest, attach(plugged, server, uuid))
    await plugged.database.run(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, local, status,"
        " server_id, position) select user_id, project_id, 0, volume_type_id, true, 'in_use',"
        " server_id, position + n from volume, generate_series(1, 6) n where uuid = %s",
        (uuid,),
    )
    error = await refused(Forbidden, attach(plugged, server, await a_volume(plugged)))
    assert "maximum allowed number of disk devices (8)" in error.message


# New servers


async def test_server_is_made_with_volumes(plugged: Any) -> None:
    """One that is there and a new one, behind its own disk."""
    uuid = await a_volume(plugged, 2, "mine")
    wanted = (WantedDisk(uuid, tag="t"), WantedDisk(size_gib=3, delete_on_termination=True))
    server = await plugged.active(disks=wanted)
    assert [size for _, size in await disks(plugged, server)] == [2048, 3072]
    rows = await plugged.database.all(
        "select position, status, initialised, delete_on_termination, attachment_tag from volume"
        " where server_id = %s and not local order by position",
        ((await plugged.row(server)).id,),
    )
    assert [tuple(row) for row in rows] == [
        (1, "in_use", True, False, "t"),
        (2, "in_use", True, True, None),
    ]
    assert await plugged.used(DISK) == 6 * GIB
    await check(plugged)
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    assert (await volume(plugged, uuid)).status == "available"
    assert await plugged.used(DISK) == 2 * GIB
    await check(plugged)


async def test_server_boots_from_a_volume_that_outlives_it(plugged: Any) -> None:
    """Its size is the volume's, whatever the flavor; a resize leaves it alone."""
    server = await plugged.active(disks=(WantedDisk(size_gib=4, boot=True),))
    row = await plugged.row(server)
    assert row.boots_from_volume
    instance = plugged.ganeti.instances[plugged.instance(row)]
    assert [disk.size for disk in instance.disks] == [4096]
    (root,) = await plugged.database.all("select * from volume where server_id = %s", (row.id,))
    assert (root.local, root.bootable, root.status, root.position) == (False, True, "in_use", 0)
    assert await plugged.used(DISK) == 4 * GIB
    larger = await builders.a_flavor(
        plugged.database, vcpus=2, memory_mib=512, disk_gib=9, template="file"
    )
    await plugged.world.servers.resize(plugged.who, server, larger.uuid, "req-resize")
    await plugged.settled()
    await plugged.world.servers.confirm_resize(plugged.who, server)
    instance = plugged.ganeti.instances[plugged.instance(row)]
    assert ([disk.size for disk in instance.disks], instance.vcpus) == ([4096], 2)
    wish = plugged.world.volume_attachments.detach(plugged.who, server, str(root.uuid), "r")
    await refused(Forbidden, wish)
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    assert (await volume(plugged, str(root.uuid))).status == "available"
    await check(plugged)


async def test_failed_creation_gives_volumes_back_and_makes_none(plugged: Any) -> None:
    """The owner's is free and blank, the new one gone with what it was charged."""
    uuid = await a_volume(plugged, 2)
    plugged.ganeti.misbehave(Misbehavior.FAIL_OS, name="snf-[0-9]", methods=("POST",))
    server = await plugged.create(disks=(WantedDisk(uuid), WantedDisk(size_gib=3)))
    await plugged.settled()
    assert (await plugged.state(server))[0] == "error"
    row = await volume(plugged, uuid)
    assert (row.status, row.initialised) == ("available", False)
    assert await plugged.used(DISK) == 2 * GIB
    await check(plugged)


async def test_wrong_wishes_for_volumes_make_nothing(plugged: Any) -> None:
    """Of another kind, in use, with a disk already, for many servers, too many, too large."""
    server = await plugged.active()
    taken, kept = await attached(plugged, server), await attached(plugged, server)
    await detach(plugged, server, kept)
    free = await a_volume(plugged)
    before = await plugged.database.value("select count(*) from volume")
    for wanted in (
        {"disks": (WantedDisk(taken),)},
        {"disks": (WantedDisk(kept),)},
        {"disks": (WantedDisk("nothing"),)},
        {"disks": (WantedDisk(free, boot=True),)},
        {"disks": (WantedDisk(free),), "max_count": 2},
        {"disks": (WantedDisk(size_gib=1, type_ref="nothing"),)},
        {"disks": tuple(WantedDisk(size_gib=1) for _ in range(8))},
    ):
        await refused(BadRequest, plugged.create("x", **wanted))
    await plugged.database.run(
        "update holding set maximum = used + %s where resource = %s", (2 * GIB, DISK)
    )
    await refused(OverQuota, plugged.create("x", disks=(WantedDisk(size_gib=2),)))
    assert await plugged.database.value("select count(*) from volume") == before
    await check(plugged)
