"""Volumes that come to servers and leave them.

A volume that is being attached belongs to its server from the moment of the wish on; one that is
being detached belongs to it until the cluster says that its disk is gone. What becomes of either
when the operation has ended follows from what is seen at the cluster (``observations.py`` asks
:func:`disk_is_there` and :func:`disk_is_gone`); what cannot be seen there is in :func:`settled`.
The project's holdings and the server's row are locked before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cyclades_tx.errors import Forbidden
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.operation import PENDING, SUCCEEDED, Operation
from cyclades_tx.model.quota import DISK, GIB
from cyclades_tx.model.volume_keeping import KEEPING, ON_A_NODE
from cyclades_tx.store import operations, quotas, volumes

#: The kinds of operations that change a server's volumes.
KINDS = ("attach_volume", "detach_volume", "extend_volume")

_COLUMNS = (
    "v.id, v.uuid::text, v.project_id, v.user_id, v.size_gib, v.status, v.server_id, v.position,"
    " v.initialised, v.local, v.bootable, v.source_kind, v.source_uuid::text,"
    " v.delete_on_termination, v.cluster_id, v.node, v.attachment_tag, v.pending_restart,"
    " v.volume_type_id, v.ganeti_uuid, t.name as type_name, t.disk_template, t.provider"
)
_FREE = "server_id = null, position = null, attachment_tag = null, pending_restart = null"


async def find(querier: Any, who: Any, ref: str, lock: bool = False) -> Any:
    """A volume that the caller sees, with its type; None when there is none.

    :param ref: what a client sent: anything.
    """
    uuid = parse_uuid(ref)
    if uuid is None:
        return None
    return await querier.first(
        f"select {_COLUMNS} from volume v join volume_type t on t.id = v.volume_type_id"
        " where v.uuid = %s and not v.local and v.deleted_at is null"
        f" and (%s or v.project_id = %s){' for update of v' if lock else ''}",
        (uuid, who.admin, who.project_id),
    )


async def by_id(querier: Any, volume_id: Any) -> Any:
    """A volume as its disk needs it; None when it is gone."""
    return await querier.first(
        f"select {_COLUMNS} from volume v join volume_type t on t.id = v.volume_type_id"
        " where v.id = %s and v.deleted_at is null",
        (volume_id,),
    )


async def next_position(tx: Any, server_id: int, most: int) -> int:
    """The place of one more disk of a locked server.

    :param most: how many a server may have.
    :raise Forbidden: when it has them all.
    """
    row = await tx.first(
        "select count(*) as count, coalesce(max(position) + 1, 0) as next from volume"
        " where server_id = %s and deleted_at is null",
        (server_id,),
    )
    if row.count >= most:
        raise Forbidden(
            f"The maximum allowed number of disk devices ({most}) to attach to a single instance"
            " has been exceeded."
        )
    position: int = row.next
    return position


async def put_on(
    tx: Any, volume_id: int, server_id: int, position: int, ends_with_server: bool, tag: str | None
) -> None:
    """Give a locked volume that no server has to a server, for a disk to be made or put on."""
    await tx.run(
        "update volume set server_id = %s, position = %s, status = 'attaching',"
        " delete_on_termination = %s, attachment_tag = %s, updated_at = now() where id = %s",
        (server_id, position, ends_with_server, tag, volume_id),
    )
    await volumes.tell(tx, "volume.changed", volume_id)


async def set_status(tx: Any, volume_id: int, status: str) -> None:
    """Say what is being done with a volume."""
    await tx.run(
        "update volume set status = %s, updated_at = now() where id = %s", (status, volume_id)
    )
    await volumes.tell(tx, "volume.changed", volume_id)


async def settled(
    tx: Any, server: Any, operation: Operation, end: str, pending_restart: bool
) -> None:
    """Write what the end of an operation means for its volume and cannot be seen at a cluster.

    :param end: ``succeeded``, ``failed`` or ``canceled``.
    :param pending_restart: whether the running machine has taken no notice of the change.
    """
    if operation.kind not in KINDS:
        return
    volume_id = operation.arguments.get("volume_id")
    if end == SUCCEEDED:
        if pending_restart and operation.kind == "detach_volume":
            await tx.run(
                "update volume set pending_restart = 'detach' where id = %s and server_id = %s",
                (volume_id, server.id),
            )
    elif operation.state == PENDING:
        # Nothing was ever sent: everything is as it was.
        if operation.kind == "attach_volume":
            await _free(tx, server, volume_id)
        elif operation.kind == "extend_volume" or not await operations.is_leaving(tx, server.id):
            # What was to be taken off, or deleted, still is when its server goes.
            await set_status(tx, volume_id or 0, "in_use")


async def _free(tx: Any, server: Any, volume_id: Any) -> None:
    """A server has a volume no more; what was ever on its disk is kept at the cluster."""
    changed = await tx.run(
        f"update volume v set {_FREE}, status = 'available', updated_at = now(),"
        " cluster_id = case when v.initialised then s.cluster_id end,"
        " node = case when v.initialised and t.disk_template = any(%s)"
        # Where it was kept, as long as nobody has seen it on this server.
        " then coalesce(v.node, s.node) end"
        " from volume_type t, server s where t.id = v.volume_type_id and s.id = v.server_id"
        " and v.id = %s and v.server_id = %s",
        (list(ON_A_NODE), volume_id, server.id),
    )
    if changed:
        await volumes.tell(tx, "volume.changed", volume_id)


async def _end(tx: Any, volume_id: int) -> None:
    """A volume is gone with its data: its project is not charged for it any more."""
    row = await tx.first(
        "update volume set status = 'deleted', deleted_at = now(), updated_at = now(),"
        " pending_restart = null, cluster_id = null, node = null"
        " where id = %s and deleted_at is null returning project_id, size_gib, local",
        (volume_id,),
    )
    if row is not None and not row.local:
        await quotas.add(tx, row.project_id, {DISK: -row.size_gib * GIB})
        await volumes.tell(tx, "volume.deleted", volume_id)


async def disk_is_there(tx: Any, volume_id: int, size_gib: int) -> None:
    """The disk of a server's volume was seen, of this size."""
    row = await tx.first(
        "update volume v set size_gib = %s, status = 'in_use', initialised = true,"
        " pending_restart = null, cluster_id = null, node = null, updated_at = now()"
        " from volume old where v.id = %s and old.id = v.id"
        " returning v.project_id, v.local, v.size_gib - old.size_gib as growth",
        (size_gib, volume_id),
    )
    if row is not None and not row.local:
        await quotas.add(tx, row.project_id, {DISK: row.growth * GIB} if row.growth else {})
        await volumes.tell(tx, "volume.changed", volume_id)


