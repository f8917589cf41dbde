"""What is over for long goes, with all that belonged to it, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from cyclades_tx.store import retention
from cyclades_tx.testing import builders

AGE_SECONDS = 400 * 86_400.0
LONG_AGO = "now() - interval '500 days'"


async def walk(database: Any, kind: str, age_seconds: float = AGE_SECONDS, most: int = 500) -> int:
    """Go through a table once; return how much went."""
    removed, after_id = 0, 0
    while after_id is not None:
        step = await database.transaction(
            lambda tx, after=after_id: retention.step(tx, kind, after, age_seconds, most)
        )
        removed += step.removed
        assert step.after_id is None or step.after_id > after_id
        after_id = step.after_id
    return removed


async def walk_all(database: Any) -> dict[str, int]:
    """Go through everything once; return what went."""
    gone = {kind: await walk(database, kind) for kind in retention.KINDS}
    return {kind: number for kind, number in gone.items() if number}


async def age(database: Any, table: str, *columns: str, where: str = "true") -> None:
    """Let rows have happened long ago."""
    setting = ", ".join(f"{column} = {LONG_AGO}" for column in columns)
    await database.run(f"update {table} set {setting} where {where}")


async def a_past(database: Any) -> tuple[Any, Any]:
    """A server with a disk, an image and a network, all deleted long ago; with their operations."""
    who = await builders.somebody(database)
    cluster = await builders.a_cluster(database)
    flavor = await builders.a_flavor(database)
    image = await builders.an_image(database, project_id=who.project_id)
    network = await builders.a_network(database, project_id=who.project_id)
    server = await builders.a_server(
        database, who, flavor, cluster=cluster, image=image, metadata={"a": "b"}, tags=("t",)
    )
    for kind in ("create", "stop"):
        await builders.an_operation(database, server, cluster, kind, state="succeeded")
    await database.run(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, local, status,"
        " server_id, position) select user_id, project_id, 1, (select id from volume_type limit 1),"
        " true, 'in_use', id, 0 from server"
    )
    await database.run(
        "insert into snapshot (volume_id, project_id, user_id, size_gib)"
        " select id, project_id, user_id, 1 from volume"
    )
    await database.run(
        "insert into operation (kind, state, network_id, cluster_id, deadline_at, finished_at)"
        " values ('make_network', 'succeeded', %s, %s, now() + interval '1 hour', now())",
        (network.id, cluster.id),
    )
    await database.run("insert into address (subnet_id, address) select id, '10.0.0.7' from subnet")
    await database.run(
        "insert into address_history (address, network_id, server_id, user_id, project_id,"
        " released_at) select '10.0.0.7', %s, id, user_id, project_id, now() from server",
        (network.id,),
    )
    for table in ("server", "volume", "snapshot", "image", "network"):
        column = "state" if table in ("server", "network") else "status"
        await database.run(f"update {table} set {column} = 'deleted', deleted_at = now()")
        await age(database, table, "created_at", "deleted_at")
    await age(database, "operation", "created_at", "finished_at")
    await age(database, "address_history", "taken_at", "released_at")
    return server, cluster


async def test_what_was_deleted_long_ago_goes_with_all_that_belonged_to_it(database: Any) -> None:
    """In one walk, and the next one finds nothing."""
    await a_past(database)
    assert await walk_all(database) == {
        "operation": 3, "snapshot": 1, "volume": 1, "server": 1, "image": 1, "network": 1,
        "address_history": 1,
    }  # fmt: skip
    for table in ("server_metadata", "server_tag", "subnet", "address", "operation"):
        assert await database.value(f"select count(*) from {table}") == 0, table
    assert await walk_all(database) == {}


@pytest.mark.parametrize("table", ["server", "volume", "snapshot", "image", "network"])
async def test_what_was_deleted_a_short_while_ago_stays(database: Any, table: str) -> None:
    """However long ago it was made; what it points at stays with it."""
    await a_past(database)
    await database.run(f"update {table} set deleted_at = now()")
    await walk_all(database)
    assert await database.value(f"select count(*) from {table}") == 1


async def test_operations_of_live_things_end_before_them(database: Any) -> None:
    """Old ones go; the creation of a server, the attachment of a volume, and open ones stay."""
    who = await builders.somebody(database)
    cluster = await builders.a_cluster(database)
    flavor = await builders.a_flavor(database)
    server = await builders.a_server(database, who, flavor, cluster=cluster)
    for kind, state in (
        ("create", "succeeded"), ("start", "failed"), ("attach_volume", "succeeded"),
        ("attach_volume", "succeeded"), ("reboot", "pending"),
    ):  # fmt: skip
        await builders.an_operation(database, server, cluster, kind, state=state)
    await database.run(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, status, server_id,"
        " position) select user_id, project_id, 1, (select id from volume_type limit 1),"
        " 'in_use', id, 1 from server"
    )
    await database.run(
        "update operation set volume_id = (select id from volume)"
        " where id = (select max(id) from operation where kind = 'attach_volume')"
    )
    await age(database, "operation", "created_at")
    await age(database, "operation", "finished_at", where="finished_at is not null")
    assert await walk(database, "operation") == 2
    rows = await database.all("select kind, volume_id is not null as v from operation order by id")
    assert [(row.kind, row.v) for row in rows] == [
        ("create", False), ("attach_volume", True), ("reboot", False),
    ]  # fmt: skip


async def test_a_deleted_server_stays_while_something_of_it_is_somewhere(database: Any) -> None:
    """Its row tells whose an instance is; an operation that is open is not cut off."""
    server, cluster = await a_past(database)
    await walk(database, "snapshot")
    await walk(database, "volume")
    await database.run(
        "insert into drift_finding (cluster_id, kind, subject, server_id, sentence, remedy)"
        " values (%s, 'orphan', 'snf-1', %s, 'It is there.', 'operator')",
        (cluster.id, server.id),
    )
    assert await walk(database, "server") == 0
    await database.run("update drift_finding set remedied_at = now()")
    operation_id = await builders.an_operation(database, server, cluster, "delete")
    assert await walk(database, "server") == 0
    await database.run(
        "update operation set state = 'succeeded', finished_at = now() where id = %s",
        (operation_id,),
    )
    assert await walk(database, "server") == 1


async def test_what_something_else_needs_stays(database: Any) -> None:
    """The image of a server that is there, data that the sweep has not removed, a cluster's net."""
    _, cluster = await a_past(database)
    await database.run("update server set state = 'active', deleted_at = null")
    await database.run(
        "insert into cluster_network (network_id, cluster_id, state, mac_prefix)"
        " select id, %s, 'removing', 'aa:00:00' from network",
        (cluster.id,),
    )
    assert await walk(database, "image") == 0
    assert await walk(database, "network") == 0
    await database.run("update server set image_id = null, rescue_image_id = image_id")
    assert await walk(database, "image") == 0
    await database.run("update server set rescue_image_id = null")
    await database.run("update image set object_name = repeat('a', 32)")
    assert await walk(database, "image") == 0
    await database.run("update image set object_name = null")
    await database.run("delete from cluster_network")
    assert await walk(database, "image") == 1
    assert await walk(database, "network") == 1


