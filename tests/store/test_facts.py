"""Facts in the database: what is kept, who is woken, what is left out."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest

from cyclades_tx.model.fact import JobFact, furthest
from cyclades_tx.model.job import JobStatus
from cyclades_tx.store import facts, operations
from cyclades_tx.testing import builders


class Scene:
    """Two clusters, a server on the first, a network, and what wakes were heard."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.heard: list[str] = []

    async def set(self) -> None:
        """Make the rows and listen."""
        self.who = await builders.somebody(self.database)
        self.cluster = await builders.a_cluster(self.database)
        self.other = await builders.a_cluster(self.database)
        self.flavor = await builders.a_flavor(self.database)
        self.server = await self.a_server()
        self.network = await builders.a_network(self.database)
        self.unlisten = self.database.listen(operations.WAKE, self.heard.append)
        await self.database.when_listening()

    async def a_server(self) -> Any:
        """One more server on the first cluster."""
        return await builders.a_server(self.database, self.who, self.flavor, cluster=self.cluster)

    async def name_of(self, cluster: Any) -> str:
        """A cluster's name."""
        name: str = await self.database.value(
            "select name from cluster where id = %s", (cluster.id,)
        )
        return name

    async def fact(self, status: str = "success", **more: Any) -> JobFact:
        """A fact about the server's instance, unless it is about something else."""
        given: dict[str, Any] = {
            "cluster": await self.name_of(self.cluster),
            "job_id": 7,
            "opcode": "OP_INSTANCE_STARTUP",
            "subject": f"o{self.server.id}",
            "subject_id": self.server.id,
            "status": JobStatus(status),
            "event_seconds": 1_700_000_000.25,
        }
        return JobFact(**{**given, **more})

    async def record(self, *told: JobFact) -> int:
        """Record facts as one batch."""
        count: int = await self.database.transaction(
            lambda tx: facts.record(tx, furthest(told)), "facts.record"
        )
        return count

    async def rows(self) -> list[Any]:
        """What is kept."""
        found: list[Any] = await self.database.all("select * from job_fact order by job_id")
        return found

    async def wakes(self) -> list[str]:
        """The wakes so far; a last one of our own shows that there are no more."""
        await self.database.value("select pg_notify(%s, 'end')", (operations.WAKE,))
        for _ in range(6000):
            if "end" in self.heard:
                break
            await self.database.value("select pg_sleep(0.01)::text")
        heard = [each for each in self.heard if each != "end"]
        self.heard.clear()
        return heard


@pytest.fixture
def scene(database: Any) -> Scene:
    """A scene that is not set yet."""
    return Scene(database)


async def test_an_end_wakes_the_driver_with_the_commit(scene: Scene) -> None:
    """With the server that must be looked at."""
    await scene.set()
    assert await scene.record(await scene.fact()) == 1
    assert await scene.wakes() == [f"{scene.cluster.id}:o{scene.server.id}"]
    (row,) = await scene.rows()
    assert (row.cluster_id, row.job_id, row.status) == (scene.cluster.id, 7, "success")
    assert row.event_at.timestamp() == 1_700_000_000.25
    assert row.finished_at is not None


async def test_a_status_on_the_way_wakes_nobody(scene: Scene) -> None:
    """There is nothing to see yet."""
    await scene.set()
    for status in ("queued", "waiting", "canceling", "running"):
        await scene.record(await scene.fact(status))
    assert await scene.wakes() == []
    (row,) = await scene.rows()
    assert (row.status, row.finished_at) == ("running", None)


async def test_a_repeated_end_wakes_again_and_changes_nothing(scene: Scene) -> None:
    """A look costs little, and the first wake may have been lost."""
    await scene.set()
    await scene.record(await scene.fact())
    await scene.wakes()
    before = await scene.rows()
    await scene.record(await scene.fact(event_seconds=1_800_000_000.0))
    assert await scene.wakes() == [f"{scene.cluster.id}:o{scene.server.id}"]
    assert await scene.rows() == before


async def test_a_late_message_never_takes_an_end_back(scene: Scene) -> None:
    """Whatever its clock says."""
    await scene.set()
    await scene.record(await scene.fact("error"))
    await scene.record(await scene.fact("running", event_seconds=1_900_000_000.0))
    (row,) = await scene.rows()
    assert row.status == "error"


async def test_several_opcodes_of_a_job_are_apart(scene: Scene) -> None:
    """By name and, where the message says it, by place."""
    await scene.set()
    await scene.record(
        await scene.fact("success", op_index=0),
        await scene.fact("running", op_index=1),
        await scene.fact("waiting", opcode="OP_INSTANCE_SHUTDOWN", op_index=2),
    )
    assert {(row.op_index, row.status) for row in await scene.rows()} == {
        (0, "success"),
        (1, "running"),
        (2, "waiting"),
    }


