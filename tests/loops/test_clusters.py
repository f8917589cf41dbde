"""What drives a cluster: notices of operators, lost wakes, unusable rows, and standing alone."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import globalLogPublisher

from cyclades_tx.ganeti.credentials import SealBroken
from cyclades_tx.loops import drives
from cyclades_tx.loops.clusters import Drive
from cyclades_tx.store import operations
from tests.loops.cloud import Cloud


def drive_of(cloud: Cloud) -> Drive:
    """What drives the only cluster."""
    return cloud.drive_of(cloud.cluster_id)


async def changed(cloud: Cloud) -> None:
    """Say that the cluster's row was changed."""

    async def notify(tx: Any) -> None:
        await tx.notify("cyclades_clusters", str(cloud.cluster_id))

    await cloud.database.transaction(notify, "test")


async def test_a_cluster_taken_offline_is_not_spoken_to_until_it_is_back(driven: Cloud) -> None:
    """What is asked for meanwhile waits."""
    uuid = await driven.active()
    before = drive_of(driven)
    await driven.database.run("update cluster set offline = true")
    await changed(driven)

    async def anew() -> bool:
        return driven.cluster_id in driven.drives._drives and drive_of(driven) is not before

    await driven.until(anew, "it is driven anew")
    jobs = len(driven.ganeti.jobs)
    await driven.world.servers.stop(driven.who, uuid, "r")
    await driven.sleep(0.5)
    assert len(driven.ganeti.jobs) == jobs
    (*_, stop) = await driven.operations(uuid)
    assert "taken offline by an operator" in stop.reason
    await driven.database.run("update cluster set offline = false")
    await changed(driven)
    await driven.settled()
    assert await driven.state(uuid) == ("stopped", "off")


async def test_two_changes_at_once_leave_one_drive(driven: Cloud, monkeypatch: Any) -> None:
    """The second waits for the end of the first, however long that takes."""
    await driven.settled()
    assert driven.drives is not None
    begun: list[Drive] = []
    stopped: list[Drive] = []
    start, stop = Drive.start, Drive.stop

    def noted_start(drive: Drive) -> None:
        begun.append(drive)
        start(drive)

    async def slow_stop(drive: Drive) -> None:
        await driven.sleep(0.2)
        await stop(drive)
        stopped.append(drive)

    monkeypatch.setattr(Drive, "start", noted_start)
    monkeypatch.setattr(Drive, "stop", slow_stop)
    for _ in range(2):
        await driven.database.run(
            "update cluster set credentials_version = credentials_version + 1"
        )
        await changed(driven)
        await driven.sleep(0.05)

    async def quiet() -> bool:
        return bool(begun) and len(begun) == len(stopped)

    await driven.until(quiet, "the last drive has been begun")
    await driven.sleep(0.3)
    assert len(begun) == len(stopped)
    assert drive_of(driven) is begun[-1]
    assert begun[-1] not in stopped


async def test_a_lease_that_is_lost_while_its_drive_is_begun_leaves_none(cloud: Cloud) -> None:
    """Nothing runs on under a lease that is over."""
    await cloud.drive()
    assert cloud.drives is not None and cloud.leases is not None
    (lease,) = cloud.leases._held.values()
    await cloud.settled()
    drive_of(cloud)._polling.stop()
    await cloud.sleep(0.3)
    await cloud.drives.lost(lease)
    gaining = ensureDeferred(cloud.drives.gained(lease))
    await cloud.drives.lost(lease)
    await gaining
    assert cloud.drives.status() == {}


async def test_a_change_of_which_no_word_came_is_found(driven: Cloud, monkeypatch: Any) -> None:
    """The rows are looked at now and then."""
    before = drive_of(driven)
    assert driven.drives is not None
    await driven.database.run("update cluster set credentials_version = credentials_version + 1")
    await driven.drives._check()
    assert drive_of(driven) is not before
    assert drives.CHECK_SECONDS <= 60


async def test_a_lost_wake_costs_a_few_seconds_only(driven: Cloud, monkeypatch: Any) -> None:
    """Open operations are looked through."""

    async def silent(*_: Any) -> None:
        return None

    await driven.settled()
    monkeypatch.setattr(operations, "wake", silent)
    uuid = await driven.create()
    await driven.settled()
    assert await driven.state(uuid) == ("active", "on")


async def test_a_cluster_whose_password_cannot_be_opened_is_told_and_used_no_more(
    cloud: Cloud, logged_errors: Any
) -> None:
    """What waits for it is told why and does not wait for ever."""
    await cloud.database.run("update cluster set rapi_password = 'broken'")
    await cloud.drive()

    async def away() -> bool:
        return await cloud.database.value("select reachable from cluster") is False

    await cloud.until(away, "it is known not to answer")
    await cloud.database.run("update cluster set reachable = true")
    uuid = await cloud.create(networks=())
    await cloud.database.run("update operation set deadline_at = now() + interval '1 second'")
    await cloud.settled()
    row = await cloud.row(uuid)
    assert (row.state, row.charge) == ("error", "none")
    await cloud.check_books()
    logged_errors.flush(SealBroken)
    logged_errors.events = [
        each for each in logged_errors.events if each.get("log_format") != "cluster.unusable"
    ]


async def test_the_numbers_of_a_cluster_are_written_down(driven: Cloud) -> None:
    """For the allocator."""

    async def known() -> Any:
        return await driven.database.first(
            "select * from cluster where statistics_at is not null and reachable"
        )

    row = await driven.until(known, "the numbers are there")
    assert row.memory_total_mib >= row.memory_free_mib > 0
    assert "file" in row.disk_templates


