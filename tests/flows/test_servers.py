"""A server's life: what flows write down, loops make true, and the books stay right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NoCapacity, NotFound, OverQuota
from cyclades_tx.ganeti.simulator import Misbehavior
from cyclades_tx.model import quota
from cyclades_tx.model.server import NewServer, WantedNic
from cyclades_tx.model.who import ADMIN
from cyclades_tx.store import operations
from tests.loops.cloud import Cloud, refused


async def test_a_server_lives(driven: Cloud) -> None:
    """Made, stopped, started, booted again both ways, and gone; the books are right all along."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active()
    name = driven.instance(await driven.row(uuid))
    assert driven.ganeti.status(name) == "running"
    await driven.check_books()
    assert await driven.used(quota.CPU) == 1

    await flow.stop(who, uuid, "req-2")
    await driven.settled()
    assert await driven.state(uuid) == ("stopped", "off")
    assert driven.ganeti.status(name) == "ADMIN_down"
    assert (await driven.used(quota.CPU), await driven.used(quota.TOTAL_CPU)) == (0, 1)
    await driven.check_books()

    await flow.start(who, uuid, "req-3")
    await driven.settled()
    assert await driven.state(uuid) == ("active", "on")
    for hard in (False, True):
        await flow.reboot(who, uuid, hard, "req-4")
        await driven.settled()
        assert await driven.state(uuid) == ("active", "on")
    await driven.check_books()

    await flow.delete(who, uuid, "req-5")
    await driven.settled()
    assert await driven.state(uuid) == ("deleted", "none")
    assert driven.ganeti.instances == {}
    assert await driven.used(quota.VM) == 0
    await driven.check_books()
    done = [(each.kind, each.state) for each in await driven.operations(uuid)]
    assert done == [
        (kind, "succeeded") for kind in ("create", "stop", "start", "reboot", "reboot", "delete")
    ]


async def test_a_creation_leaves_no_token_behind(driven: Cloud) -> None:
    """Its sealed reference goes with the operation's end."""
    uuid = await driven.active()
    (creation,) = await driven.operations(uuid)
    assert creation.arguments == {}
    assert creation.progress == 100


async def test_a_creation_over_quota_names_what_is_short_and_writes_nothing(cloud: Cloud) -> None:
    """Before anything is allocated."""
    await cloud.database.run("update holding set maximum = 0 where resource = %s", (quota.RAM,))
    error = await refused(OverQuota, cloud.create())
    assert [each.resource for each in error.shortages] == [quota.RAM]
    assert await cloud.database.value("select count(*) from server") == 0
    await cloud.check_books()


async def test_a_creation_that_fits_nowhere_has_each_cluster_s_reason(make_cloud: Any) -> None:
    """Users by its kind; those who run the cloud by name, with figures."""
    cloud = make_cloud()
    await cloud.equip(clusters=2)
    first, second = cloud.ganetis
    await cloud.database.run("update cluster set drained = true where id = %s", (first,))
    await cloud.database.run(
        "update cluster set memory_total_mib = 100, memory_free_mib = 7, disk_free_mib = 99999"
        " where id = %s",
        (second,),
    )
    error = await refused(NoCapacity, cloud.create())
    assert error.message == (
        "No valid host was found (clusters take no servers at the moment; not enough memory is"
        " free)."
    )
    assert "c1: it is drained" in error.inside
    assert "c2: 7 MiB of memory are free" in error.inside
    # Beyond the quota as well it fails for that: its owner can do something about it.
    await cloud.database.run("update holding set maximum = 0 where resource = %s", (quota.RAM,))
    await refused(OverQuota, cloud.create())
    assert await cloud.database.value("select count(*) from server") == 0


