"""Servers that boot from volumes that are there already, at simulated clusters."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredList

from cyclades_tx.errors import BadRequest, NoCapacity
from cyclades_tx.flows.volumes import NewVolume
from cyclades_tx.ganeti.simulator.behaviors import Misbehavior
from cyclades_tx.model.quota import DISK, GIB
from cyclades_tx.model.server import NewServer, Personality, Rebuild, WantedDisk, WantedNic
from cyclades_tx.testing import builders
from tests.flows.test_volume_attachments import a_volume, check, plugged, volume
from tests.loops.cloud import Cloud, refused

__all__ = ["plugged"]


async def boot(cloud: Cloud, uuid: str, *more: WantedDisk, name: str = "b", **wanted: Any) -> str:
    """Wish a server that boots from a volume; its UUID."""
    ends = wanted.pop("ends", None)
    who = wanted.pop("who", cloud.who)
    disks = (WantedDisk(uuid, boot=True, delete_on_termination=ends), *more)
    networks = (WantedNic(cloud.network),)
    new = NewServer(name, cloud.flavor.uuid, disks=disks, networks=networks, **wanted)
    return (await cloud.world.servers.create(who, new, "req-boot")).uuids[0]


async def booted(cloud: Cloud, uuid: str, *more: WantedDisk, **wanted: Any) -> str:
    """The same, and wait until it runs."""
    server = await boot(cloud, uuid, *more, **wanted)
    await cloud.settled()
    assert await cloud.state(server) == ("active", "on")
    return server


async def kept(cloud: Cloud, name: str = "old") -> str:
    """A volume with a system on its disk, which no server has any more; its UUID."""
    server = await cloud.active(name, disks=(WantedDisk(size_gib=2, boot=True),))
    uuid: str = await cloud.database.value(
        "select uuid::text from volume where server_id = %s", ((await cloud.row(server)).id,)
    )
    await cloud.world.servers.delete(cloud.who, server, "req-delete")
    await cloud.settled()
    row = await volume(cloud, uuid)
    assert (row.status, row.initialised, row.bootable) == ("available", True, True)
    return uuid


async def disks(cloud: Cloud, server: str) -> list[tuple[str, int]]:
    """Ganeti's uuid and the size of each disk at the cluster."""
    instance = cloud.ganeti.instances[cloud.instance(await cloud.row(server))]
    return [(disk.uuid, disk.size) for disk in instance.disks]


def opcodes(cloud: Cloud) -> list[Any]:
    """Every opcode of the first cluster that was sent for a server, in its order."""
    return [
        op
        for _, job in sorted(cloud.ganeti.queue.jobs.items())
        for op in job.ops
        if op["OP_ID"].startswith("OP_INSTANCE")
    ]


async def steps(cloud: Cloud, server: str) -> list[str]:
    """The steps of its creation."""
    rows = await cloud.database.all(
        "select s.step from operation_step s join operation o on o.id = s.operation_id"
        " join server v on v.id = o.server_id where v.uuid = %s and o.kind = 'create'"
        " order by s.started_at, s.step",
        (server,),
    )
    return [row.step for row in rows]


async def test_server_boots_from_the_disk_of_a_volume_as_it_is(plugged: Any) -> None:
    """The very disk, and nothing is installed on it; the volume is kept when the server goes."""
    uuid = await kept(plugged)
    before = await volume(plugged, uuid)
    count = len(opcodes(plugged))
    server = await booted(plugged, uuid)
    assert await disks(plugged, server) == [(before.ganeti_uuid, 2048)]
    assert await steps(plugged, server) == ["create", "put_on", "start"]
    made = opcodes(plugged)[count]
    assert (made["no_install"], made["pnode"]) == (True, before.node)
    assert made["osparams"]["img_id"] == "null"
    row = await volume(plugged, uuid)
    assert (row.status, row.position, row.cluster_id, row.node) == ("in_use", 0, None, None)
    owner = await plugged.row(server)
    assert (owner.image_id, owner.boots_from_volume) == (None, True)
    assert await plugged.used(DISK) == 2 * GIB
    await check(plugged)
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    row = await volume(plugged, uuid)
    assert (row.status, row.cluster_id, row.node) == ("available", plugged.cluster_id, before.node)
    again = await booted(plugged, uuid, ends=True, name="c")
    assert await disks(plugged, again) == [(before.ganeti_uuid, 2048)]
    await plugged.world.servers.delete(plugged.who, again, "req-delete")
    await plugged.settled()
    assert (await volume(plugged, uuid)).status == "deleted"
    assert await plugged.used(DISK) == 0
    await check(plugged)


