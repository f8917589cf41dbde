"""Resize, rebuild and rescue from the wish to the cluster: whole, or put back, and paid for."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NoCapacity,
    NotFound,
    NotSupported,
    OverQuota,
)
from cyclades_tx.flows.cancellation import cancel
from cyclades_tx.ganeti.simulator import Misbehavior
from cyclades_tx.model import quota
from cyclades_tx.model.server import Rebuild
from cyclades_tx.model.who import ADMIN
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud, refused

ISO = "/srv/rescue.iso"


@pytest_twisted.async_fixture
async def rescuing(make_cloud: Any) -> Cloud:
    """A driven cloud with a rescue image."""
    cloud: Cloud = make_cloud(ganeti={"rescue_image": ISO})
    await cloud.equip()
    await cloud.drive()
    return cloud


async def a_flavor(cloud: Cloud, **sizes: Any) -> str:
    """A flavor on the same disks."""
    row = await builders.a_flavor(
        cloud.database,
        **{"vcpus": 2, "memory_mib": 1024, "disk_gib": 1, "template": "file"} | sizes,
    )
    return row.uuid


async def machine(cloud: Cloud, uuid: str) -> Any:
    """A server's instance as its cluster has it."""
    return cloud.ganeti.instances[cloud.instance(await cloud.row(uuid))]


async def ended(cloud: Cloud, uuid: str) -> Any:
    """The newest operation after everything has come to rest, with the books checked."""
    await cloud.settled()
    await cloud.check_books()
    return (await cloud.operations(uuid))[-1]


async def steps(cloud: Cloud, uuid: str) -> list[tuple[str, str]]:
    """The steps of the newest operation, and how each ended."""
    newest = (await cloud.operations(uuid))[-1]
    rows = await cloud.database.all(
        "select step, result from operation_step where operation_id = %s order by started_at",
        (newest.id,),
    )
    return [(row.step, row.result) for row in rows]


async def look_again(cloud: Cloud, uuid: str) -> None:
    """Have the loop look at a server that rests."""
    row, drive = await cloud.row(uuid), cloud.drive_of(cloud.cluster_id)
    waiting = drive._server_work.resting.mend(row.id)
    drive.servers.wake(row.id)
    await waiting


async def sizes(cloud: Cloud, uuid: str) -> tuple[Any, ...]:
    """CPUs, memory and disk of a server in the database."""
    row = await cloud.row(uuid)
    disk = await cloud.database.value("select size_gib from volume where server_id = %s", (row.id,))
    return row.vcpus, row.memory_mib, disk


# Resize


async def test_a_running_server_is_resized_and_confirmed(driven: Cloud) -> None:
    """Stopped, changed, its disk grown, started; charged for its new size from then on."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active()
    await flow.resize(who, uuid, await a_flavor(driven, disk_gib=3), "r")
    operation = await ended(driven, uuid)
    assert operation.state == "succeeded", operation.reason
    assert await steps(driven, uuid) == [
        ("stop", "success"), ("set", "success"), ("grow", "success"), ("start", "success"),
    ]  # fmt: skip
    assert await driven.state(uuid) == ("resized", "on")
    assert await sizes(driven, uuid) == (2, 1024, 3)
    seen = await machine(driven, uuid)
    assert (seen.vcpus, seen.memory, seen.disks[0].size, seen.running) == (2, 1024, 3072, True)
    assert (await driven.used(quota.CPU), await driven.used(quota.DISK)) == (2, 3 * quota.GIB)
    for change in (flow.stop, flow.start):
        assert (await refused(Conflict, change(who, uuid, "r"))).reason == "state"
    await look_again(driven, uuid)
    assert await driven.state(uuid) == ("resized", "on")
    await flow.confirm_resize(who, uuid)
    assert await driven.state(uuid) == ("active", "on")
    assert (await driven.row(uuid)).old_flavor_id is None
    assert (await refused(Conflict, flow.revert_resize(who, uuid, "r"))).reason == "state"
    assert (await refused(Conflict, flow.confirm_resize(who, uuid))).reason == "state"
    await driven.check_books()


async def test_a_resize_is_reverted(driven: Cloud) -> None:
    """The old flavor and its sizes are back, at the cluster too; a disk that grew stays."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active()
    before = await driven.row(uuid)
    await flow.resize(who, uuid, await a_flavor(driven, disk_gib=2), "r")
    await ended(driven, uuid)
    await flow.revert_resize(who, uuid, "r")
    assert (await ended(driven, uuid)).state == "succeeded"
    after = await driven.row(uuid)
    assert (after.flavor_id, after.state) == (before.flavor_id, "active")
    assert await sizes(driven, uuid) == (before.vcpus, before.memory_mib, 2)
    seen = await machine(driven, uuid)
    assert (seen.vcpus, seen.memory, seen.running) == (before.vcpus, before.memory_mib, True)
    assert await driven.used(quota.CPU) == before.vcpus