async def test_a_cluster_without_room_after_all_tells_no_names(driven: Cloud) -> None:
    """Its owner reads the kind of it; what Ganeti's allocator said is kept for operators."""
    for name in list(driven.ganeti.inventory.nodes):
        driven.ganeti.set_node(name, drained=True)
    uuid = await driven.create()
    await driven.until_state(uuid, "error", "none")
    said = "No valid host was found (not enough resources are free)."
    assert (await driven.row(uuid)).fault_message == said
    (creation,) = await driven.operations(uuid)
    assert creation.reason == said
    assert "hail" in creation.arguments["inside"]
    steps = await driven.database.all("select message from operation_step order by started_at")
    assert said in {step.message for step in steps} <= {said, ""}
    await driven.check_books()


async def test_of_many_servers_all_that_are_needed_are_made_or_none(cloud: Cloud) -> None:
    """Five fit; who needs six gets none, and who would be glad of six gets five."""
    new = NewServer(
        "s", cloud.flavor.uuid, cloud.image.uuid, (WantedNic(cloud.network),), min_count=6,
        max_count=6,
    )  # fmt: skip
    await refused(OverQuota, cloud.world.servers.create(cloud.who, new, "req-1"))
    live = "select count(*) from server where deleted_at is null"
    assert await cloud.database.value(live) == 0
    assert repr(cloud.world.vault) == "<MemorySecretStore with 0 secrets>"
    await cloud.check_books()
    created = await cloud.world.servers.create(cloud.who, replace(new, min_count=1), "req-1")
    assert len(created.uuids) == 5
    assert await cloud.database.value(live) == 5
    await cloud.check_books()


async def test_many_servers_are_spread_over_the_clusters(make_cloud: Any) -> None:
    """Each is placed by what the one before has left."""
    cloud = make_cloud()
    await cloud.equip(clusters=2)
    await cloud.database.run(
        "update cluster set memory_total_mib = 4096, memory_free_mib = 4096,"
        " disk_total_mib = 40960, disk_free_mib = 40960, cpus = 64"
    )
    new = NewServer("s", cloud.flavor.uuid, cloud.image.uuid, (), min_count=4, max_count=4)
    await cloud.world.servers.create(cloud.who, new, "req-1")
    rows = await cloud.database.all("select count(*) from server group by cluster_id")
    assert [tuple(row) for row in rows] == [(2,), (2,)]


async def test_another_change_while_one_is_open_is_a_conflict(driven: Cloud) -> None:
    """And a change that the state does not allow is one too."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active()
    assert (await refused(Conflict, flow.start(who, uuid, "r"))).reason == "state"
    driven.ganeti.queue._seconds = {"default": 1.0}
    await flow.stop(who, uuid, "r")
    for change in (flow.stop, flow.start):
        assert (await refused(Conflict, change(who, uuid, "r"))).reason == "busy"
    assert (await refused(Conflict, flow.reboot(who, uuid, True, "r"))).reason == "busy"
    await driven.settled()


async def test_a_pending_creation_is_deleted_at_once(cloud: Cloud) -> None:
    """Nothing was sent, so everything is given back in the same moment, its secrets too."""
    uuid = await cloud.create()
    await cloud.world.servers.delete(cloud.who, uuid, "req-2")
    assert await cloud.state(uuid) == ("deleted", "none")
    ends = [(each.kind, each.state) for each in await cloud.operations(uuid)]
    assert ends == [("create", "canceled"), ("delete", "succeeded")]
    assert await cloud.used(quota.VM) == 0
    assert repr(cloud.world.vault) == "<MemorySecretStore with 0 secrets>"
    await cloud.check_books()
    await cloud.drive()
    await cloud.settled()
    assert cloud.ganeti.instances == {}


async def test_a_creation_that_is_just_being_sent_is_not_canceled(cloud: Cloud) -> None:
    """The delete waits for the loop's mark and follows the creation, instead of forgetting it."""
    uuid = await cloud.create()
    (creation,) = await operations.open_of_server(cloud.database, (await cloud.row(uuid)).id)
    deletions = []

    async def loop(tx: Any) -> None:
        assert await operations.mark_submitting(tx, creation, "create", 0)
        deletions.append(ensureDeferred(cloud.world.servers.delete(cloud.who, uuid, "req-2")))
        await cloud.sleep(0.3)

    await cloud.database.transaction(loop, "test")
    await deletions[0]
    states = [(each.kind, each.state) for each in await cloud.operations(uuid)]
    assert states == [("create", "submitting"), ("delete", "pending")]