async def test_other_disks_come_with_it(plugged: Any) -> None:
    """One that is kept at the same place, a blank one of the owner's, and a new one."""
    first, second, blank = await kept(plugged), await kept(plugged, "o2"), await a_volume(plugged)
    more = (WantedDisk(blank), WantedDisk(second), WantedDisk(size_gib=3))
    server = await booted(plugged, first, *more)
    known = {each: (await volume(plugged, each)).ganeti_uuid for each in (first, second, blank)}
    found = await disks(plugged, server)
    assert [size for _, size in found] == [2048, 1024, 2048, 3072]
    assert [disk for disk, _ in found[:3]] == [known[first], known[blank], known[second]]
    assert await plugged.used(DISK) == 8 * GIB
    await check(plugged)


async def test_server_is_placed_where_the_disk_is(make_cloud: Any) -> None:
    """Whatever the load; where that cluster takes none, it is said."""
    cloud: Cloud = make_cloud()
    await cloud.equip(clusters=2)
    await cloud.drive()
    uuid = await kept(cloud)
    home = (await volume(cloud, uuid)).cluster_id
    (other,) = set(cloud.ganetis) - {home}
    await cloud.database.run("update cluster set instances = 1000, cpus = 1 where id = %s", (home,))
    error = await refused(BadRequest, boot(cloud, uuid, cluster_id=other))
    assert "not for this server" in error.message
    await cloud.database.run("update cluster set drained = true where id = %s", (home,))
    error = await refused(NoCapacity, boot(cloud, uuid))
    assert "the disk of the volume is on another cluster" in error.inside
    assert "drained" in error.inside
    await cloud.database.run("update cluster set drained = false where id = %s", (home,))
    server = await booted(cloud, uuid)
    assert (await cloud.row(server)).cluster_id == home
    await check(cloud)


async def test_blank_volume_is_an_empty_boot_disk(plugged: Any) -> None:
    """Where its owner says that it is bootable; nothing is installed."""
    uuid = await a_volume(plugged, 2)
    error = await refused(BadRequest, boot(plugged, uuid))
    assert error.message == f"Block Device {uuid} is not bootable."
    await plugged.world.volumes.set_bootable(plugged.who, uuid, True)
    server = await booted(plugged, uuid)
    assert [size for _, size in await disks(plugged, server)] == [2048]
    assert await steps(plugged, server) == ["create", "start"]
    row = await volume(plugged, uuid)
    assert (row.status, row.initialised, row.position) == ("in_use", True, 0)
    await check(plugged)


async def test_volume_of_an_image_gets_it_with_its_first_server(plugged: Any) -> None:
    """Installed as always; the next server boots from it as it is."""
    new = NewVolume(2, image_ref=plugged.image.uuid)
    uuid = await plugged.world.volumes.create(plugged.who, new)
    row = await volume(plugged, uuid)
    assert (row.bootable, row.source_kind, str(row.source_uuid)) == (
        True, "image", plugged.image.uuid,
    )  # fmt: skip
    other = await plugged.active()
    wish = plugged.world.volume_attachments.attach(plugged.who, other, uuid, "r")
    await refused(BadRequest, wish)
    await refused(BadRequest, plugged.create("x", disks=(WantedDisk(uuid),)))
    server = await booted(plugged, uuid, user_data=b"x")
    owner = await plugged.row(server)
    assert (owner.image_id, owner.boots_from_volume) == (plugged.image.id, True)
    instance = plugged.ganeti.instances[plugged.instance(owner)]
    assert instance.installed["img_id"] != "null"
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    again = await booted(plugged, uuid, name="again")
    assert (await plugged.row(again)).image_id is None
    await check(plugged)
    large = await builders.an_image(plugged.database, min_disk_gib=9)
    hidden = await builders.an_image(
        plugged.database, project_id=(await plugged.somebody()).project_id, visibility="private"
    )
    for ref in (large.uuid, hidden.uuid, "nothing"):
        wrong = plugged.world.volumes.create(plugged.who, NewVolume(2, image_ref=ref))
        await refused(BadRequest, wrong)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        pytest.param(Misbehavior.FAIL_JOB, "modify", id="put on"),
        pytest.param(Misbehavior.FAIL_JOB, "startup", id="start"),
        pytest.param(Misbehavior.REFUSE, "modify", id="refused"),
    ],
)
async def test_failed_creation_gives_the_disk_back(plugged: Any, kind: Any, path: str) -> None:
    """To its owner, where it was; whatever was asked for the server's end."""
    uuid = await kept(plugged)
    before = await volume(plugged, uuid)
    plugged.ganeti.misbehave(kind, path=path, times=1, methods=("PUT",), status=400)
    server = await boot(plugged, uuid, ends=True)
    await plugged.settled()
    assert await plugged.state(server) == ("error", "none")
    assert "told to misbehave" in (await plugged.row(server)).fault_message
    row = await volume(plugged, uuid)
    assert (row.status, row.server_id, row.cluster_id, row.node, row.ganeti_uuid) == (
        "available", None, plugged.cluster_id, before.node, before.ganeti_uuid,
    )  # fmt: skip
    assert plugged.ganeti.instances == {}
    assert await plugged.used(DISK) == 2 * GIB
    await check(plugged)
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await booted(plugged, uuid, name="again")
    await check(plugged)


