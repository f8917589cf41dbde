"""The volumes that a new server should have: looked up before, made or taken with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclades_tx.errors import BadRequest, OverQuota
from cyclades_tx.flows.volumes import MOST_VOLUMES
from cyclades_tx.model.quota import DISK, GIB
from cyclades_tx.model.server import NewServer, WantedDisk
from cyclades_tx.model.volume_keeping import KEEPING, ON_A_NODE
from cyclades_tx.model.who import Who
from cyclades_tx.store import project_limits, quotas, volume_attachments, volumes
from cyclades_tx.store.project_limits import UNLIMITED


@dataclass(frozen=True)
class Disk:
    """A wanted volume with what was found of it.

    :ivar volume_ref: a volume that is there; None: a new one.
    :ivar ends_with_server: whether it goes with the server.
    :ivar cluster_id: the cluster that has its disk already; ``node``: the node of it, where only
        servers of that can have it.
    :ivar image_ref: the image that the volume was made of, as long as it has no disk.
    """

    wanted: WantedDisk
    size_gib: int
    volume_type_id: int
    ends_with_server: bool
    volume_ref: str | None = None
    cluster_id: int | None = None
    node: str | None = None
    image_ref: str | None = None


def home_of(disks: tuple[Disk, ...]) -> int | None:
    """The cluster that has the disk that a server boots from; None: there is no such disk yet."""
    return next((disk.cluster_id for disk in disks if disk.wanted.boot), None)


def image_of(disks: tuple[Disk, ...]) -> str | None:
    """The image of the volume that a server boots from, which is to get on it; None: none."""
    return next((disk.image_ref for disk in disks if disk.wanted.boot), None)


async def look_up(
    database: Any, who: Who, new: NewServer, disk_template: str, volume_type_id: int, most: int
) -> tuple[Disk, ...]:
    """The volumes of a server that is to be made.

    :param disk_template: the kind of disks of its flavor.
    :param volume_type_id: the type of new volumes that name none.
    :param most: how many disks a server may have.
    :raise BadRequest: for one that is not there, or that it cannot have.
    """
    if len(new.disks) + (not new.boots_from_volume) > most:
        raise BadRequest(f"A server may have at most {most} disks.")
    found = tuple(
        [
            await _found(database, who, new, each, disk_template, volume_type_id)
            for each in new.disks
        ]
    )
    _refuse_elsewhere(found)
    return found


async def _found(
    database: Any,
    who: Who,
    new: NewServer,
    wanted: WantedDisk,
    disk_template: str,
    volume_type_id: int,
) -> Disk:
    # Clients say that a volume stays even where none can: there it goes with its server.
    ends = disk_template not in KEEPING or bool(wanted.delete_on_termination)
    if wanted.volume_ref is None:
        if wanted.type_ref is not None:
            kind = await volumes.volume_type(database, wanted.type_ref, who.admin)
            if kind is None:
                raise BadRequest(f"Volume type {wanted.type_ref[:255]} could not be found.")
            _refuse_kind(kind.disk_template, disk_template)
            volume_type_id = kind.id
        if disk_template == "diskless":
            raise BadRequest("Servers of this flavor have no disks.")
        assert wanted.size_gib is not None
        return Disk(wanted, wanted.size_gib, volume_type_id, ends)
    if new.max_count > 1:
        raise BadRequest("Cannot attach one or more volumes to multiple instances")
    volume = await volume_attachments.find(database, who, wanted.volume_ref)
    if volume is None or volume.project_id != who.project_id:
        raise BadRequest(f"Block Device Mapping is Invalid: failed to get {_named(wanted)}.")
    _refuse_unfit(volume, wanted)
    _refuse_kind(volume.disk_template, disk_template)
    if volume.initialised:
        _refuse_lost(volume)
    on_a_node = volume.initialised and disk_template in ON_A_NODE
    return Disk(
        wanted,
        volume.size_gib,
        volume.volume_type_id,
        ends,
        volume.uuid,
        cluster_id=volume.cluster_id if volume.initialised else None,
        node=volume.node if on_a_node else None,
        image_ref=volume.source_uuid
        if volume.source_kind == "image" and not volume.initialised
        else None,
    )


def _refuse_lost(volume: Any) -> None:
    """Refuse a volume of whose disk nobody knows where it is."""
    lost = volume.cluster_id is None or not volume.ganeti_uuid
    if lost or (volume.disk_template in ON_A_NODE and volume.node is None):
        raise BadRequest(
            f"Block Device Mapping is Invalid: where the disk of volume {volume.uuid} is is not"
            " known."
        )


def _refuse_elsewhere(disks: tuple[Disk, ...]) -> None:
    """Refuse disks that are there, unless the first one is, and they are where that is.

    A system is installed on new disks only, while the machine is made.
    """
    first = next((disk for disk in disks if disk.wanted.boot), None)
    for disk in disks:
        if disk.cluster_id is None or disk is first:
            continue
        if first is None or first.cluster_id is None:
            raise BadRequest(
                f"Block Device Mapping is Invalid: {_named(disk.wanted)} has a disk on a cluster;"
                " attach it when the server is made, if that is there too."
            )
        if (disk.cluster_id, disk.node) != (first.cluster_id, first.node):
            raise BadRequest(
                f"Block Device Mapping is Invalid: {_named(disk.wanted)} and"
                f" {_named(first.wanted)} have disks on different clusters or machines."
            )


def _refuse_unfit(volume: Any, wanted: WantedDisk) -> None:
    """Refuse a volume that a new server cannot have.

    :raise BadRequest: says why.
    """
    if volume.status != "available" or volume.server_id is not None:
        raise BadRequest(
            f"Block Device Mapping is Invalid: {_named(wanted)} is '{volume.status}', not"
            " 'available'."
        )
    if wanted.boot and not volume.bootable:
        raise BadRequest(f"Block Device {volume.uuid} is not bootable.")
    if not wanted.boot and not volume.initialised and volume.source_kind is not None:
        raise BadRequest(
            f"Block Device Mapping is Invalid: what {_named(wanted)} was made of gets on it when a"
            " server boots from it; it cannot be a further disk."
        )


def _refuse_kind(kind: str, disk_template: str) -> None:
    if kind != disk_template:
        raise BadRequest(
            f"Block Device Mapping is Invalid: the volume's disk is of the kind {kind}, the"
            f" flavor's disks are of the kind {disk_template}."
        )


def _named(wanted: WantedDisk) -> str:
    return f"volume {(wanted.volume_ref or '')[:80]}"


async def make(
    tx: Any,
    who: Who,
    project_id: str,
    server_id: int,
    disks: tuple[Disk, ...],
    image_uuid: Any,
) -> None:
    """Write down the volumes of a new server; the project's holdings are locked.

    :param image_uuid: what its first disk is made of.
    :raise BadRequest: when one is not free any more.
    :raise OverQuota: when the project may not have so many.
    """
    if not disks:
        return
    position = 0 if any(disk.wanted.boot for disk in disks) else 1
    fresh_gib = 0
    for disk in sorted(disks, key=lambda disk: not disk.wanted.boot):
        if disk.volume_ref is None:
            await _insert(tx, who, project_id, server_id, position, disk, image_uuid)
            fresh_gib += disk.size_gib
        else:
            volume = await volume_attachments.find(tx, who, disk.volume_ref, lock=True)
            if volume is None:
                raise BadRequest(f"Block Device Mapping is Invalid: no {_named(disk.wanted)}.")
            _refuse_unfit(volume, disk.wanted)
            _refuse_changed(volume, disk, project_id)
            await volume_attachments.put_on(
                tx, volume.id, server_id, position, disk.ends_with_server, disk.wanted.tag
            )
            if disk.wanted.boot:
                await _boots_from_volume(tx, server_id)
        position += 1
    if fresh_gib:
        await quotas.add(tx, project_id, {DISK: fresh_gib * GIB})
        most = await project_limits.limit_of(tx, project_id, "volumes", MOST_VOLUMES)
        if most != UNLIMITED and await volumes.count(tx, project_id) > most:
            raise OverQuota(
                f"VolumeLimitExceeded: Maximum number of volumes allowed ({most}) exceeded for"
                " quota 'volumes'."
            )


async def _insert(
    tx: Any,
    who: Who,
    project_id: str,
    server_id: int,
    position: int,
    disk: Disk,
    image_uuid: Any,
) -> None:
    boots = disk.wanted.boot
    volume_id: int = await tx.value(
        "insert into volume (user_id, project_id, size_gib, volume_type_id, bootable, source_kind,"
        " source_uuid, status, server_id, position, delete_on_termination, attachment_tag)"
        " values (%s, %s, %s, %s, %s, %s, %s, 'creating', %s, %s, %s, %s) returning id",
        (
            who.user_id,
            project_id,
            disk.size_gib,
            disk.volume_type_id,
            boots,
            "image" if boots else None,
            image_uuid if boots else None,
            server_id,
            position,
            disk.ends_with_server,
            disk.wanted.tag,
        ),
    )
    await volumes.tell(tx, "volume.created", volume_id)
    if boots:
        await _boots_from_volume(tx, server_id)


async def _boots_from_volume(tx: Any, server_id: int) -> None:
    await tx.run("update server set boots_from_volume = true where id = %s", (server_id,))


def _refuse_changed(volume: Any, disk: Disk, project_id: str) -> None:
    """Refuse a volume that has got a disk, size or owner since it was looked up."""
    where = volume.cluster_id if volume.initialised else None
    now = (where, volume.size_gib, volume.project_id)
    if now != (disk.cluster_id, disk.size_gib, project_id):
        raise BadRequest(f"Block Device Mapping is Invalid: {_named(disk.wanted)} has changed.")