async def test_a_delete_follows_a_creation_that_runs(make_cloud: Any) -> None:
    """It is accepted at once, waits, and leaves nothing."""
    cloud = make_cloud()
    await cloud.equip(job_seconds=0.5)
    await cloud.drive()
    uuid = await cloud.create()
    await cloud.until_operation(uuid, "submitted")
    await cloud.world.servers.delete(cloud.who, uuid, "req-2")
    await cloud.world.servers.delete(cloud.who, uuid, "req-3")
    await cloud.settled()
    assert await cloud.state(uuid) == ("deleted", "none")
    assert cloud.ganeti.instances == {}
    assert len(await cloud.operations(uuid)) == 2
    await cloud.check_books()


async def test_a_delete_may_wait_for_the_whole_time_of_what_it_follows(cloud: Cloud) -> None:
    """Its own time begins when that one's ends."""
    uuid = await cloud.create()
    await cloud.database.run("update operation set state = 'submitted', job_id = 7")
    await cloud.world.servers.delete(cloud.who, uuid, "req-2")
    creation, deletion = await cloud.operations(uuid)
    section = cloud.world.config.operations
    seconds = (deletion.deadline_at - creation.deadline_at).total_seconds()
    assert seconds == pytest.approx(section.delete_deadline_seconds, abs=1)


@pytest.mark.parametrize("kind", [Misbehavior.FAIL_JOB, Misbehavior.FAIL_OS])
async def test_a_failed_creation_is_cleaned_away_and_explained(
    driven: Cloud, kind: Misbehavior
) -> None:
    """The server stays for its owner to read, holds nothing, and nothing is at the cluster."""
    await driven.settled()
    driven.ganeti.misbehave(kind, name="snf-[0-9]", methods=("POST",), message="no such thing")
    uuid = await driven.create()
    await driven.settled()
    row = await driven.row(uuid)
    assert (row.state, row.charge) == ("error", "none")
    assert "no such thing" in row.fault_message
    assert driven.ganeti.instances == {}
    assert await driven.used(quota.VM) == 0
    await driven.check_books()
    await driven.world.servers.delete(driven.who, uuid, "r")
    assert await driven.state(uuid) == ("deleted", "none")


@pytest.mark.parametrize(
    "kind", [Misbehavior.DROP_REPLY, Misbehavior.GATEWAY_TIMEOUT_AFTER, Misbehavior.GO_AWAY]
)
async def test_a_lost_answer_leaves_exactly_one_instance(driven: Cloud, kind: Misbehavior) -> None:
    """Whether the request was carried out or not."""
    await driven.settled()
    driven.ganeti.misbehave(kind, name="snf-[0-9]", methods=("POST",), times=1)
    uuid = await driven.active()
    assert list(driven.ganeti.instances) == [driven.instance(await driven.row(uuid))]
    creates = [
        job for job in driven.ganeti.jobs.values() if job.summary[0].startswith("INSTANCE_CREATE")
    ]
    assert len(creates) == 1
    await driven.check_books()


async def test_a_reboot_with_a_lost_answer_happens_once(driven: Cloud) -> None:
    """The job is found in the queue by its reason."""
    uuid = await driven.active()
    driven.ganeti.misbehave(Misbehavior.DROP_REPLY, methods=("POST",), times=1)
    await driven.world.servers.reboot(driven.who, uuid, True, "r")
    await driven.settled()
    reboots = [job for job in driven.ganeti.jobs.values() if "REBOOT" in job.summary[0]]
    assert len(reboots) == 1
    assert (await driven.operations(uuid))[-1].state == "succeeded"