async def test_another_cluster_cannot_speak_of_the_server(scene: Scene) -> None:
    """Neither is the fact kept nor is anybody woken."""
    await scene.set()
    other = await scene.name_of(scene.other)
    assert await scene.record(await scene.fact(cluster=other)) == 0
    assert await scene.record(await scene.fact(cluster="nobody.example.org")) == 0
    assert await scene.rows() == []
    assert await scene.wakes() == []


async def test_what_is_not_there_is_left_out(scene: Scene) -> None:
    """An unknown server, a deleted one, an unknown and a deleted network."""
    await scene.set()
    await scene.database.run(
        "update server set state = 'deleted', deleted_at = now() where id = %s", (scene.server.id,)
    )
    await scene.database.run(
        "update network set state = 'deleted', deleted_at = now() where id = %s",
        (scene.network.id,),
    )
    gone = [
        await scene.fact(),
        await scene.fact(subject="o999999", subject_id=999_999),
        await scene.fact(subject=f"n{scene.network.id}", subject_id=scene.network.id),
        await scene.fact(subject="n999999", subject_id=999_999),
    ]
    assert await scene.record(*gone) == 0
    assert await scene.rows() == []
    assert await scene.wakes() == []


async def test_networks_and_clusters_are_woken_too(scene: Scene) -> None:
    """All keys of one cluster in one notification; each cluster has its own."""
    await scene.set()
    more = {"opcode": "OP_NETWORK_CONNECT", "subject": f"n{scene.network.id}"}
    refresh = {"opcode": "OP_CLUSTER_SET_PARAMS", "subject": "refresh", "subject_id": 0}
    told = [
        await scene.fact(),
        await scene.fact(job_id=8, subject_id=scene.network.id, **more),
        await scene.fact(job_id=9, **refresh),
        await scene.fact(job_id=9, cluster=await scene.name_of(scene.other), **refresh),
    ]
    assert await scene.record(*told) == 4
    joined, alone = sorted(await scene.wakes(), key=len, reverse=True)
    cluster, _, keys = joined.partition(":")
    assert int(cluster) == scene.cluster.id
    assert set(keys.split(",")) == {f"o{scene.server.id}", f"n{scene.network.id}", "refresh"}
    assert alone == f"{scene.other.id}:refresh"


async def test_many_wakes_fit_into_what_postgresql_sends(scene: Scene) -> None:
    """Its notifications have less than 8000 bytes."""
    await scene.set()
    await scene.database.run(
        "insert into server (name, user_id, project_id, cluster_id, flavor_id, vcpus, memory_mib,"
        " reservation_id) select 's', %s, %s, %s, %s, 1, 128, 'r' from generate_series(1, 2000)",
        (scene.who.user_id, scene.who.project_id, scene.cluster.id, scene.flavor.id),
    )
    ids = [row.id for row in await scene.database.all("select id from server")]
    told = [await scene.fact(job_id=n, subject=f"o{n}", subject_id=n) for n in ids]
    assert await scene.record(*told) == len(ids)
    heard = await scene.wakes()
    assert len(heard) > 1
    assert max(map(len, heard)) < 8000
    keys = [key for each in heard for key in each.partition(":")[2].split(",")]
    assert sorted(keys) == sorted(f"o{n}" for n in ids)


@pytest.mark.parametrize("count", [0, 1, 2, 3000])
def test_payloads_keep_every_key(count: int) -> None:
    """Each once, none too long."""
    keys = [f"o{10**12 + n}" for n in range(count)]
    made = facts.payloads(17, keys)
    assert all(each.startswith("17:") and len(each) < 8000 for each in made)
    assert [key for each in made for key in each[3:].split(",")] == keys


async def test_a_rolled_back_batch_leaves_nothing(scene: Scene) -> None:
    """No fact and no wake."""
    await scene.set()
    fact = await scene.fact()

    async def fail(tx: Any) -> None:
        await facts.record(tx, [fact])
        await tx.run("select 1 / 0")

    with pytest.raises(psycopg2.errors.DivisionByZero):
        await scene.database.transaction(fail, "facts.record")
    assert await scene.rows() == []
    assert await scene.wakes() == []


async def submitted(scene: Scene, job_id: int = 7) -> int:
    """An open operation on the server whose job was just submitted; its id."""
    operation_id: int = await scene.database.transaction(
        lambda tx: operations.open_operation(
            tx,
            kind="start",
            cluster_id=scene.cluster.id,
            deadline_seconds=60.0,
            server_id=scene.server.id,
        )
    )
    (operation,) = await operations.open_of_server(scene.database, scene.server.id)
    assert await operations.mark_submitting(scene.database, operation, "start", 0)
    await operations.mark_submitted(scene.database, operation_id, "start", 0, job_id)
    return operation_id