async def test_a_walk_sees_everything_in_small_steps(database: Any) -> None:
    """Old and young rows side by side; it ends where all that follows is too young."""
    for number in range(25):
        image = await builders.an_image(database)
        if number % 3:
            await database.run(
                "update image set status = 'deleted', deleted_at = now() where id = %s",
                (image.id,),
            )
            await age(database, "image", "deleted_at", where=f"id = {image.id}")
    await age(database, "image", "created_at", where="id <= (select min(id) + 19 from image)")
    assert await walk(database, "image", most=3) == 13 + 1  # one more in the step that saw the end
    await age(database, "image", "created_at")
    assert await walk(database, "image", most=4) == 2
    assert await database.value("select count(*) from image") == 9


async def test_rows_that_somebody_holds_are_left_for_the_next_walk(database: Any) -> None:
    """Nobody waits for anybody."""
    await a_past(database)

    async def holding(tx: Any) -> int:
        await tx.all("select 1 from snapshot for update")
        return await walk(database, "snapshot")

    assert await database.transaction(holding) == 0
    assert await walk(database, "snapshot") == 1


async def test_everything_that_points_at_what_goes_was_thought_of(database: Any) -> None:
    """A new foreign key without a cascade needs a condition, or goes with it."""
    rows = await database.all(
        "select conrelid::regclass::text as child, confrelid::regclass::text as parent"
        " from pg_constraint where contype = 'f' and confdeltype = 'a'"
        " and confrelid::regclass::text = any(%s)",
        (list(retention.KINDS),),
    )
    assert {(row.parent, row.child) for row in rows} == {
        ("image", "server"),
        ("network", "cluster_network"),
        ("network", "floating_ip"),
        ("network", "operation"),
        ("network", "port"),
        ("network", "router"),
        ("network", "subnet"),
        ("server", "operation"),
        ("server", "port"),
        ("server", "volume"),
        ("volume", "operation"),
        ("volume", "snapshot"),
    }


async def test_whatever_points_at_what_goes_is_found_by_an_index(database: Any) -> None:
    """Or each row that goes costs a look at all rows of another table."""
    rows = await database.all(
        "select conrelid::regclass::text as child, a.attname as name from pg_constraint c"
        " join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]"
        " where c.contype = 'f' and c.confrelid::regclass::text = any(%s)"
        " and not exists (select from pg_index i where i.indrelid = c.conrelid"
        " and i.indkey[0] = c.conkey[1] and (i.indpred is null"
        " or pg_get_expr(i.indpred, i.indrelid) = '(' || a.attname || ' IS NOT NULL)'))",
        (list(retention.KINDS),),
    )
    assert [(row.child, row.name) for row in rows] == []