async def test_a_refused_creation_fails_with_the_cluster_s_words(driven: Cloud) -> None:
    """And holds nothing."""
    await driven.settled()
    driven.ganeti.misbehave(
        Misbehavior.REFUSE, name="snf-[0-9]", methods=("POST",), status=400, message="not like this"
    )
    uuid = await driven.create()
    await driven.settled()
    row = await driven.row(uuid)
    assert (row.state, row.charge) == ("error", "none")
    assert "not like this" in row.fault_message
    await driven.check_books()


async def test_a_cluster_that_takes_no_jobs_is_asked_again(driven: Cloud) -> None:
    """The reason for the wait stands in the operation."""
    await driven.active("first")
    driven.ganeti.drain_queue()
    uuid = await driven.create()

    async def told() -> bool:
        (creation,) = await driven.operations(uuid)
        return creation.state == "pending" and "did not take the job" in creation.reason

    await driven.until(told, "the reason is written down")
    driven.ganeti.drain_queue(False)
    await driven.settled()
    assert await driven.state(uuid) == ("active", "on")


async def test_a_cluster_that_goes_away_and_comes_back_heals(driven: Cloud) -> None:
    """What was asked for meanwhile is done then."""
    uuid = await driven.active()
    driven.ganeti.misbehave(Misbehavior.GO_AWAY)
    await driven.world.servers.stop(driven.who, uuid, "r")

    async def lost() -> bool:
        return await driven.database.value("select reachable from cluster") is False

    await driven.until(lost, "the cluster is known to be away")
    error = await refused(NoCapacity, driven.create())
    assert "it does not answer at the moment" in error.inside
    driven.ganeti.behave()
    await driven.settled()
    assert await driven.state(uuid) == ("stopped", "off")
    await driven.check_books()


async def test_an_instance_removed_by_hand_ends_as_deleted(driven: Cloud) -> None:
    """Quota and addresses are free again."""
    uuid = await driven.active()
    driven.ganeti.drop_instance(driven.instance(await driven.row(uuid)))
    await driven.until_state(uuid, "deleted", "none")
    assert await driven.used(quota.VM) == 0
    await driven.check_books()


async def test_an_instance_stopped_by_hand_gives_running_cpu_and_memory_back(
    driven: Cloud,
) -> None:
    """As if its owner had stopped it."""
    uuid = await driven.active()
    driven.ganeti.stop_by_hand(driven.instance(await driven.row(uuid)))
    await driven.until_state(uuid, "stopped", "off")
    assert (await driven.used(quota.RAM), await driven.used(quota.VM)) == (0, 1)
    await driven.check_books()


async def test_a_creation_whose_secrets_are_gone_fails_with_the_sentence(cloud: Cloud) -> None:
    """As after a restart of a process that kept them in memory."""
    uuid = await cloud.create()
    cloud.world.vault.close()
    await cloud.drive()
    await cloud.settled()
    row = await cloud.row(uuid)
    assert (row.state, row.charge) == ("error", "none")
    assert "secrets of this server were lost" in row.fault_message
    assert cloud.ganeti.instances == {}
    await cloud.check_books()


async def test_a_network_is_made_on_the_cluster_on_demand(driven: Cloud) -> None:
    """The creation waits for it and says so."""
    uuid = await driven.active()
    row = await driven.row(uuid)
    network_id = await driven.database.value(
        "select network_id from port where server_id = %s", (row.id,)
    )
    name = driven.world.names.network(network_id)
    assert driven.ganeti.networks[name].groups
    nics = driven.ganeti.instances[driven.instance(row)].nics
    assert [nic.network for nic in nics] == [name]
    states = await driven.database.all("select state from cluster_network")
    assert [each.state for each in states] == ["active"]


async def test_a_network_that_cannot_be_made_fails_the_creation_with_its_reason(
    driven: Cloud,
) -> None:
    """Nothing is held, and a later creation tries again."""
    driven.ganeti.misbehave(Misbehavior.FAIL_JOB, name="snf-net-", message="no bridge")
    uuid = await driven.create()
    await driven.settled()
    row = await driven.row(uuid)
    assert (row.state, row.charge) == ("error", "none")
    assert "no bridge" in row.fault_message
    await driven.check_books()
    driven.ganeti.behave()
    await driven.active("second")