@pytest.mark.parametrize("path", ["modify", "startup"])
@pytest.mark.parametrize("ends", [True, False], ids=["ends", "stays"])
async def test_lost_answer_makes_nothing_twice(plugged: Any, path: str, ends: bool) -> None:
    """The job is found again by its reason."""
    uuid = await kept(plugged)
    plugged.ganeti.misbehave(Misbehavior.DROP_REPLY, path=path, times=1, methods=("PUT",))
    server = await booted(plugged, uuid, ends=ends)
    assert len(await disks(plugged, server)) == 1
    sent = [op for op in opcodes(plugged) if op["OP_ID"] == "OP_INSTANCE_SET_PARAMS"]
    assert len([op for op in sent if op["disks"][0][0] == "attach"]) == 1
    await check(plugged)


async def test_another_driver_goes_on_where_one_has_stopped(plugged: Any) -> None:
    """In the middle of each step; each is done once."""
    uuid = await kept(plugged)
    plugged.ganeti.queue._seconds = {"default": 1.0}
    server = await boot(plugged, uuid)
    for step in ("create", "put_on", "start"):

        async def so_far(step: str = step) -> bool:
            (creation,) = await plugged.operations(server)
            return bool(creation.step == step and creation.state == "submitted")

        await plugged.until(so_far, f"its step is {step}")
        await plugged.stop()
        await plugged.drive()
    await plugged.settled()
    assert await plugged.state(server) == ("active", "on")
    assert await steps(plugged, server) == ["create", "put_on", "start"]
    assert len(await disks(plugged, server)) == 1
    await check(plugged)


async def test_deletion_waits_for_disks_that_are_still_being_put_on(plugged: Any) -> None:
    """By a job that outlives its creation: else they would go with the instance."""
    uuid = await kept(plugged)
    plugged.ganeti.queue._seconds = {"default": 0.02, "OP_INSTANCE_SET_PARAMS": 4.0}
    server = await boot(plugged, uuid)

    async def putting_on() -> bool:
        (creation,) = await plugged.operations(server)
        return bool(creation.step == "put_on" and creation.state == "submitted")

    await plugged.until(putting_on, "its disks are being put on")
    await plugged.database.run("update operation set deadline_at = now() where step = 'put_on'")
    await plugged.until_state(server, "error", "on")
    plugged.ganeti.queue._seconds = {"default": 0.02}
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    await plugged.settled()
    assert await plugged.state(server) == ("deleted", "none")
    row = await volume(plugged, uuid)
    assert (row.status, row.ganeti_uuid in plugged.ganeti.inventory.detached) == (
        "available", True,
    )  # fmt: skip
    await check(plugged)


async def test_one_of_two_servers_gets_the_volume(plugged: Any) -> None:
    """Asked for at the same moment; the other one is refused, and nothing of it is left."""
    uuid = await kept(plugged)
    ends = await DeferredList(
        [Deferred.fromCoroutine(boot(plugged, uuid, name=name)) for name in ("a", "b")],
        consumeErrors=True,
    )
    assert sorted(done for done, _ in ends) == [False, True]
    (failure,) = [result for done, result in ends if not done]
    assert failure.check(BadRequest)
    await plugged.settled()
    names = await plugged.database.all("select state from server where deleted_at is null")
    assert [row.state for row in names] == ["active"]
    await check(plugged)