async def test_a_stopped_server_is_resized_in_one_step_and_stays_stopped(driven: Cloud) -> None:
    """And what was stopped rests stopped when it is confirmed."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active()
    await flow.stop(who, uuid, "r")
    await driven.settled()
    await flow.resize(who, uuid, await a_flavor(driven), "r")
    await ended(driven, uuid)
    assert await steps(driven, uuid) == [("set", "success")]
    assert await driven.state(uuid) == ("resized", "off")
    assert (await driven.used(quota.CPU), await driven.used(quota.TOTAL_CPU)) == (0, 2)
    await flow.confirm_resize(who, uuid)
    assert await driven.state(uuid) == ("stopped", "off")


async def test_a_resize_that_cannot_start_is_put_back(driven: Cloud) -> None:
    """The node has no room for that much memory: the old size runs again, and is what is paid."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active()
    before = await sizes(driven, uuid)
    await driven.database.run("update holding set maximum = null")
    # What it has free is not known, so that only the node refuses.
    await driven.database.run("update cluster set memory_total_mib = 0, memory_free_mib = 0")
    huge = await a_flavor(driven, memory_mib=1_000_000)
    await flow.resize(who, uuid, huge, "r")
    operation = await ended(driven, uuid)
    assert operation.state == "failed"
    assert operation.reason == "No valid host was found (not enough resources are free)."
    assert operation.arguments["inside"].startswith("Not enough memory on node")
    assert [step for step, _ in await steps(driven, uuid)] == [
        "stop", "set", "start", "unset", "restart",
    ]  # fmt: skip
    assert (await sizes(driven, uuid), await driven.state(uuid)) == (before, ("active", "on"))
    seen = await machine(driven, uuid)
    assert (seen.vcpus, seen.memory, seen.running) == (1, 512, True)


@pytest.mark.parametrize("kind", [Misbehavior.FAIL_JOB, Misbehavior.REFUSE])
@pytest.mark.parametrize(
    ("path", "took", "power"),
    [
        ("/shutdown", ["stop"], "active"),
        ("/modify", ["stop", "set", "restart"], "active"),
        ("/grow", ["stop", "set", "grow", "unset", "restart"], "active"),
    ],
)
async def test_whichever_step_of_a_resize_fails_the_server_is_what_it_was(
    driven: Cloud, kind: Misbehavior, path: str, took: list[str], power: str
) -> None:
    """Whether its job fails or the cluster does not even take it."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active()
    before = await sizes(driven, uuid)
    misbehave(driven, kind, path)
    await flow.resize(who, uuid, await a_flavor(driven, disk_gib=2), "r")
    operation = await ended(driven, uuid)
    assert operation.state == "failed"
    assert "not today" in operation.reason
    assert [step for step, _ in await steps(driven, uuid)] == took
    assert (await sizes(driven, uuid), (await driven.state(uuid))[0]) == (before, power)
    assert (await machine(driven, uuid)).running


def misbehave(cloud: Cloud, kind: Misbehavior, path: str, **more: Any) -> None:
    """Have the next request to a path fail, after which everything works again."""
    options = {"status": 400} if kind is Misbehavior.REFUSE else {}
    cloud.ganeti.misbehave(kind, path=path, times=1, message="not today", **options, **more)


async def test_what_cannot_be_put_back_is_told_and_followed(driven: Cloud) -> None:
    """The start fails for good: the server is stopped, in its old size, and says why."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active()
    driven.ganeti.misbehave(Misbehavior.FAIL_JOB, path="/startup", message="no such luck")
    await flow.resize(who, uuid, await a_flavor(driven), "r")
    operation = await ended(driven, uuid)
    assert operation.state == "failed"
    assert operation.reason == "no such luck It could not be put back: no such luck"
    assert await driven.state(uuid) == ("stopped", "off")
    assert (await sizes(driven, uuid))[:2] == (1, 512)
    driven.ganeti.behave()
    await flow.start(who, uuid, "r")
    await driven.settled()
    assert await driven.state(uuid) == ("active", "on")