SHORT = """
create_deadline_seconds = 1.0
delete_deadline_seconds = 1.0
stop_deadline_seconds = 1.0
other_deadline_seconds = 30.0
"""


async def test_a_deadline_ends_a_creation_that_was_never_sent(make_cloud: Any) -> None:
    """Nothing can have come of it, so nothing is held."""
    cloud = make_cloud(SHORT)
    await cloud.equip()
    await cloud.drive()
    await cloud.active("first")
    cloud.ganeti.drain_queue()
    uuid = await cloud.create()
    await cloud.settled()
    row = await cloud.row(uuid)
    assert (row.state, row.charge) == ("error", "none")
    assert "Not begun before its deadline" in row.fault_message
    await cloud.check_books()


async def test_a_deadline_ends_a_creation_of_which_nobody_knows_and_a_look_settles_it(
    make_cloud: Any,
) -> None:
    """It is charged as long as the cluster is silent, and not when it says that it has none."""
    cloud = make_cloud(SHORT)
    await cloud.equip()
    await cloud.drive()
    await cloud.active("first")
    cloud.ganeti.misbehave(Misbehavior.GO_AWAY)
    uuid = await cloud.create()
    await cloud.database.run(
        "update operation set state = 'submitting', step = 'create', submitted_at = now()"
        " where finished_at is null"
    )
    await cloud.settled()
    assert await cloud.state(uuid) == ("error", "on")
    await cloud.check_books()
    cloud.ganeti.behave()
    await cloud.until_state(uuid, "error", "none")
    await cloud.check_books()


async def test_a_creation_whose_job_outlives_its_deadline_is_not_forgotten(
    make_cloud: Any,
) -> None:
    """As long as the job runs nothing is given back, and a delete waits for it."""
    cloud = make_cloud(SHORT.replace("delete_deadline_seconds = 1.0", ""))
    await cloud.equip()
    await cloud.drive()
    await cloud.active("first")
    cloud.ganeti.queue._seconds = {"default": 0.02, "OP_INSTANCE_CREATE": 4.0}
    uuid = await cloud.create()
    await cloud.until_state(uuid, "error", "on")
    if (await cloud.operations(uuid))[-1].kind == "create":
        await cloud.world.servers.delete(cloud.who, uuid, "r")
    assert await cloud.state(uuid) == ("error", "on")
    await cloud.settled()
    assert await cloud.state(uuid) == ("deleted", "none")
    await cloud.until(_queue_rests(cloud), "every job has ended")
    assert len(cloud.ganeti.instances) == 1
    await cloud.check_books()


def _queue_rests(cloud: Cloud) -> Any:
    async def rests() -> bool:
        return cloud.ganeti.queue.idle

    return rests


async def test_a_deadline_ends_a_stop_that_the_cluster_does_not_manage(make_cloud: Any) -> None:
    """The server rests where it is seen, and may be asked again."""
    cloud = make_cloud(SHORT.replace("create_deadline_seconds = 1.0", ""))
    await cloud.equip()
    await cloud.drive()
    uuid = await cloud.active()
    cloud.ganeti.queue._seconds = {"default": 3.0}
    await cloud.world.servers.stop(cloud.who, uuid, "r")
    await cloud.settled()
    (*_, stop) = await cloud.operations(uuid)
    assert (stop.state, await cloud.state(uuid)) == ("failed", ("active", "on"))
    assert "did not end before the deadline" in stop.reason
    await cloud.until_state(uuid, "stopped", "off")
    await cloud.check_books()


async def test_a_delete_that_keeps_failing_is_not_sent_in_a_rush(make_cloud: Any) -> None:
    """It is tried again after longer and longer pauses, until its deadline."""
    cloud = make_cloud("delete_deadline_seconds = 5.0\n")
    await cloud.equip()
    await cloud.drive()
    uuid = await cloud.active()
    cloud.ganeti.misbehave(Misbehavior.FAIL_JOB, methods=("DELETE",), message="node is down")
    await cloud.world.servers.delete(cloud.who, uuid, "r")
    await cloud.settled()
    (*_, deletion) = await cloud.operations(uuid)
    assert (deletion.state, deletion.reason) == ("failed", "node is down")
    assert await cloud.state(uuid) == ("active", "on")
    removes = [job for job in cloud.ganeti.jobs.values() if "REMOVE" in job.summary[0]]
    assert 2 <= len(removes) <= 4
    await cloud.check_books()


