"""What a person can ask for about volumes.

A volume that no server has is a record: no cluster has a disk for it before it is attached for
the first time. So most changes are done at once, without an operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound, OverQuota
from cyclades_tx.flows.kept_volumes import KeptVolumes
from cyclades_tx.flows.volume_attachments import VolumeAttachments
from cyclades_tx.model import quota
from cyclades_tx.model.server import MAX_METADATA
from cyclades_tx.model.who import Who
from cyclades_tx.store import images, project_limits, quotas
from cyclades_tx.store import volumes as store
from cyclades_tx.store.project_limits import UNLIMITED
from cyclades_tx.store.volumes import Volume, VolumeType

#: The largest disk that there can be, in GiB.
MOST_GIB = 1_048_576
#: How many volumes a project may have when nothing else was said for it.
MOST_VOLUMES = 1000

AVAILABLE = "available"
IN_USE = "in_use"
ERROR = "error"
#: What is at rest, so that it may be deleted.
_DELETABLE = (AVAILABLE, ERROR, "error_deleting")
#: What an administrator may say that a volume is, by whether a server has it.
_RESET = {False: (AVAILABLE, ERROR), True: (IN_USE, ERROR)}


@dataclass(frozen=True)
class NewVolume:
    """What is asked for.

    :ivar size_gib: its size.
    :ivar type_ref: a volume type by UUID or name; None: the first one.
    :ivar zone: the name of the zone where it is wanted; None: anywhere.
    :ivar image_ref: the image that gets on it when a server boots from it first; None: it is blank.
    """

    size_gib: int
    name: str = ""
    description: str | None = None
    type_ref: str | None = None
    zone: str | None = None
    image_ref: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def no_volume(ref: str) -> NotFound:
    """The fault for a volume that is not there or not the caller's to see."""
    return NotFound(f"Volume {ref} could not be found.", "volume")