async def told(scene: Scene, operation_id: int) -> list[facts.Told]:
    """What the driver learns of job 7."""
    return await facts.of_jobs(scene.database, [(7, f"o{scene.server.id}", operation_id)])


async def test_a_driver_learns_of_the_end_of_its_job(scene: Scene) -> None:
    """As something that was told."""
    await scene.set()
    operation_id = await submitted(scene)
    assert await told(scene, operation_id) == []
    await scene.record(await scene.fact("running"))
    (on_the_way,) = await told(scene, operation_id)
    assert (on_the_way.status, on_the_way.job) == ("running", None)
    await scene.record(await scene.fact("success"))
    (ended,) = await told(scene, operation_id)
    assert ended.job is not None
    assert (ended.job.id, ended.job.status, ended.job.told) == (7, JobStatus.SUCCESS, True)
    assert ended.operation_id == operation_id


async def test_an_end_from_before_the_job_is_another_jobs(scene: Scene) -> None:
    """A cluster that was made anew counts from 1 again."""
    await scene.set()
    await scene.record(await scene.fact("success"))
    (before,) = await told(scene, await submitted(scene))
    assert before.job is None


async def test_a_job_of_several_opcodes_is_not_over_with_one(scene: Scene) -> None:
    """Whether the message says it or there are several facts."""
    await scene.set()
    operation_id = await submitted(scene)
    await scene.record(await scene.fact("success", op_index=0, job_ops=2))
    assert [each.job for each in await told(scene, operation_id)] == [None]
    await scene.database.run("delete from job_fact")
    await scene.record(
        await scene.fact("success"), await scene.fact("running", opcode="OP_INSTANCE_REBOOT")
    )
    assert [each.job for each in await told(scene, operation_id)] == [None, None]


async def test_another_subject_says_nothing_of_the_job(scene: Scene) -> None:
    """Nor does the same job of another cluster."""
    await scene.set()
    operation_id = await submitted(scene)
    other = await scene.a_server()
    await scene.record(await scene.fact(subject=f"o{other.id}", subject_id=other.id))
    assert await told(scene, operation_id) == []


async def test_servers_stand_as_they_were_last_seen(scene: Scene) -> None:
    """Those that an operation moves are marked; deleted and uncharged ones are left out."""
    await scene.set()
    moving, uncharged = await scene.a_server(), await scene.a_server()
    await scene.database.run(
        "update server set charge = 'on', ganeti_status = 'running', ganeti_serial = 3"
        " where id <> %s",
        (uncharged.id,),
    )
    await scene.database.run("update server set charge = 'none' where id = %s", (uncharged.id,))
    await scene.database.transaction(
        lambda tx: operations.open_operation(
            tx,
            kind="stop",
            cluster_id=scene.cluster.id,
            deadline_seconds=60.0,
            server_id=moving.id,
        )
    )
    ids = [scene.server.id, moving.id, uncharged.id, 999_999]
    found = await facts.standing(scene.database, scene.cluster.id, ids)
    assert sorted((row.server_id, row.status, row.serial, row.moves) for row in found) == [
        (scene.server.id, "running", 3, False),
        (moving.id, "running", 3, True),
    ]
    assert await facts.standing(scene.database, scene.other.id, ids) == []


async def test_old_facts_are_thrown_away(scene: Scene) -> None:
    """New ones stay."""
    await scene.set()
    await scene.record(await scene.fact(), await scene.fact(job_id=8))
    await scene.database.run(
        "update job_fact set created_at = now() - interval '7 hours' where job_id = 7"
    )
    assert await facts.prune(scene.database) == 1
    assert [row.job_id for row in await scene.rows()] == [8]
    assert await facts.prune(scene.database) == 0


async def test_large_tables_are_read_by_index(scene: Scene) -> None:
    """Recording, asking and pruning touch what they must."""
    await scene.set()
    await scene.database.run(
        "insert into job_fact (cluster_id, job_id, opcode, subject, op_index, job_ops, status,"
        " rank, event_at) select %s, n, 'OP_INSTANCE_STARTUP', 'o' || n, 0, 1, 'success', 4, now()"
        " from generate_series(1, 20000) n",
        (scene.cluster.id,),
    )
    await scene.database.run("analyze job_fact")
    operation_id = await submitted(scene)
    asked = await scene.database.all(
        "explain " + facts._OF_JOBS, ([7], [f"o{scene.server.id}"], [operation_id])
    )
    pruned = await scene.database.all("explain " + facts._PRUNE, (21_600.0, 5_000))
    for plan in (asked, pruned):
        text = "\n".join(row[0] for row in plan)
        assert "Seq Scan on job_fact" not in text, text
        assert "Index" in text