async def test_what_may_have_been_sent_once_is_never_taken_for_unsent(driven: Cloud) -> None:
    """A second try that surely was not sent does not make the first one unsent."""
    uuid = await driven.active()
    driven.ganeti.drain_queue()
    await driven.world.servers.reboot(driven.who, uuid, True, "r")
    await driven.until_operation(uuid, "pending")
    await driven.stop()
    await driven.database.run(
        "update operation set state = 'submitting', step = 'reboot', failures = 0,"
        " submitted_at = now() - interval '1 minute' where finished_at is null"
    )
    await driven.drive()
    seen = set()

    async def tried() -> bool:
        newest = (await driven.operations(uuid))[-1]
        seen.add(newest.state)
        return newest.failures >= 2

    await driven.until(tried, "it was tried again")
    assert seen == {"submitting"}
    driven.ganeti.drain_queue(False)
    await driven.settled()
    await driven.check_books()


async def test_a_delete_waits_for_a_creation_that_was_given_up_and_may_still_come(
    make_cloud: Any,
) -> None:
    """The cluster has no instance yet, and a job that will make one."""
    cloud = make_cloud(SHORT.replace("delete_deadline_seconds = 1.0", ""))
    await cloud.equip()
    await cloud.drive()
    await cloud.active("first")
    cloud.ganeti.queue._most_running = 0
    cloud.ganeti.misbehave(Misbehavior.REFUSE, methods=("DELETE",), message="not now")
    uuid = await cloud.create()
    await cloud.until_state(uuid, "error", "on")
    await cloud.sleep(0.5)
    await cloud.world.servers.delete(cloud.who, uuid, "r")
    await cloud.sleep(0.5)
    assert await cloud.state(uuid) == ("error", "on")
    await cloud.check_books()
    cloud.ganeti.behave()
    cloud.ganeti.queue._most_running = 20
    cloud.ganeti.queue._start_what_can()
    await cloud.settled()
    assert await cloud.state(uuid) == ("deleted", "none")
    assert len(cloud.ganeti.instances) == 1
    await cloud.check_books()


async def test_strangers_readers_and_the_locked_out_change_nothing(driven: Cloud) -> None:
    """By UUID, in every way."""
    flow, owner = driven.world.servers, driven.who
    uuid = await driven.active()
    stranger = await driven.somebody()
    for call in (
        flow.delete(stranger, uuid, "r"),
        flow.stop(stranger, uuid, "r"),
        flow.reboot(stranger, uuid, True, "r"),
        flow.update(stranger, uuid, {"name": "mine"}),
        flow.set_metadata(stranger, uuid, {"a": "b"}, False),
        flow.lock(stranger, uuid, None),
        flow.delete(owner, "nothing", "r"),
    ):
        await refused(NotFound, call)
    await flow.lock(owner, uuid, "mine")
    assert (await refused(Conflict, flow.stop(owner, uuid, "r"))).reason == "locked"
    assert (await refused(Conflict, flow.delete(owner, uuid, "r"))).reason == "locked"
    await flow.unlock(owner, uuid)
    await driven.database.run("update server set suspended = true")
    for call in (flow.stop(owner, uuid, "r"), flow.delete(owner, uuid, "r")):
        await refused(Forbidden, call)
    admin = await driven.somebody(ADMIN)
    await flow.stop(admin, uuid, "r")
    await driven.settled()
    assert await driven.state(uuid) == ("stopped", "off")
    assert await quota_used(driven, admin.project_id) == 0
    await driven.check_books()