class Volumes:
    """The flows of volumes; a change of what is charged locks the holdings before the volume.

    :param attachments: grows and removes the disks of volumes that servers have.
    """

    def __init__(self, database: Any, attachments: VolumeAttachments) -> None:
        self._database = database
        self._attachments = attachments
        self._kept = KeptVolumes(attachments.deadlines)

    async def create(self, who: Who, new: NewVolume) -> str:
        """Make a volume that no server has yet; return its UUID.

        :raise NotFound: for a type that the caller does not see.
        :raise BadRequest: for a zone that is none, or a type without disks.
        :raise OverQuota: when the project may not have that much more.
        """
        project_id = who.project_id
        if project_id is None:
            raise Forbidden("This needs a token that is scoped to a project.")

        async def work(tx: Any) -> str:
            holdings = await quotas.lock(tx, project_id)
            kind = await self._type(tx, who, new.type_ref)
            if new.zone is not None and not await store.zone_exists(tx, new.zone, project_id):
                raise BadRequest(f"Availability zone '{new.zone[:255]}' is invalid.")
            image_uuid = await self._image(tx, who, new)
            await refuse_shortage(tx, project_id, holdings, new.size_gib)
            volume_id, uuid = await store.insert(
                tx,
                project_id=project_id,
                user_id=who.user_id,
                name=new.name,
                description=new.description,
                size_gib=new.size_gib,
                volume_type_id=kind.id,
                availability_zone=new.zone,
                image_uuid=image_uuid,
            )
            await store.set_metadata(tx, volume_id, new.metadata)
            await quotas.add(tx, project_id, {quota.DISK: new.size_gib * quota.GIB})
            await store.tell(tx, "volume.created", volume_id)
            return uuid

        made: str = await self._database.transaction(work, "volume.create", turn=who.turn)
        return made

    async def _image(self, tx: Any, who: Who, new: NewVolume) -> str | None:
        """The UUID of the image that a new volume is made of; None: of none.

        :raise BadRequest: for one that the caller does not see, or that is larger.
        """
        if new.image_ref is None:
            return None
        try:
            image = await images.seen(tx, who, new.image_ref, bootable=True)
        except NotFound:
            raise BadRequest("Invalid imageRef provided.") from None
        if new.size_gib < image.min_disk_gib:
            raise BadRequest(
                f"Volume size {new.size_gib}GB cannot be smaller than the image minDisk size"
                f" {image.min_disk_gib}GB."
            )
        return str(image.uuid)

    async def update(
        self, who: Who, ref: str, changes: Mapping[str, Any], metadata: Mapping[str, str] | None
    ) -> None:
        """Change a volume's name or description, or put other metadata in place of its own.

        :param changes: ``name`` and ``description``, as far as they change.
        :param metadata: None: it stays.
        """

        async def work(tx: Any) -> None:
            volume = await self._locked(tx, who, ref)
            await store.update(tx, volume.id, changes)
            if metadata is not None:
                await store.clear_metadata(tx, volume.id)
                await store.set_metadata(tx, volume.id, metadata)
            await store.tell(tx, "volume.changed", volume.id)

        await self._database.transaction(work, "volume.update")

    async def set_bootable(self, who: Who, ref: str, bootable: bool) -> None:
        """Say whether a server can start from a volume."""

        async def work(tx: Any) -> None:
            volume = await self._locked(tx, who, ref)
            await store.update(tx, volume.id, {"bootable": bootable})

        await self._database.transaction(work, "volume.set_bootable")

    # Metadata

    async def set_metadata(
        self, who: Who, ref: str, items: Mapping[str, str], replace: bool
    ) -> dict[str, str]:
        """Add metadata items, or put them in place of all there are; return what is there then.

        :raise BadRequest: when there would be too many.
        """

        async def work(tx: Any) -> dict[str, str]:
            volume = await self._locked(tx, who, ref)
            if replace:
                await store.clear_metadata(tx, volume.id)
            await store.set_metadata(tx, volume.id, items)
            found = await store.metadata(tx, volume.id)
            if len(found) > MAX_METADATA:
                raise BadRequest(f"A volume may have at most {MAX_METADATA} metadata items.")
            await store.update(tx, volume.id, {})
            return found

        kept: dict[str, str] = await self._database.transaction(work, "volume.metadata")
        return kept

    async def delete_metadata(self, who: Who, ref: str, key: str) -> None:
        """Remove a metadata item.

        :raise NotFound: when there is none with that key.
        """

        async def work(tx: Any) -> None:
            volume = await self._locked(tx, who, ref)
            if not await store.delete_metadata(tx, volume.id, key):
                raise NotFound(
                    f"Volume {ref} has no metadata with key {key[:255]}.", "volume_metadata"
                )
            await store.update(tx, volume.id, {})

        await self._database.transaction(work, "volume.metadata")

    # Size, type, status

    async def extend(self, who: Who, ref: str, size_gib: int, request_id: str) -> None:
        """Make a volume larger: at once while it has no disk, else by an operation.

        :raise BadRequest: when it is not larger then, or the volume is at something else.
        :raise OverQuota: when the project may not have that much more.
        :raise Conflict: when nobody knows where its disk is.
        """
        found = await self._find(self._database, who, ref)
        if found.server_id is not None:
            if found.status != IN_USE:
                raise _not_now(found, "available or in-use", "extended")
            await self._attachments.extend(who, found.uuid, size_gib, request_id)
            return

        async def work(tx: Any) -> None:
            seen = await self._find(tx, who, ref)
            holdings = await quotas.lock(tx, seen.project_id)
            volume = await self._locked(tx, who, ref, seen)
            if volume.status != AVAILABLE:
                raise _not_now(volume, "available or in-use", "extended")
            if size_gib <= volume.size_gib:
                raise BadRequest(
                    "New size for extend must be greater than current size. (current:"
                    f" {volume.size_gib}, extended: {size_gib})."
                )
            growth = {quota.DISK: (size_gib - volume.size_gib) * quota.GIB}
            quotas.refuse_shortage(holdings, growth)
            if volume.initialised:
                await self._refuse_busy(tx, volume)
                opened = await self._kept.extend(tx, who, volume.id, size_gib, request_id)
                await quotas.reserve(tx, volume.project_id, opened, growth)
                return
            await store.update(tx, volume.id, {"size_gib": size_gib})
            await quotas.add(tx, volume.project_id, growth)
            await store.tell(tx, "volume.changed", volume.id)

        await self._database.transaction(work, "volume.extend", turn=who.turn)

    async def retype(self, who: Who, ref: str, type_ref: str) -> None:
        """Give a volume that has no disk yet another type.

        :raise BadRequest: when it has a disk, or is at something.
        :raise NotFound: for a type that the caller does not see.
        """

        async def work(tx: Any) -> None:
            volume = await self._locked(tx, who, ref)
            kind = await self._type(tx, who, type_ref)
            if volume.status != AVAILABLE:
                raise _not_now(volume, "available", "retyped")
            if volume.initialised:
                raise BadRequest(
                    f"Volume {volume.uuid} has a disk: disks cannot move from one kind of storage"
                    " to another on this cloud."
                )
            await store.update(tx, volume.id, {"volume_type_id": kind.id})
            await store.tell(tx, "volume.changed", volume.id)

        await self._database.transaction(work, "volume.retype")

    async def reset_status(self, who: Who, ref: str, status: str) -> None:
        """Say what a volume is, where nothing works on it.

        :param status: in the words of the database.
        :raise BadRequest: for a status that does not fit to where the volume is.
        """

        async def work(tx: Any) -> None:
            volume = await self._locked(tx, who, ref)
            attached = volume.server_id is not None
            if status not in _RESET[attached]:
                raise BadRequest(
                    f"Volume {volume.uuid} is {'' if attached else 'not '}attached: its status can"
                    f" be reset to {' or '.join(_RESET[attached]).replace('_', '-')} only."
                )
            await self._refuse_busy(tx, volume)
            await tx.run("delete from volume_transfer where volume_id = %s", (volume.id,))
            await store.update(tx, volume.id, {"status": status})
            await store.tell(tx, "volume.changed", volume.id)

        await self._database.transaction(work, "volume.reset_status")

    # The end

    async def delete(self, who: Who, ref: str, request_id: str, *, force: bool = False) -> None:
        """Delete a volume: at once while it has no disk, or when that was taken away by hand.

        One with a disk is removed by an operation.

        :param force: whatever its status says, as long as nothing works on it; one that a server
            has is taken off it, with all that is on it.
        :raise BadRequest: when it is in use, offered to somebody, or at something.
        :raise Conflict: when nobody knows where its disk is.
        """
        found = await self._find(self._database, who, ref)
        if force and found.server_id is not None:
            await self._attachments.delete(who, found.uuid, request_id)
            return

        async def work(tx: Any) -> None:
            seen = await self._find(tx, who, ref)
            await quotas.lock(tx, seen.project_id)
            volume = await self._locked(tx, who, ref, seen)
            if volume.server_id is not None or (volume.status not in _DELETABLE and not force):
                raise _not_now(volume, "available or error, and not attached", "deleted")
            await self._refuse_busy(tx, volume)
            lost = volume.status == ERROR and volume.cluster_id is None
            if volume.initialised and not lost:
                await tx.run("delete from volume_transfer where volume_id = %s", (volume.id,))
                await self._kept.remove(tx, who, volume.id, request_id)
                return
            await store.delete(tx, volume.id)
            await quotas.add(tx, volume.project_id, {quota.DISK: -volume.size_gib * quota.GIB})
            await store.tell(tx, "volume.deleted", volume.id)

        await self._database.transaction(work, "volume.delete", turn=who.turn)

    async def check(self, who: Who, ref: str) -> None:
        """Raise when the caller sees no such volume."""
        await self._find(self._database, who, ref)

    async def check_detached(self, who: Who, ref: str) -> None:
        """Raise when a server has a volume, or the caller does not see it."""
        found = await self._find(self._database, who, ref)
        if found.server_id is not None:
            raise _not_now(found, "available", "extended")

    # What all of them do

    async def _find(self, tx: Any, who: Who, ref: str) -> Volume:
        found = await store.find(tx, ref, None if who.admin else who.project_id)
        if found is None:
            raise no_volume(ref)
        return found

    async def _locked(self, tx: Any, who: Who, ref: str, before: Volume | None = None) -> Volume:
        """Lock a volume that the caller sees.

        :param before: as it was when its project and server were locked.
        :raise Conflict: when another project or server has it by now.
        """
        found = await store.lock(tx, ref, None if who.admin else who.project_id)
        if found is None:
            raise no_volume(ref)
        if before is not None and (before.project_id, before.server_id) != (
            found.project_id,
            found.server_id,
        ):
            raise Conflict(f"Volume {found.uuid} is being moved; try again.", "busy")
        return found

    async def _type(self, tx: Any, who: Who, ref: str | None) -> VolumeType:
        if ref is None:
            kind = await store.first_type(tx)
            if kind is None:
                raise BadRequest("This cloud has no volume type yet: an operator makes one first.")
            return kind
        kind = await store.volume_type(tx, ref, who.admin)
        if kind is None:
            raise NotFound(f"Volume type {ref[:255]} could not be found.", "volume_type")
        if kind.disk_template == "diskless":
            raise BadRequest(f"Volume type {kind.name} has no disks.")
        return kind

    @staticmethod
    async def _refuse_busy(tx: Any, volume: Volume) -> None:
        """Raise while an operation works on a volume, or on the server that has it."""
        if await store.is_busy(tx, volume):
            raise BadRequest(
                f"Invalid volume: an operation on volume {volume.uuid} is under way; try later."
            )


async def refuse_shortage(
    tx: Any, project_id: str, holdings: Mapping[str, quota.Holding], size_gib: int
) -> None:
    """Raise when a project may not have one more volume of this size; its holdings are locked.

    :raise OverQuota: says what is short.
    """
    quotas.refuse_shortage(holdings, {quota.DISK: size_gib * quota.GIB})
    most = await project_limits.limit_of(tx, project_id, "volumes", MOST_VOLUMES)
    if most != UNLIMITED and await store.count(tx, project_id) >= most:
        raise OverQuota(
            f"VolumeLimitExceeded: Maximum number of volumes allowed ({most}) exceeded for quota"
            " 'volumes'."
        )


def _not_now(volume: Volume, wanted: str, done: str) -> BadRequest:
    return BadRequest(
        f"Invalid volume: Volume status must be {wanted} to be {done}, but volume {volume.uuid}"
        f" is {store.shown_status(volume.status)}."
    )