async def disk_is_gone(tx: Any, server: Any, volume_id: int) -> None:
    """The instance of a locked server has no disk of this volume of it."""
    row = await by_id(tx, volume_id)
    if row is None:
        return
    if row.local or row.status == "deleting":
        await _end(tx, volume_id)
    elif row.status in ("attaching", "detaching"):
        await _free(tx, server, volume_id)
    else:
        await _lose(tx, volume_id)


async def _lose(tx: Any, volume_id: int) -> None:
    """Its disk was taken away by hand: it may be somewhere else by now."""
    await tx.run(
        f"update volume set {_FREE}, status = 'error', ganeti_uuid = '', initialised = false,"
        " updated_at = now() where id = %s",
        (volume_id,),
    )
    await volumes.tell(tx, "volume.changed", volume_id)


async def take_found(
    tx: Any, server: Any, volume_id: int, size_gib: int, position: int, ganeti_uuid: str
) -> bool:
    """Give a volume of a server's project to it whose disk was found there; False: it is not one.

    It was attached by hand, or by a job that ran when nobody waited for it any more.
    """
    row = await by_id(tx, volume_id)
    if (
        row is None
        or row.server_id is not None
        or row.project_id != server.project_id
        or row.status not in ("available", "error")
    ):
        return False
    await tx.run(
        "update volume set server_id = %s, position = %s, ganeti_uuid = %s,"
        " delete_on_termination = true where id = %s",
        (server.id, position, ganeti_uuid, volume_id),
    )
    await disk_is_there(tx, volume_id, size_gib)
    return True