@pytest.mark.parametrize("kind", [Misbehavior.DROP_REPLY, Misbehavior.GATEWAY_TIMEOUT_AFTER])
async def test_a_lost_answer_does_no_step_twice(driven: Cloud, kind: Misbehavior) -> None:
    """Each step has one job, found by its own reason."""
    uuid = await driven.active()
    driven.ganeti.misbehave(kind, path="/grow", times=1)
    await driven.world.servers.resize(driven.who, uuid, await a_flavor(driven, disk_gib=2), "r")
    assert (await ended(driven, uuid)).state == "succeeded"
    grown = [job for job in driven.ganeti.jobs.values() if "GROW_DISK" in job.summary[0]]
    assert len(grown) == 1
    assert (await machine(driven, uuid)).disks[0].size == 2048


async def test_a_resize_is_refused_with_a_sentence(driven: Cloud) -> None:
    """Before anything is written."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    wrong = {
        "could not be found": "00000000-0000-4000-8000-000000000000",
        "must change flavor": driven.flavor.uuid,
        "disks of another kind": await a_flavor(driven, template="plain"),
        "a disk can only grow": await a_flavor(driven, disk_gib=0),
    }
    hidden = await builders.a_flavor(driven.database, template="file", disk_gib=1, public=False)
    for sentence, ref in wrong.items():
        assert sentence in (await refused(BadRequest, flow.resize(who, uuid, ref, "r"))).message
    await refused(BadRequest, flow.resize(who, uuid, hidden.uuid, "r"))
    await driven.database.run(
        "update image set min_memory_mib = 4096 where id = %s", (driven.image.id,)
    )
    small = await refused(BadRequest, flow.resize(who, uuid, await a_flavor(driven), "r"))
    assert "the image needs 4096" in small.message
    assert len(await driven.operations(uuid)) == 1


async def test_a_resize_over_quota_or_beyond_the_cluster_is_refused(driven: Cloud) -> None:
    """With what is short; and what a waiting resize will take is kept for it."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    large = await a_flavor(driven, vcpus=4)
    await driven.database.run("update holding set maximum = 3 where resource = %s", (quota.CPU,))
    error = await refused(OverQuota, flow.resize(who, uuid, large, "r"))
    assert [(each.resource, each.requested) for each in error.shortages] == [(quota.CPU, 3)]
    await driven.database.run("update holding set maximum = null")
    await driven.database.run(
        "update cluster set memory_total_mib = 2048, memory_free_mib = 400, disk_total_mib = 9999,"
        " disk_free_mib = 9999"
    )
    full = await refused(NoCapacity, flow.resize(who, uuid, large, "r"))
    assert full.message == "No valid host was found (not enough memory is free)."
    assert "400 MiB of memory free, 512 more are needed" in full.inside
    await driven.database.run("update cluster set memory_free_mib = 1000, disk_free_mib = 900")
    wide = await refused(
        NoCapacity, flow.resize(who, uuid, await a_flavor(driven, disk_gib=2), "r")
    )
    assert wide.message == "No valid host was found (not enough disk is free)."
    assert "of disk free" in wide.inside


