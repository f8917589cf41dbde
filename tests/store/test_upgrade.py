"""A database of an older release, with what it held, after it was brought up to this one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import pytest_twisted

from cyclades_tx.errors import NotFound
from cyclades_tx.store import books
from cyclades_tx.store.database import Database
from cyclades_tx.store.migrations import check_schema, migrate, migrations
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud, refused

#: How many files of the schema older releases had.
OLDER = (10, 12, 14)


async def some_life(database: Any) -> Any:
    """A project with servers in several states, disks, networks, a floating IP and a past."""
    who = await builders.somebody(database)
    project_id = who.project_id
    assert project_id is not None
    cluster = await builders.a_cluster(database, offline=True)
    flavor = await builders.a_flavor(database, template="file")
    image = await builders.an_image(database, project_id=project_id)
    inside = await builders.a_network(database, project_id=project_id, cidr="10.0.0.0/24")
    outside = await builders.a_network(database, "out", cidr="192.0.2.0/24", external=True)
    for network, last in ((inside, 254), (outside, 254)):
        await database.run(
            "insert into allocation_pool select id, host(cidr)::inet + 2, host(cidr)::inet + %s"
            " from subnet where network_id = %s",
            (last, network.id),
        )
        await database.run(
            "insert into free_address_range select subnet_id, first_address + 2, last_address"
            " from allocation_pool join subnet on subnet.id = subnet_id where network_id = %s",
            (network.id,),
        )
        await database.run(
            "update subnet set gateway = host(cidr)::inet + 1 where network_id = %s",
            (network.id,),
        )
        await database.run(
            "insert into cluster_network (network_id, cluster_id, state, mac_prefix)"
            " values (%s, %s, 'active', 'aa:00:00')",
            (network.id, cluster.id),
        )
    server = await builders.a_server(
        database, who, flavor, cluster=cluster, image=image, charge="on", metadata={"a": "b"}
    )
    gone = await builders.a_server(database, who, flavor, cluster=cluster, state="deleted")
    port = await builders.a_port(database, server, inside, "10.0.0.2")
    await builders.a_floating_ip(database, who, outside, "192.0.2.2", port)
    await database.run("update free_address_range set first_address = first_address - 1")
    await database.run(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, local, status,"
        " server_id, position, initialised) select user_id, project_id, 2,"
        " (select id from volume_type limit 1), true, 'in_use', id, 0, true"
        " from server where id = %s",
        (server.id,),
    )
    for each, kind, state in (
        (server, "create", "succeeded"), (server, "stop", "pending"), (gone, "delete", "succeeded"),
    ):  # fmt: skip
        await builders.an_operation(database, each, cluster, kind, state=state)
    await database.run(
        "insert into security_group (project_id, name) values (%s, 'default')", (project_id,)
    )
    await database.run(
        "insert into event (kind, project_id, subject, body) values ('server.changed', %s, 'x',"
        " '{}')",
        (project_id,),
    )
    mib, gib = 1024**2, 1024**3
    for resource, used in (
        ("cyclades.vm", 1), ("cyclades.cpu", 1), ("cyclades.total_cpu", 1),
        ("cyclades.ram", 512 * mib), ("cyclades.total_ram", 512 * mib),
        ("cyclades.disk", 2 * gib), ("cyclades.floating_ip", 1), ("cyclades.network.private", 1),
    ):  # fmt: skip
        await builders.a_holding(database, project_id, resource, 10 * used, used)
    return who


@pytest_twisted.async_yield_fixture
async def open_at() -> Any:
    """Open a Database on a connection string; all are closed after the test."""
    from twisted.internet import reactor

    opened: list[Database] = []

    def open_one(dsn: str) -> Database:
        opened.append(Database(reactor, dsn, least=1, most=4))
        opened[-1].start()
        return opened[-1]

    yield open_one
    for database in opened:
        await database.close()


@pytest.mark.parametrize("number", OLDER)
async def test_what_an_older_release_held_is_all_there_and_right(
    empty_dsn: str, open_at: Callable[[str], Database], number: int, tmp_path: Path
) -> None:
    """Nothing is lost, nothing is out of balance, and the cloud goes on with it."""
    from twisted.internet import reactor

    release = migrations()
    migrate(empty_dsn, release[:number])
    old = open_at(empty_dsn)
    who = await some_life(old)
    tables = [
        row.name
        for row in await old.all(
            "select tablename as name from pg_tables where schemaname = 'public'"
        )
    ]

    async def counts() -> dict[str, int]:
        return {
            table: await old.value(f"select count(*) from {table}")
            for table in tables
            if table not in ("schema_migration", "security_group_rule")
        }

    before = await counts()
    await old.close()
    assert migrate(empty_dsn) == [each.name for each in release[number:]]
    old = open_at(empty_dsn)
    await check_schema(old)
    assert await counts() == before
    for recount in (books.recount_pools, books.recount_quotas):
        result = await recount(old)
        assert (result.found, result.trouble) == ([], "")

    cloud = Cloud(reactor, tmp_path, empty_dsn)
    try:
        await cloud.equip()
        mine = await cloud.create()
        (theirs,) = await old.all(
            "select uuid::text from server where project_id = %s and deleted_at is null",
            (who.project_id,),
        )
        await refused(NotFound, cloud.world.servers.delete(cloud.who, theirs.uuid, "req-1"))
        await cloud.world.servers.delete(who, theirs.uuid, "req-2")
        await cloud.world.servers.delete(cloud.who, mine, "req-3")
        await cloud.check_books()
    finally:
        await cloud.close()


def test_the_files_of_a_release_never_change(empty_dsn: str) -> None:
    """Each can be applied by itself, one after another, as releases did."""
    release = migrations()
    for number in range(1, len(release) + 1):
        assert migrate(empty_dsn, release[:number]) == [release[number - 1].name]
    connection = psycopg2.connect(empty_dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select count(*) from schema_migration")
            assert cursor.fetchone() == (len(release),)
    finally:
        connection.close()