async def test_what_an_administrator_has_locked_stays_locked_for_its_owner(driven: Cloud) -> None:
    """As in Nova: neither unlocked nor locked anew; the owner's own lock an administrator ends."""
    flow, owner = driven.world.servers, driven.who
    uuid = await driven.active()
    admin = await driven.somebody(ADMIN)
    assert admin.project_id != owner.project_id

    async def locks() -> tuple[bool, bool, str | None]:
        row = await driven.database.first(
            "select locked, locked_by_admin, locked_reason from server where uuid = %s", (uuid,)
        )
        return row.locked, row.locked_by_admin, row.locked_reason

    await flow.lock(admin, uuid, "maintenance")
    await refused(Forbidden, flow.unlock(owner, uuid))
    await flow.lock(owner, uuid, "mine")
    assert await locks() == (True, True, "maintenance")
    await flow.unlock(admin, uuid)
    assert await locks() == (False, False, None)
    await flow.lock(owner, uuid, "mine")
    assert await locks() == (True, False, "mine")
    await flow.unlock(admin, uuid)
    assert await locks() == (False, False, None)


async def quota_used(cloud: Cloud, project_id: str | None) -> int:
    """The sum of everything that a project uses."""
    found: int = await cloud.database.value(
        "select sum(used)::bigint from holding where project_id = %s", (project_id,)
    )
    return found


async def test_a_start_needs_quota_and_a_hard_reboot_of_a_stopped_server_too(
    driven: Cloud,
) -> None:
    """Running CPUs may be used by others meanwhile."""
    flow, who = driven.world.servers, driven.who
    uuid = await driven.active()
    await flow.stop(who, uuid, "r")
    await driven.settled()
    await driven.database.run("update holding set maximum = 0 where resource = %s", (quota.CPU,))
    await refused(OverQuota, flow.start(who, uuid, "r"))
    await refused(OverQuota, flow.reboot(who, uuid, True, "r"))
    await refused(Conflict, flow.reboot(who, uuid, False, "r"))
    await driven.database.run("update holding set maximum = 1 where resource = %s", (quota.CPU,))
    await flow.reboot(who, uuid, True, "r")
    await driven.settled()
    assert await driven.state(uuid) == ("active", "on")
    await driven.check_books()


@pytest.mark.parametrize(
    "wanted",
    [
        {"key_name": "none"},
        {"availability_zone": "nowhere"},
        {"security_groups": ("none",)},
        {"networks": (WantedNic("none"),)},
        {"networks": (WantedNic(port_ref="none"),)},
        {"cluster_id": 10**6},
        {"min_count": 2, "max_count": 1},
    ],
)
async def test_a_wish_that_cannot_be_understood_writes_nothing(
    cloud: Cloud, wanted: dict[str, Any]
) -> None:
    """Neither rows nor secrets."""
    await refused(BadRequest, cloud.create(**wanted))
    assert await cloud.database.value("select count(*) from server") == 0
    assert repr(cloud.world.vault) == "<MemorySecretStore with 0 secrets>"


async def test_twenty_at_once_are_all_made_and_all_deleted(make_cloud: Any) -> None:
    """Over two clusters, with deletes that cross the creations."""
    cloud = make_cloud()
    await cloud.equip(clusters=2)
    await cloud.database.run("update holding set maximum = null")
    await cloud.drive()
    asked = [ensureDeferred(cloud.create(f"s{number}")) for number in range(20)]
    uuids = [await each for each in asked]
    for uuid in uuids[::2]:
        await cloud.world.servers.delete(cloud.who, uuid, "r")
    await cloud.settled()
    kept = {cloud.instance(await cloud.row(uuid)) for uuid in uuids[1::2]}
    there = [name for ganeti in cloud.ganetis.values() for name in ganeti.instances]
    assert sorted(there) == sorted(kept)
    await cloud.check_books()


def test_what_a_new_server_holds_is_not_shown() -> None:
    """Neither in a log nor in a traceback."""
    new = NewServer("s", "f", admin_password="hunter2", user_data=b"hunter2")
    assert "hunter2" not in repr(new)