async def test_the_room_of_a_resize_is_counted_and_given_back(cloud: Cloud) -> None:
    """Taken at once; what was made free is given at its end, what is not used when it fails."""
    flow, who = cloud.world.servers, cloud.who
    flavor = await builders.a_flavor(
        cloud.database, vcpus=2, memory_mib=1024, disk_gib=2, template="file"
    )

    async def free() -> tuple[int, int]:
        row = await cloud.database.first("select memory_free_mib, disk_free_mib from cluster")
        return row.memory_free_mib, row.disk_free_mib

    await cloud.drive()
    uuid = await cloud.active()
    await cloud.stop()
    await cloud.database.run(
        "update cluster set memory_total_mib = 8192, memory_free_mib = 4096,"
        " disk_total_mib = 8192, disk_free_mib = 4096, statistics_at = now()"
    )
    await flow.resize(who, uuid, flavor.uuid, "r")
    assert await free() == (3584, 3072)
    waiting = (await cloud.operations(uuid))[-1]
    reserved = await cloud.database.value(
        "select reserved from holding where resource = %s and project_id = %s",
        (quota.CPU, who.project_id),
    )
    assert reserved == 1
    await cancel(cloud.database, cloud.world.keyring, cloud.world.vault, waiting.id, "Enough.")
    assert await free() == (4096, 4096)
    await cloud.check_books()
    assert (await cloud.operations(uuid))[-1].state == "canceled"
    assert await cloud.state(uuid) == ("active", "on")


async def test_a_waiting_resize_ends_with_the_server_s_deletion(cloud: Cloud) -> None:
    """Nothing was sent: it is canceled, and everything is given back."""
    await cloud.drive()
    uuid = await cloud.active()
    await cloud.stop()
    await cloud.world.servers.resize(cloud.who, uuid, await a_flavor(cloud), "r")
    await cloud.world.servers.delete(cloud.who, uuid, "r")
    assert [each.state for each in await cloud.operations(uuid)][1:] == ["canceled", "pending"]
    await cloud.drive()
    await cloud.settled()
    assert await cloud.state(uuid) == ("deleted", "none")
    await cloud.check_books()


async def test_a_deletion_follows_a_resize_that_runs(make_cloud: Any) -> None:
    """It is not finished first, nor put back."""
    cloud: Cloud = make_cloud()
    await cloud.equip(job_seconds=0.3)
    await cloud.drive()
    uuid = await cloud.active()
    await cloud.world.servers.resize(cloud.who, uuid, await a_flavor(cloud), "r")
    await cloud.until_operation(uuid, "submitted")
    await cloud.world.servers.delete(cloud.who, uuid, "r")
    await cloud.settled()
    assert await cloud.state(uuid) == ("deleted", "none")
    assert cloud.ganeti.instances == {}
    assert len(cloud.ganeti.jobs) <= 6
    await cloud.check_books()


async def test_a_resize_that_nobody_minds_is_confirmed(driven: Cloud) -> None:
    """After the time of the configuration, not before."""
    flow, uuid = driven.world.servers, await driven.active()
    await flow.resize(driven.who, uuid, await a_flavor(driven), "r")
    await ended(driven, uuid)
    assert await flow.confirm_overdue(3600.0) == 0
    await driven.database.run("update server set resized_at = now() - interval '2 hours'")
    assert await flow.confirm_overdue(3600.0) == 1
    assert await driven.state(uuid) == ("active", "on")
    assert await flow.confirm_overdue(3600.0) == 0


# Rebuild


