"""What messages wake: looks at servers, and the ends of our own jobs, in a whole cloud.

Its polls are so slow that no test would see their effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.loops import looks as looks_module
from cyclades_tx.model.fact import JobFact, furthest
from cyclades_tx.model.job import JobStatus
from cyclades_tx.store import facts, operations
from tests.loops import cloud as cloud_module
from tests.loops.cloud import Cloud

FAST = "poll_active_seconds = 0.05\npoll_idle_seconds = 0.15\n"
SLOW = "poll_active_seconds = 60.0\npoll_idle_seconds = 120.0\n"
SOON_SECONDS = 30.0


@pytest_twisted.async_fixture
async def slow(make_cloud: Callable[..., Cloud], monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A driven cloud that polls once, at the start."""
    assert FAST in cloud_module.CONFIG
    monkeypatch.setattr(cloud_module, "CONFIG", cloud_module.CONFIG.replace(FAST, SLOW))
    made = make_cloud()
    await made.equip()
    await made.drive()
    return made


async def tell(
    cloud: Cloud, server_id: int, job_id: int, status: str = "success", cluster: str = ""
) -> int:
    """Let a message about a server's instance come in; say how many facts were kept."""
    fact = JobFact(
        cluster=cluster or cloud.ganeti.name,
        job_id=job_id,
        opcode="OP_INSTANCE_STARTUP",
        subject=f"o{server_id}",
        subject_id=server_id,
        status=JobStatus(status),
    )
    kept: int = await cloud.database.transaction(
        lambda tx: facts.record(tx, furthest([fact])), "facts.record"
    )
    return kept


async def tell_of_jobs(cloud: Cloud) -> None:
    """Tell of the job of each open operation when it has ended, until there is none."""
    cluster = cloud.drive_of(cloud.cluster_id).work.cluster
    told: set[int] = set()

    async def done() -> bool:
        rows = await cloud.database.all(
            "select server_id, network_id, job_id from operation where finished_at is null"
        )
        for row in rows:
            if row.job_id is None or row.job_id in told:
                continue
            job = (await cluster.jobs((row.job_id,)))[row.job_id]
            if job.status.final:
                told.add(row.job_id)
                subject = f"n{row.network_id}" if row.server_id is None else f"o{row.server_id}"
                number = row.server_id if row.network_id is None else row.network_id
                fact = JobFact(cloud.ganeti.name, row.job_id, "OP_ANY", subject, number, job.status)
                await cloud.database.transaction(lambda tx, f=fact: facts.record(tx, [f]), "x")
        return not rows

    await cloud.until(done, "every operation has ended")


async def active(cloud: Cloud) -> Any:
    """The row of a server that runs."""
    uuid = await cloud.create()
    await tell_of_jobs(cloud)
    row = await cloud.row(uuid)
    assert (row.state, row.charge) == ("active", "on"), row
    return row