async def made_with_server(tx: Any, server_id: int) -> None:
    """The disks that were made with a locked server are there."""
    rows = await tx.all(
        "update volume set status = 'in_use', initialised = true, updated_at = now()"
        " where server_id = %s and status = 'creating' and deleted_at is null returning id, local",
        (server_id,),
    )
    for row in rows:
        if not row.local:
            await volumes.tell(tx, "volume.changed", row.id)


async def restarted(tx: Any, server_id: int) -> None:
    """The machine has, or will have at its start, exactly the disks of its configuration."""
    await tx.run(
        "update volume set pending_restart = null where server_id = %s"
        " and pending_restart is not null",
        (server_id,),
    )


# When the server goes


async def to_keep(querier: Any, server_id: int) -> list[Any]:
    """The volumes of a server that must be taken off it before its instance is removed.

    One that is being taken off is among them, whatever was said of the server's end.

    :return: their ids and what Ganeti calls their disks (its own uuid, which may be empty).
    """
    return list(
        await querier.all(
            "select v.id, v.ganeti_uuid from volume v join volume_type t on t.id = v.volume_type_id"
            " where v.server_id = %s and not v.local"
            " and (not v.delete_on_termination or v.status = 'detaching')"
            " and v.deleted_at is null and v.status <> 'deleting' and t.disk_template = any(%s)"
            " order by v.position",
            (server_id, list(KEEPING)),
        )
    )


async def older(querier: Any, server_id: int) -> list[Any]:
    """The volumes that a server is to have and whose disks nobody has seen on it yet.

    :return: their ids and what Ganeti calls their disks (its own uuid, which may be empty).
    """
    return list(
        await querier.all(
            "select v.id, v.ganeti_uuid from volume v where v.server_id = %s and not v.local"
            " and v.initialised and v.cluster_id is not null and v.deleted_at is null"
            " order by v.position",
            (server_id,),
        )
    )


async def node_of_first(querier: Any, server_id: int) -> str | None:
    """The node of the disk that a new server boots from; None: any node can have it."""
    found: str | None = await querier.value(
        "select v.node from volume v join volume_type t on t.id = v.volume_type_id"
        " where v.server_id = %s and v.position = 0 and v.deleted_at is null"
        " and t.disk_template = any(%s)",
        (server_id, list(ON_A_NODE)),
    )
    return found


async def goes_with_server(tx: Any, volume_id: int) -> None:
    """The disk of a volume was seen on the instance of its server, which is to be removed."""
    await tx.run("update volume set cluster_id = null, node = null where id = %s", (volume_id,))


async def taken_off(tx: Any, server: Any, still_there: Iterable[int]) -> None:
    """Those volumes of a locked server that outlive it are free, but for these."""
    there = set(still_there)
    for row in await to_keep(tx, server.id):
        if row.id not in there:
            await _free(tx, server, row.id)


async def server_is_gone(tx: Any, server_id: int) -> None:
    """A locked server has no instance any more: its disks went with it."""
    rows = await tx.all(
        "select id, status, initialised, delete_on_termination, cluster_id from volume"
        " where server_id = %s and not local and deleted_at is null order by id for update",
        (server_id,),
    )
    for row in rows:
        if row.status == "attaching" and not row.initialised:
            # Nothing was ever on it: it can be attached to another server.
            await tx.run(f"update volume set {_FREE} where id = %s", (row.id,))
            await set_status(tx, row.id, "available")
        elif row.status == "attaching" and row.cluster_id is not None:
            # Its disk was never on it, and is where it was.
            await tx.run(f"update volume set {_FREE} where id = %s", (row.id,))
            await set_status(tx, row.id, "available")
        elif row.delete_on_termination or not row.initialised or row.status == "deleting":
            await _end(tx, row.id)
        else:
            await _lose(tx, row.id)