async def test_server_that_boots_from_a_volume_changes_like_any_other(plugged: Any) -> None:
    """Resized, stopped and started, and installed anew with an image, which gets on the volume."""
    uuid = await kept(plugged)
    server = await booted(plugged, uuid)
    servers, who = plugged.world.servers, plugged.who
    larger = await builders.a_flavor(
        plugged.database, vcpus=2, memory_mib=1024, disk_gib=9, template="file"
    )
    await servers.resize(who, server, larger.uuid, "req-resize")
    await plugged.settled()
    await servers.confirm_resize(who, server)
    await servers.stop(who, server, "req-stop")
    await plugged.settled()
    await servers.start(who, server, "req-start")
    await plugged.settled()
    instance = plugged.ganeti.instances[plugged.instance(await plugged.row(server))]
    assert (instance.vcpus, [disk.size for disk in instance.disks]) == (2, [2048])
    assert instance.installed["img_id"] == "null"
    await servers.rebuild(who, server, Rebuild(plugged.image.uuid), "req-rebuild")
    await plugged.settled()
    instance = plugged.ganeti.instances[instance.name]
    assert instance.installed["img_id"] == "image.diskdump"
    row = await plugged.row(server)
    assert (row.state, row.image_id, row.boots_from_volume) == ("active", plugged.image.id, True)
    await check(plugged)


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "stays"])
@pytest.mark.parametrize("step", ["", "create", "put_on", "start"])
async def test_deletion_while_it_is_made_loses_nothing(plugged: Any, step: str, ends: bool) -> None:
    """The volume ends with its server only if its disk was on that by then."""
    uuid = await kept(plugged)
    before = await volume(plugged, uuid)
    plugged.ganeti.queue._seconds = {"default": 0.3}
    if not step:
        # Or the first one may have begun when it is looked at.
        await plugged.stop()
    server = await boot(plugged, uuid, ends=ends)

    async def so_far() -> bool:
        (creation,) = await plugged.operations(server)
        return bool(creation.step == step)

    await plugged.until(so_far, f"its step is {step}")
    await plugged.world.servers.delete(plugged.who, server, "req-delete")
    if not step:
        await plugged.drive()
    await plugged.settled()
    assert await plugged.state(server) == ("deleted", "none")
    row = await volume(plugged, uuid)
    there = before.ganeti_uuid in plugged.ganeti.inventory.detached
    assert row.status == ("available" if there else "deleted")
    assert there or ends
    if there:
        assert (row.cluster_id, row.node) == (plugged.cluster_id, before.node)
    await check(plugged)


async def test_wrong_wishes_to_boot_take_nothing(plugged: Any) -> None:
    """Another project's, one in use, of many servers, lost; and what nobody would read."""
    uuid, elsewhere = await kept(plugged), await kept(plugged, "o2")
    stranger = await plugged.somebody()
    await refused(BadRequest, boot(plugged, uuid, who=stranger))
    for wanted in (
        {"max_count": 2},
        {"user_data": b"x"},
        {"personality": (Personality("/a", b"x"),)},
        {"config_drive": True},
        {"availability_zone": "nowhere"},
    ):
        await refused(BadRequest, boot(plugged, uuid, **wanted))
    await refused(BadRequest, plugged.create("x", disks=(WantedDisk(uuid),)))
    await plugged.database.run("update volume set node = 'n9' where uuid = %s", (elsewhere,))
    error = await refused(BadRequest, boot(plugged, uuid, WantedDisk(elsewhere)))
    assert "different clusters or machines" in error.message
    await plugged.database.run("update volume set node = null where uuid = %s", (elsewhere,))
    assert "is not known" in (await refused(BadRequest, boot(plugged, elsewhere))).message
    plain = await builders.a_flavor(plugged.database, template="plain", disk_gib=1)
    new = NewServer("x", plain.uuid, disks=(WantedDisk(uuid, boot=True),))
    await refused(BadRequest, plugged.world.servers.create(plugged.who, new, "r"))
    server = await booted(plugged, uuid)
    await refused(BadRequest, boot(plugged, uuid))
    assert len(await disks(plugged, server)) == 1
    await check(plugged)