async def test_an_orderly_end_leaves_the_rest_to_the_next_process(make_cloud: Any) -> None:
    """A job that runs is followed by whoever comes next."""
    cloud = make_cloud()
    await cloud.equip(job_seconds=0.3)
    await cloud.drive()
    uuid = await cloud.create()
    await cloud.until_operation(uuid, "submitted")
    await cloud.stop()
    (creation,) = await cloud.operations(uuid)
    assert creation.finished_at is None
    await cloud.drive()
    await cloud.settled()
    assert await cloud.state(uuid) == ("active", "on")
    assert len(cloud.ganeti.instances) == 1
    await cloud.check_books()


async def test_no_loop_begins_anything_while_another_ends(driven: Cloud, monkeypatch: Any) -> None:
    """A turn may take as long as a slow cluster."""
    await driven.settled()
    drive = drive_of(driven)
    hold: Deferred[None] = Deferred()

    async def slow(_server_id: int) -> None:
        await hold

    monkeypatch.setattr(drive.servers, "_turn", slow)
    drive.servers.wake(1)
    stopping = ensureDeferred(drive.stop())

    async def waits() -> bool:
        return drive.servers._stopped

    await driven.until(waits, "the turn of a server is waited for")
    loops = (drive.networks, drive.volumes)
    turns = [loop.turns for loop in loops]
    for loop in loops:
        loop.wake(1)
    assert [loop.turns for loop in loops] == turns
    assert not stopping.called
    hold.callback(None)
    await stopping


async def test_a_late_word_of_a_former_driver_changes_nothing(driven: Cloud) -> None:
    """It thinks that nothing was sent; the new driver knows the job."""
    uuid = await driven.active()
    row = await driven.row(uuid)
    await driven.stop()
    await driven.world.servers.reboot(driven.who, uuid, True, "r")
    (reboot,) = await operations.open_of_server(driven.database, row.id)
    database = driven.database
    assert await operations.mark_submitting(database, reboot, "reboot", 0)
    await operations.mark_submitted(database, reboot.id, "reboot", 0, 77)
    await operations.mark_unsent(database, reboot.id, "pending", "late", 1.0)
    (now,) = await operations.open_of_server(database, row.id)
    assert (now.state, now.job_id) == ("submitted", 77)
    assert not await operations.mark_submitting(database, reboot, "reboot", 0)


async def test_a_cluster_with_another_name_is_neither_believed_nor_changed(
    driven: Cloud, logged_errors: Any
) -> None:
    """Its address leads elsewhere: until an operator mends it, it does not answer."""
    uuid = await driven.active()
    name = driven.instance(await driven.row(uuid))
    (parts,) = driven.ganeti.instances.values()
    driven.ganeti.name = "other.example.org"
    driven.ganeti.by_hand.remove(name)
    await driven.database.run("update cluster set credentials_version = credentials_version + 1")
    before = drive_of(driven)
    await changed(driven)

    async def away() -> bool:
        row = await driven.database.first("select reachable, unreachable_reason from cluster")
        return not row.reachable and "calls itself other.example.org" in row.unreachable_reason

    await driven.until(away, "it counts as not answering")
    assert drive_of(driven) is not before
    jobs = len(driven.ganeti.jobs)
    await driven.world.servers.stop(driven.who, uuid, "r")

    async def told() -> bool:
        return "calls itself" in (await driven.operations(uuid))[-1].reason

    await driven.until(told, "the operation says why it waits")
    await driven.sleep(0.3)
    assert await driven.state(uuid) == ("active", "on")
    assert len(driven.ganeti.jobs) == jobs
    driven.ganeti.by_hand.put_all([parts])
    driven.ganeti.name = "c1"
    await driven.settled()
    assert await driven.state(uuid) == ("stopped", "off")


async def test_a_cluster_that_changes_its_name_is_found_out(driven: Cloud) -> None:
    """With the next look at its numbers."""
    uuid = await driven.active()
    driven.ganeti.name = "other.example.org"
    await driven.database.run("update cluster set statistics_at = null")

    async def away() -> bool:
        return await driven.database.value("select reachable from cluster") is False

    await driven.until(away, "it counts as not answering")
    driven.ganeti.by_hand.remove(driven.instance(await driven.row(uuid)))
    await driven.sleep(0.5)
    assert await driven.state(uuid) == ("active", "on")


@pytest.mark.parametrize(
    "body", ["<html>It works!</html>", "{}", "[]", "null"], ids=["page", "object", "list", "null"]
)
async def test_answers_that_make_no_sense_are_a_cluster_that_is_away(
    driven: Cloud, body: str
) -> None:
    """Told once; what was asked for is done once, when the cluster is itself again."""
    await driven.settled()
    told: list[str] = []
    asked: list[str] = []
    take = driven.ganeti.behaviors.take

    def noted_take(*request: Any) -> Any:
        asked.append(request[0])
        return take(*request)

    def keep(event: dict[str, Any]) -> None:
        if event.get("log_format") == "cluster.lost":
            told.append(event["reason"])

    async def away() -> bool:
        row = await driven.database.first("select reachable, unreachable_reason from cluster")
        return not row.reachable and len(asked) > 10

    driven.ganeti.behaviors.take = noted_take  # type: ignore[method-assign]
    globalLogPublisher.addObserver(keep)
    try:
        uuid = await driven.create()
        driven.ganeti.misbehave("garbage", message=body)
        await driven.until(away, "it is known to be away")
    finally:
        globalLogPublisher.removeObserver(keep)
    driven.ganeti.behave()
    await driven.settled()
    assert await driven.state(uuid) == ("active", "on")
    assert len(told) == 1
    created = [job for job in driven.ganeti.jobs.values() if "INSTANCE_CREATE" in job.summary[0]]
    assert len(created) == 1
