"""What the operations on a server's volumes ask of its cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclades_tx.ganeti.interfaces import GanetiRefused
from cyclades_tx.model.instance import Instance, KeptDisk, NewDisk, SeenDisk
from cyclades_tx.model.moves import Seen
from cyclades_tx.model.names import Names
from cyclades_tx.model.operation import Operation
from cyclades_tx.model.step import LET_GO, Submit
from cyclades_tx.store import servers, volume_attachments

KINDS = volume_attachments.KINDS

Request = Callable[[], Any]


async def request(
    database: Any, cluster: Any, names: Names, trail: str, operation: Operation, seen: Seen
) -> Request:
    """The call that an operation on a volume of a server is.

    :param seen: the instance, for a volume that is to grow.
    :raise GanetiRefused: when it cannot be asked for; nothing was sent.
    """
    assert operation.server_id is not None
    wanted = operation.arguments
    name, hotplug = names.instance(operation.server_id), bool(wanted.get("hotplug"))
    volume = await volume_attachments.by_id(database, wanted.get("volume_id"))
    if volume is None or volume.server_id != operation.server_id:
        raise GanetiRefused("The volume is gone.", 404)
    if operation.kind == "attach_volume":
        if volume.initialised:
            if not volume.ganeti_uuid:
                raise GanetiRefused("By what the cluster knows the volume's disk is unknown.", 404)
            return lambda: cluster.attach_disk(name, trail, volume.ganeti_uuid, hotplug)
        disk = await new_disk(database, names, volume)
        return lambda: cluster.add_disk(name, trail, disk, hotplug)
    if operation.kind == "detach_volume":
        known = volume.ganeti_uuid or names.disk(volume.id)
        if wanted.get("delete"):
            return lambda: cluster.remove_disk(name, trail, known, hotplug)
        return lambda: cluster.detach_disk(name, trail, known, hotplug)
    disks = seen.disks if isinstance(seen, Instance) else ()
    place = _place(disks, names, volume.id, volume.ganeti_uuid)
    if place is None:
        raise GanetiRefused("The cluster has no disk of this volume.", 404)
    return lambda: cluster.grow_disk(name, trail, place, wanted["size_gib"] * 1024)


async def new_disk(database: Any, names: Names, volume: Any) -> NewDisk:
    """The disk that is made for a volume, by what its type says to Ganeti."""
    extra: dict[str, Any] = {}
    if volume.provider is not None:
        extra = dict(await servers.specs_of(database, volume.volume_type_id))
    return NewDisk(names.disk(volume.id), volume.size_gib * 1024, volume.provider, extra)


async def outliving(
    database: Any, names: Names, server_id: int, instance: Instance, kind: str = "delete"
) -> tuple[str, ...]:
    """The disks of an instance that outlive it, as the cluster knows them.

    :param kind: ``delete``; or ``create``, when those are meant that were there before it.
    """
    found = []
    ask = volume_attachments.older if kind == "create" else volume_attachments.to_keep
    for row in await ask(database, server_id):
        place = _place(instance.disks, names, row.id, row.ganeti_uuid)
        if place is not None:
            found.append(_known(instance.disks[place]))
    return tuple(found)


async def note_leaving(
    tx: Any, names: Names, server_id: int, instance: Instance, step: Submit
) -> None:
    """Write down which volumes have left an instance that is to be removed, and which leaves now.

    :param step: what is about to be asked of the cluster.
    """
    older = await volume_attachments.older(tx, server_id) if step.step == "delete" else []
    rows = await volume_attachments.to_keep(tx, server_id)
    if not older and not rows:
        return
    # Before its volumes, as everybody does.
    server = await servers.lock(tx, server_id)
    for row in older:
        if _place(instance.disks, names, row.id, row.ganeti_uuid) is not None:
            await volume_attachments.goes_with_server(tx, row.id)
    still_there = []
    for row in rows:
        place = _place(instance.disks, names, row.id, row.ganeti_uuid)
        if place is None:
            continue
        still_there.append(row.id)
        if step.step == LET_GO and _known(instance.disks[place]) == step.disk:
            await volume_attachments.set_status(tx, row.id, "detaching")
    await volume_attachments.taken_off(tx, server, still_there)


async def in_place(
    database: Any, cluster: Any, names: Names, trail: str, server_id: int
) -> Request:
    """The call that gives a new instance the disks of its server's volumes, the first one first.

    :raise GanetiRefused: when the cluster has no such disk; nothing was sent.
    """
    wanted: list[NewDisk | KeptDisk] = []
    for row in await servers.disks_of(database, server_id):
        volume = await volume_attachments.by_id(database, row.id)
        if not volume.initialised:
            wanted.append(await new_disk(database, names, row))
        elif volume.ganeti_uuid:
            wanted.append(KeptDisk(volume.ganeti_uuid))
        else:
            raise GanetiRefused("By what the cluster knows the volume's disk is unknown.", 404)
    name, place = names.instance(server_id), names.place(server_id)
    return lambda: cluster.put_disks(name, trail, wanted, place)


def _place(
    disks: tuple[SeenDisk, ...], names: Names, volume_id: int, ganeti_uuid: str
) -> int | None:
    """Where among an instance's disks that of a volume is: by our name, else by Ganeti's uuid."""
    for place, disk in enumerate(disks):
        if disk.name == names.disk(volume_id):
            return place
    for place, disk in enumerate(disks):
        if disk.uuid and disk.uuid == ganeti_uuid:
            return place
    return None


def _known(disk: SeenDisk) -> str:
    return disk.uuid or disk.name or ""