async def test_a_server_gets_a_new_system_and_new_secrets(
    driven: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same instance with another image; what only the database knows changes at once."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active(metadata={"old": "x"})
    before = await machine(driven, uuid)
    image = await builders.an_image(driven.database, "other")
    await driven.database.run(
        "update image set location = 'other.diskdump' where id = %s", (image.id,)
    )
    wanted = Rebuild(image.uuid, {"name": "new name"}, {"new": "y"}, "a password")
    kept: dict[str, bytes] = {}
    put = driven.world.vault.put

    async def note(token: str, secret: bytes, lifetime_seconds: float) -> None:
        kept[token] = secret
        await put(token, secret, lifetime_seconds)

    monkeypatch.setattr(driven.world.vault, "put", note)
    rebuilt = await flow.rebuild(who, uuid, wanted, "r")
    assert (rebuilt.admin_password, rebuilt.image_uuid) == ("a password", image.uuid)
    assert (await driven.row(uuid)).name == "new name"
    assert (await ended(driven, uuid)).state == "succeeded"
    assert await steps(driven, uuid) == [("parameters", "success"), ("install", "success")]
    row = await driven.row(uuid)
    assert (row.image_id, row.state, row.charge) == (image.id, "active", "on")
    metadata = "select key, value from server_metadata where server_id = %s"
    assert [tuple(each) for each in await driven.database.all(metadata, (row.id,))] == [
        ("new", "y")
    ]
    after = await machine(driven, uuid)
    assert after.uuid == before.uuid
    assert after.installed["img_id"] == "other.diskdump"
    assert after.installed["config_url"] != before.installed["config_url"]
    name = after.installed["config_url"].rpartition("/")[2]
    assert json.loads(kept[name])["img_passwd"] == "a password"
    assert await driven.world.vault.take(name) is None  # the operation is over
    assert (await driven.operations(uuid))[-1].arguments.get("config_token") is None


async def test_a_stopped_server_stays_stopped_after_a_rebuild(driven: Cloud) -> None:
    """As it was."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    await flow.stop(who, uuid, "r")
    await driven.settled()
    await flow.rebuild(who, uuid, Rebuild(driven.image.uuid), "r")
    assert (await ended(driven, uuid)).state == "succeeded"
    assert await driven.state(uuid) == ("stopped", "off")
    assert not (await machine(driven, uuid)).running


async def test_a_failed_installation_leaves_the_server_in_error_until_the_next_one(
    driven: Cloud,
) -> None:
    """Its disk holds no whole system; a look at the cluster does not make it well."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    driven.ganeti.misbehave(Misbehavior.FAIL_OS, path="/reinstall", times=1, message="disk full")
    await flow.rebuild(who, uuid, Rebuild(driven.image.uuid), "r")
    operation = await ended(driven, uuid)
    assert operation.state == "failed"
    assert await driven.state(uuid) == ("error", "off")
    assert "disk full" in (await driven.row(uuid)).fault_message
    await look_again(driven, uuid)
    assert await driven.state(uuid) == ("error", "off")
    assert (await refused(Conflict, flow.start(who, uuid, "r"))).reason == "state"
    await flow.rebuild(who, uuid, Rebuild(driven.image.uuid), "r")
    assert (await ended(driven, uuid)).state == "succeeded"
    row = await driven.row(uuid)
    assert (row.state, row.charge, row.fault_message) == ("active", "on", None)


@pytest.mark.parametrize("kind", [Misbehavior.FAIL_JOB, Misbehavior.REFUSE])
async def test_a_rebuild_that_fails_before_the_installation_has_changed_nothing(
    driven: Cloud, kind: Misbehavior
) -> None:
    """The old system runs on; its image is still the old one, and the secrets are dropped."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    image = await builders.an_image(driven.database, "other")
    secrets = repr(driven.world.vault)
    misbehave(driven, kind, "/modify")
    await flow.rebuild(who, uuid, Rebuild(image.uuid), "r")
    assert (await ended(driven, uuid)).state == "failed"
    row = await driven.row(uuid)
    assert (row.state, row.image_id) == ("active", driven.image.id)
    assert repr(driven.world.vault) == secrets


async def test_a_rebuild_is_refused_with_a_sentence(driven: Cloud) -> None:
    """And leaves no secret behind."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    secrets = repr(driven.world.vault)
    nowhere = "00000000-0000-4000-8000-000000000000"
    wide = await builders.an_image(driven.database, min_disk_gib=9)
    hungry = await builders.an_image(driven.database, min_memory_mib=9999)
    theirs = await builders.an_image(
        driven.database, project_id=await builders.a_project(driven.database), visibility="private"
    )
    for wrong in (
        Rebuild(nowhere),
        Rebuild(wide.uuid),
        Rebuild(hungry.uuid),
        Rebuild(theirs.uuid),
        Rebuild(driven.image.uuid, key_name="none", sets_key=True),
    ):
        await refused(BadRequest, flow.rebuild(who, uuid, wrong, "r"))
    assert repr(driven.world.vault) == secrets
    assert len(await driven.operations(uuid)) == 1


# Rescue


async def test_a_server_is_rescued_and_led_back(rescuing: Cloud) -> None:
    """It boots from the image of the configuration, and from its own disk again."""
    flow, who, uuid = rescuing.world.servers, rescuing.who, await rescuing.active()
    assert await flow.rescue(who, uuid, None, "mine", "r") == "mine"
    assert (await ended(rescuing, uuid)).state == "succeeded"
    assert await rescuing.state(uuid) == ("rescued", "on")
    seen = await machine(rescuing, uuid)
    assert seen.hvparams["boot_order"] == "cdrom"
    assert (seen.hvparams["cdrom_image_path"], seen.running) == (ISO, True)
    for change in (flow.stop, flow.start):
        assert (await refused(Conflict, change(who, uuid, "r"))).reason == "state"
    await flow.unrescue(who, uuid, "r")
    assert (await ended(rescuing, uuid)).state == "succeeded"
    assert await rescuing.state(uuid) == ("active", "on")
    seen = await machine(rescuing, uuid)
    assert (seen.hvparams["boot_order"], seen.hvparams["cdrom_image_path"]) == ("disk", "")


async def test_a_stopped_server_is_rescued_if_it_may_run(rescuing: Cloud) -> None:
    """It runs then, and that is charged."""
    flow, who, uuid = rescuing.world.servers, rescuing.who, await rescuing.active()
    await flow.stop(who, uuid, "r")
    await rescuing.settled()
    await rescuing.database.run("update holding set maximum = 0 where resource = %s", (quota.CPU,))
    await refused(OverQuota, flow.rescue(who, uuid, None, None, "r"))
    await rescuing.database.run("update holding set maximum = 9 where resource = %s", (quota.CPU,))
    assert len(await flow.rescue(who, uuid, None, None, "r")) >= 8
    await ended(rescuing, uuid)
    assert await rescuing.state(uuid) == ("rescued", "on")
    assert await rescuing.used(quota.CPU) == 1


async def test_a_rescue_that_cannot_start_is_put_back(rescuing: Cloud) -> None:
    """The machine runs from its own disk again."""
    flow, who, uuid = rescuing.world.servers, rescuing.who, await rescuing.active()
    misbehave(rescuing, Misbehavior.FAIL_JOB, "/startup")
    await flow.rescue(who, uuid, None, None, "r")
    operation = await ended(rescuing, uuid)
    assert (operation.state, operation.reason) == ("failed", "not today")
    assert await rescuing.state(uuid) == ("active", "on")
    assert (await machine(rescuing, uuid)).hvparams["boot_order"] == "disk"


async def test_a_rescue_image_is_the_operator_s(driven: Cloud) -> None:
    """Nobody has the nodes read a file or a URL of their own choice."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    await refused(NotSupported, flow.rescue(who, uuid, None, None, "r"))
    image = await builders.an_image(driven.database, "rescue")
    good = {"location": ISO, "disk_format": "iso", "project_id": None}
    for wrong in (
        {"disk_format": "raw"}, {"location": "image.iso"}, {"location": "file:///etc/shadow"},
        {"project_id": who.project_id}, {"location": None},
    ):  # fmt: skip
        await driven.database.run(
            "update image set location = %(location)s, disk_format = %(disk_format)s,"
            " project_id = %(project_id)s where id = %(id)s",
            {**good, **wrong, "id": image.id},
        )
        await refused(BadRequest, flow.rescue(who, uuid, image.uuid, None, "r"))
    await driven.database.run(
        "update image set location = %s, disk_format = 'iso', project_id = null where id = %s",
        (ISO, image.id),
    )
    await flow.rescue(who, uuid, image.uuid, None, "r")
    await ended(driven, uuid)
    assert (await driven.row(uuid)).rescue_image_id == image.id
    assert (await machine(driven, uuid)).hvparams["cdrom_image_path"] == ISO
    await flow.unrescue(who, uuid, "r")
    await ended(driven, uuid)
    assert (await driven.row(uuid)).rescue_image_id is None


# Around them


async def test_a_locked_server_is_not_changed_by_its_owner(driven: Cloud) -> None:
    """An administrator may."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    flavor = await a_flavor(driven)
    await flow.lock(who, uuid, "kept")
    for change in (
        flow.resize(who, uuid, flavor, "r"),
        flow.rebuild(who, uuid, Rebuild(driven.image.uuid), "r"),
        flow.rescue(who, uuid, None, None, "r"),
        flow.unrescue(who, uuid, "r"),
        flow.confirm_resize(who, uuid),
        flow.revert_resize(who, uuid, "r"),
    ):
        assert (await refused(Conflict, change)).reason == "locked"
    admin = await driven.somebody(ADMIN)
    await flow.resize(admin, uuid, flavor, "r")
    assert (await ended(driven, uuid)).state == "succeeded"


async def test_somebody_else_finds_no_server(driven: Cloud) -> None:
    """Whatever is asked for."""
    flow, uuid, stranger = driven.world.servers, await driven.active(), await driven.somebody()
    for change in (
        flow.resize(stranger, uuid, await a_flavor(driven), "r"),
        flow.rebuild(stranger, uuid, Rebuild(driven.image.uuid), "r"),
        flow.rescue(stranger, uuid, None, None, "r"),
        flow.unrescue(stranger, uuid, "r"),
        flow.confirm_resize(stranger, uuid),
        flow.revert_resize(stranger, uuid, "r"),
        flow.check_action(stranger, uuid, "pause", None),
        flow.suspend(stranger, uuid),
        flow.reset_state(stranger, uuid),
    ):
        await refused(NotFound, change)
    assert len(await driven.operations(uuid)) == 1


async def test_an_administrator_suspends_and_resumes_a_server(driven: Cloud) -> None:
    """Its owner may do nothing meanwhile; the machine runs on."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    admin = await driven.somebody(ADMIN)
    await flow.suspend(admin, uuid)
    await refused(Conflict, flow.suspend(admin, uuid))
    await refused(Forbidden, flow.stop(who, uuid, "r"))
    assert (await machine(driven, uuid)).running
    await flow.resume(admin, uuid)
    await refused(Conflict, flow.resume(admin, uuid))
    await flow.stop(who, uuid, "r")
    await driven.settled()


async def test_a_server_in_error_is_believed_in_again(driven: Cloud) -> None:
    """By an administrator, when its machine is there and nothing is under way."""
    flow, who, uuid = driven.world.servers, driven.who, await driven.active()
    driven.ganeti.misbehave(Misbehavior.FAIL_OS, path="/reinstall", times=1, message="disk full")
    await flow.rebuild(who, uuid, Rebuild(driven.image.uuid), "r")
    admin = await driven.somebody(ADMIN)
    await refused(Conflict, flow.reset_state(admin, uuid))
    await ended(driven, uuid)
    await flow.reset_state(admin, uuid)
    row = await driven.row(uuid)
    assert (row.state, row.charge, row.fault_message) == ("stopped", "off", None)


async def test_what_was_sent_cannot_be_canceled(cloud: Cloud) -> None:
    """What waits can: a creation gives everything back and stays to be read."""
    world = cloud.world
    uuid = await cloud.create()
    (creation,) = await cloud.operations(uuid)
    await cancel(cloud.database, world.keyring, world.vault, creation.id, "Canceled, for once.")
    row = await cloud.row(uuid)
    assert (row.state, row.charge, row.fault_message) == ("error", "none", "Canceled, for once.")
    assert repr(world.vault) == "<MemorySecretStore with 0 secrets>"
    await cloud.check_books()
    again = cancel(cloud.database, world.keyring, world.vault, creation.id, "x")
    assert (await refused(Conflict, again)).reason == "over"
    other = await cloud.create("other")
    (creation,) = await cloud.operations(other)
    await cloud.database.run(
        "update operation set state = 'submitting', submitted_at = now() where id = %s",
        (creation.id,),
    )
    late = cancel(cloud.database, world.keyring, world.vault, creation.id, "x")
    assert (await refused(Conflict, late)).reason == "sent"
    await refused(NotFound, cancel(cloud.database, world.keyring, world.vault, 10**9, "x"))