def questions(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The questions for instances that the cluster is asked from now on."""
    cluster = cloud.drive_of(cloud.cluster_id).work.cluster
    asked: list[tuple[str, ...]] = []
    ask = cluster.instances

    async def counted(names: tuple[str, ...]) -> Any:
        asked.append(names)
        return await ask(names)

    monkeypatch.setattr(cluster, "instances", counted)
    return asked


async def test_our_own_jobs_end_by_messages(slow: Cloud) -> None:
    """A server lives from its creation to its end without a poll."""
    row = await active(slow)
    assert slow.drive_of(slow.cluster_id).work.watch.told
    await slow.world.servers.stop(slow.who, str(row.uuid), "r")
    await tell_of_jobs(slow)
    assert await slow.state(str(row.uuid)) == ("stopped", "off")
    await slow.world.servers.delete(slow.who, str(row.uuid), "r")
    await tell_of_jobs(slow)
    assert await slow.state(str(row.uuid)) == ("deleted", "none")
    await slow.check_books()


async def test_what_an_administrator_does_is_seen_at_once(
    slow: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one question to the cluster."""
    row = await active(slow)
    asked = questions(slow, monkeypatch)
    slow.ganeti.by_hand.stop(slow.instance(row))
    await tell(slow, row.id, 1001)
    await slow.until_state(str(row.uuid), "stopped", "off")
    assert asked == [(slow.instance(row),)]
    slow.ganeti.by_hand.remove(slow.instance(row))
    await tell(slow, row.id, 1002)
    await slow.until_state(str(row.uuid), "deleted", "none")
    await slow.check_books()


async def test_a_message_without_a_change_costs_no_turn_and_no_write(
    slow: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instance is as it was last seen."""
    row = await active(slow)
    await heard(slow)
    drive = slow.drive_of(slow.cluster_id)
    turns, asked = drive.servers.turns, questions(slow, monkeypatch)
    for number in range(3):
        await tell(slow, row.id, 2000 + number)
    await slow.until(lambda: _so(len(asked) > 0), "it was looked at")
    await slow.sleep(0.2)
    assert drive.servers.turns == turns
    assert (await slow.row(str(row.uuid))).updated_at == row.updated_at


async def heard(cloud: Cloud) -> None:
    """Wait until every notification so far was heard, and the turns that it woke are over."""
    marks: list[str] = []
    stop = cloud.database.listen("mark", marks.append)
    try:
        await cloud.database.when_listening()
        await cloud.database.run("select pg_notify('mark', '')")
        await cloud.until(lambda: _so(marks != []), "the mark was heard")
    finally:
        stop()
    servers = cloud.drive_of(cloud.cluster_id).servers

    async def rests() -> bool:
        status = servers.status()
        return not status["running"] and not status["waiting"]

    await cloud.until(rests, "no turn runs")


async def _so(value: bool) -> bool:
    return value


async def test_many_servers_are_looked_at_together(
    slow: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question, however many have changed."""
    rows = [await active(slow) for _ in range(5)]
    # On a busy machine what comes together may be read in several turns.
    monkeypatch.setattr(looks_module, "GATHER_SECONDS", 1.0)
    asked = questions(slow, monkeypatch)
    told = []
    for number, row in enumerate(rows):
        slow.ganeti.by_hand.stop(slow.instance(row))
        told.append(
            JobFact(
                slow.ganeti.name, 3000 + number, "OP_X", f"o{row.id}", row.id, JobStatus.SUCCESS
            )
        )
    await slow.database.transaction(lambda tx: facts.record(tx, furthest(told)), "facts.record")
    for row in rows:
        await slow.until_state(str(row.uuid), "stopped", "off")
    assert len(asked) == 1
    assert len(asked[0]) == 5


async def test_another_cluster_wakes_nobody(slow: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever speaks for it."""
    row = await active(slow)
    asked = questions(slow, monkeypatch)
    assert await tell(slow, row.id, 4000, cluster="other.example.org") == 0
    await slow.sleep(0.2)
    assert asked == []


async def asked_until(cloud: Cloud, uuid: str, state: str, charge: str) -> None:
    """Have the cluster asked for its jobs until a server rests somewhere."""

    async def there() -> bool:
        cloud.drive_of(cloud.cluster_id).work.watch._ask_now()
        return await cloud.state(uuid) == (state, charge)

    await cloud.until(there, f"the server is {state} and charged {charge}")


async def test_a_forged_success_closes_no_operation(
    make_cloud: Callable[..., Cloud], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job runs: the cluster says so, and its own word ends it later."""
    monkeypatch.setattr(cloud_module, "CONFIG", cloud_module.CONFIG.replace(FAST, SLOW))
    cloud = make_cloud()
    await cloud.equip(job_seconds={"default": 0.02, "OP_INSTANCE_SHUTDOWN": 3.0})
    await cloud.drive()
    row = await active(cloud)
    await cloud.world.servers.stop(cloud.who, str(row.uuid), "r")
    operation = await cloud.until_operation(str(row.uuid), "submitted")
    await tell(cloud, row.id, operation.job_id)
    await cloud.sleep(0.2)
    assert await cloud.state(str(row.uuid)) == ("active", "on")
    assert (await cloud.operations(str(row.uuid)))[-1].state == "submitted"
    await asked_until(cloud, str(row.uuid), "stopped", "off")
    await cloud.check_books()


async def test_a_forged_end_of_a_removal_deletes_nothing(
    make_cloud: Callable[..., Cloud], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster itself is asked, and says that the job runs."""
    monkeypatch.setattr(cloud_module, "CONFIG", cloud_module.CONFIG.replace(FAST, SLOW))
    cloud = make_cloud()
    await cloud.equip(job_seconds={"default": 0.02, "OP_INSTANCE_REMOVE": 3.0})
    await cloud.drive()
    row = await active(cloud)
    await cloud.world.servers.delete(cloud.who, str(row.uuid), "r")
    operation = await cloud.until_operation(str(row.uuid), "submitted")
    await tell(cloud, row.id, operation.job_id)
    await cloud.sleep(0.2)
    assert await cloud.state(str(row.uuid)) == ("active", "on")
    assert cloud.instance(row) in cloud.ganeti.instances
    # The first word about the job was false, so its messages are not believed any more.
    await asked_until(cloud, str(row.uuid), "deleted", "none")
    await cloud.check_books()


async def test_a_server_in_motion_is_looked_at_afterwards(
    slow: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its operation is over, and not before."""
    monkeypatch.setattr(looks_module, "AGAIN_SECONDS", 0.1)
    row = await active(slow)
    operation_id = await slow.database.transaction(
        lambda tx: operations.open_operation(
            tx, kind="stop", cluster_id=slow.cluster_id, deadline_seconds=60.0, server_id=row.id
        )
    )
    await slow.until_operation(str(row.uuid), "submitted")
    watch = slow.drive_of(slow.cluster_id).work.watch
    watch.forget((await slow.operations(str(row.uuid)))[-1].job_id)
    await slow.sleep(0.2)
    asked = questions(slow, monkeypatch)
    slow.ganeti.by_hand.remove(slow.instance(row))
    await tell(slow, row.id, 5000)
    await slow.sleep(0.3)
    assert asked == []
    # Somebody closes it behind the loop's back.
    await slow.database.run(
        "update operation set state = 'failed', finished_at = now() where id = %s", (operation_id,)
    )
    await slow.until_state(str(row.uuid), "deleted", "none")


async def test_the_clusters_numbers_are_read_again_when_it_has_changed(slow: Cloud) -> None:
    """Once for many messages."""
    drive = slow.drive_of(slow.cluster_id)
    await slow.until(
        lambda: slow.database.value("select statistics_at from cluster"), "they are there"
    )
    await slow.database.run("update cluster set statistics_at = null")
    for number in range(3):
        fact = JobFact(
            slow.ganeti.name, 6000 + number, "OP_CLUSTER_SET_PARAMS", "refresh", 0,
            JobStatus.SUCCESS,
        )  # fmt: skip
        await slow.database.transaction(lambda tx, f=fact: facts.record(tx, [f]), "facts.record")
    await slow.until(
        lambda: slow.database.value("select statistics_at from cluster"), "they are there again"
    )
    assert drive._numbers.turns <= 3


async def test_a_cluster_that_does_not_answer_a_look_is_left_to_the_poll(
    slow: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is logged as an error, and nothing is believed."""
    row = await active(slow)
    await slow.forget_cluster(slow.cluster_id)
    await tell(slow, row.id, 7000)
    await slow.sleep(0.3)
    assert await slow.state(str(row.uuid)) == ("active", "on")


@pytest.mark.parametrize("keys", ["", ",", "o", "ox", "o-1", "o1.5", "q7", "o²", "o" + "9" * 40])
async def test_a_wake_that_is_none_is_passed_over(slow: Cloud, keys: str) -> None:
    """The channel is open to whoever may speak to the database."""
    drive = slow.drive_of(slow.cluster_id)
    drive.wake(f"{keys},s0,n0")
    await slow.sleep(0.05)
    assert drive.servers.status()["failed"] == 0
