"""What the loop writes down of the volumes of a server that goes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from cyclades_tx.loops.volumes import note_leaving
from cyclades_tx.model.instance import Instance, Power, SeenDisk
from cyclades_tx.model.names import Names
from cyclades_tx.model.step import Submit
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud

NAMES = Names("snf-")


async def test_the_server_is_locked_before_its_volumes(cloud: Cloud) -> None:
    """So that it and a request that has the server wait, and neither ends the other."""
    database = cloud.database
    cluster_id = await database.value("select min(id) from cluster")
    server = await builders.a_server(database, cloud.who, cloud.flavor, cluster_id=cluster_id)
    volume_id = await database.value(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, status, server_id,"
        " position, initialised, cluster_id) select user_id, project_id, 1, (select min(id) from"
        " volume_type), 'attaching', id, 1, true, cluster_id from server where id = %s returning"
        " id",
        (server.id,),
    )
    disk = SeenDisk(NAMES.disk(volume_id), 1024)
    seen = Instance(NAMES.instance(server.id), "ADMIN_down", Power.STOPPED, disks=(disk,))
    tries: list[str] = []
    noting: list[Deferred[None]] = []

    async def leaving(tx: Any) -> None:
        tries.append("loop")
        await note_leaving(tx, NAMES, server.id, seen, Submit("delete", 0))

    async def request(tx: Any) -> None:
        tries.append("request")
        await tx.run("select from server where id = %s for update", (server.id,))
        noting.append(Deferred.fromCoroutine(database.transaction(leaving)))

        async def waits() -> bool:
            return bool(
                await database.value(
                    "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
                    " and datname = current_database())"
                )
            )

        await cloud.until(waits, "the loop waits for the server")
        await tx.run("select from volume where id = %s for update", (volume_id,))

    await database.transaction(request)
    await noting[0]
    assert tries == ["request", "loop"]
    kept = await database.value("select cluster_id from volume where id = %s", (volume_id,))
    assert kept is None
