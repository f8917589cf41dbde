"""What the procedures leave in a server's row: new sizes, another image, the rescue image."""

from __future__ import annotations

from typing import Any

from cyclades_tx.model import quota
from cyclades_tx.model.moves import RESIZED
from cyclades_tx.model.operation import SUCCEEDED, Operation
from cyclades_tx.model.quota import difference, server_amounts
from cyclades_tx.store import quotas

_DISK = "server_id = %s and local and position = 0 and deleted_at is null"
_DISKS = (
    "select coalesce(sum(size_gib), 0)::bigint from volume"
    " where server_id = %s and local and deleted_at is null"
)


async def root_disk_gib(querier: Any, server_id: int) -> int:
    """The size of a server's own first disk; 0 when it has none."""
    size: int | None = await querier.value(
        f"select size_gib from volume where {_DISK}", (server_id,)
    )
    return size or 0


async def sizes(querier: Any, server_id: int) -> Any:
    """A server's flavor with its sizes, template and volume type, and the one before its resize."""
    return await querier.first(
        "select s.flavor_id, s.old_flavor_id, s.boots_from_volume, f.volume_type_id,"
        " t.disk_template,"
        " o.uuid::text as old_flavor, o.vcpus as old_vcpus, o.memory_mib as old_memory_mib"
        " from server s join flavor f on f.id = s.flavor_id"
        " join volume_type t on t.id = f.volume_type_id"
        " left join flavor o on o.id = s.old_flavor_id where s.id = %s",
        (server_id,),
    )


async def room(querier: Any, cluster_id: int) -> Any:
    """What a cluster has free: name, memory and disk in MiB; None: it was never asked."""
    return await querier.first(
        "select name, memory_free_mib, disk_free_mib from cluster"
        " where id = %s and memory_total_mib > 0",
        (cluster_id,),
    )


async def count_on_cluster(
    tx: Any, cluster_id: int, memory_mib: int, disk_gib: int, disk_template: str
) -> None:
    """Take this much more from a cluster's free capacity; negative: give it back.

    The cluster's row is the last one that a transaction locks.
    """
    copies = {"drbd": 2, "diskless": 0}.get(disk_template, 1)
    if memory_mib or disk_gib * copies:
        await tx.run(
            "update cluster set memory_free_mib ="
            " greatest(least(memory_free_mib - %s, memory_total_mib), 0), disk_free_mib ="
            " greatest(least(disk_free_mib - %s, disk_total_mib), 0) where id = %s",
            (memory_mib, disk_gib * copies * 1024, cluster_id),
        )


async def apply(tx: Any, operation: Operation, server: Any) -> None:
    """Write down what a procedure that succeeded has made of a locked server."""
    if operation.kind == "resize":
        await _resized(tx, operation, server)
    elif operation.kind == "rebuild":
        await _rebuilt(tx, operation, server)
    elif operation.kind in ("rescue", "unrescue"):
        await _rescued(tx, operation, server)


async def settle_room(tx: Any, operation: Operation, cluster_id: int | None, end: str) -> None:
    """Give back to the cluster what a resize has taken and not used, or made free."""
    if operation.kind != "resize" or cluster_id is None:
        return
    wanted = operation.arguments
    growth = wanted["memory_mib"] - wanted["old_memory_mib"]
    template = wanted["disk_template"]
    if end == SUCCEEDED:
        await count_on_cluster(tx, cluster_id, min(growth, 0), 0, template)
    else:
        disk_gib = max(wanted["grow_gib"] - wanted["old_disk_gib"], 0) if wanted["grow_gib"] else 0
        await count_on_cluster(tx, cluster_id, -max(growth, 0), -disk_gib, template)


async def _resized(tx: Any, operation: Operation, server: Any) -> None:
    wanted = operation.arguments
    disk_gib = await tx.value(_DISKS, (server.id,))
    before = server_amounts(server.charge, server.vcpus, server.memory_mib, disk_gib)
    await tx.run(
        "update server set flavor_id = %(flavor)s, vcpus = %(vcpus)s, memory_mib = %(memory)s,"
        " old_flavor_id = case when %(back)s then null else flavor_id end,"
        " resized_at = case when %(back)s then null else now() end where id = %(id)s",
        {
            "id": server.id,
            "flavor": wanted["flavor_id"],
            "vcpus": wanted["vcpus"],
            "memory": wanted["memory_mib"],
            "back": server.state == RESIZED,
        },
    )
    if wanted["grow_gib"]:
        await tx.run(
            f"update volume set size_gib = %s, updated_at = now() where {_DISK}",
            (wanted["grow_gib"], server.id),
        )
    disk_gib = await tx.value(_DISKS, (server.id,))
    after = server_amounts(server.charge, wanted["vcpus"], wanted["memory_mib"], disk_gib)
    await quotas.add(tx, server.project_id, difference(before, after))


async def _rebuilt(tx: Any, operation: Operation, server: Any) -> None:
    image_id = operation.arguments["image_id"]
    await tx.run(
        "update server set image_id = %s, launched_at = now() where id = %s",
        (image_id, server.id),
    )
    await tx.run(
        "update volume set source_kind = 'image', updated_at = now(),"
        f" source_uuid = (select uuid from image where id = %s) where {_DISK}",
        (image_id, server.id),
    )


async def _rescued(tx: Any, operation: Operation, server: Any) -> None:
    image_id = operation.arguments.get("image_id") if operation.kind == "rescue" else None
    await tx.run("update server set rescue_image_id = %s where id = %s", (image_id, server.id))


async def confirm(tx: Any, server: Any) -> None:
    """A locked server keeps its new size."""
    await tx.run(
        "update server set state = case charge when %s then 'stopped' else 'active' end,"
        " old_flavor_id = null, resized_at = null, updated_at = now() where id = %s",
        (quota.OFF, server.id),
    )


async def resized_since(querier: Any, seconds: float, most: int) -> list[Any]:
    """Servers whose resize has waited for a word for longer than this; ids and projects."""
    return list(
        await querier.all(
            "select id, project_id from server where state = 'resized' and deleted_at is null"
            " and resized_at < now() - make_interval(secs => %s) order by resized_at limit %s",
            (seconds, most),
        )
    )
