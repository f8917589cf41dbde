"""What a person can ask for about the volumes of servers: put on, taken off, grown."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NoCapacity, NotFound
from cyclades_tx.flows.devices import Devices
from cyclades_tx.model import placement
from cyclades_tx.model.quota import DISK, GIB
from cyclades_tx.model.volume_keeping import KEEPING, ON_A_NODE, why_not
from cyclades_tx.model.who import Who
from cyclades_tx.store import procedures, quotas, servers, volume_attachments
from cyclades_tx.store.volumes import shown_status

#: A GiB in what clusters are asked for.
_MIB = 1024


class VolumeAttachments(Devices):
    """The flows of volumes on servers; each change is an operation on their server.

    A volume that no server had yet has no disk anywhere: its disk is made when it is attached.
    Where the cluster keeps disks that no instance has, the volume can be taken off again with all
    that is on it; elsewhere it stays with its server to the end, and goes with it.
    """

    async def attach(
        self,
        who: Who,
        server_ref: str,
        volume_ref: str,
        request_id: str,
        *,
        delete_on_termination: bool | None = None,
        tag: str | None = None,
    ) -> str:
        """Wish a volume on a server.

        :param delete_on_termination: whether it goes with the server; None: where it can outlive
            the server it does.
        :return: its UUID.
        :raise NotFound: for a server or volume that the caller does not see.
        :raise BadRequest: for a volume that is in use, or that this server cannot have.
        :raise Forbidden: when the server has as many disks as it may have.
        :raise Conflict: while the server cannot be changed.
        :raise NoCapacity: when its cluster has no room.
        """

        async def work(tx: Any) -> str:
            server = await self.locked_at_rest(tx, who, server_ref, "attach_volume")
            volume = await self._volume(tx, who, volume_ref)
            if volume.project_id != server.project_id:
                raise _no_volume(volume_ref)
            if volume.status != "available" or volume.server_id is not None:
                raise BadRequest(
                    f"Invalid volume: volume {volume.uuid} is '{shown_status(volume.status)}',"
                    " not 'available'."
                )
            await self.refuse_unplugged(tx, server, "attach_volume", "disks")
            await self._refuse_place(tx, server, volume)
            ends = _ends_with_server(volume.disk_template, delete_on_termination)
            position = await volume_attachments.next_position(tx, server.id, self._ganeti.max_disks)
            await volume_attachments.put_on(tx, volume.id, server.id, position, ends, tag)
            await self._open_of(tx, who, server, "attach_volume", request_id, volume)
            found: str = volume.uuid
            return found

        done: str = await self.turns.run(work, "server.attach_volume", who.turn)
        return done

    async def detach(self, who: Who, server_ref: str, volume_ref: str, request_id: str) -> None:
        """Wish a volume off its server, with all that is on it.

        :raise NotFound: when the server has no such volume.
        :raise Forbidden: for the disk that the server boots from.
        :raise Conflict: while the server cannot be changed, and where the cluster would not keep
            the disk: nothing is lost without a word.
        """

        async def work(tx: Any) -> None:
            server = await self.locked_at_rest(tx, who, server_ref, "detach_volume")
            volume = await self._of_server(tx, who, server, volume_ref)
            if volume.position == 0:
                raise Forbidden("Cannot detach a root device volume")
            if volume.disk_template not in KEEPING:
                raise Conflict(
                    f"Volume {volume.uuid} cannot be detached. {why_not(volume.disk_template)}",
                    "not_kept",
                )
            await self.refuse_unplugged(tx, server, "detach_volume", "disks")
            await volume_attachments.set_status(tx, volume.id, "detaching")
            await self._open_of(tx, who, server, "detach_volume", request_id, volume)

        await self.turns.run(work, "server.detach_volume", who.turn)

    async def delete(self, who: Who, volume_ref: str, request_id: str) -> None:
        """Wish a volume gone that a server has, with all that is on it: for whoever insists.

        :raise NotFound: when there is no such volume.
        :raise BadRequest: when no server has it, or one boots from it.
        :raise Conflict: while the server cannot be changed.
        """

        async def work(tx: Any) -> None:
            server, volume = await self._with_server(tx, who, volume_ref, "detach_volume")
            if volume.position == 0:
                raise BadRequest("Invalid volume: a server boots from it.")
            await self.refuse_unplugged(tx, server, "detach_volume", "disks")
            await volume_attachments.set_status(tx, volume.id, "deleting")
            await self._open_of(
                tx, who, server, "detach_volume", request_id, volume, {"delete": True}
            )

        await self.turns.run(work, "server.delete_volume", who.turn)

    async def extend(self, who: Who, volume_ref: str, size_gib: int, request_id: str) -> None:
        """Wish a volume larger that a server has; the server may run.

        The guest of a running machine sees its new size when that is next started.

        :param size_gib: the new size.
        :raise NotFound: when there is no such volume.
        :raise BadRequest: when it is as large already, or no server has it.
        :raise OverQuota: when the project may not have that much.
        :raise NoCapacity: when the cluster has no room.
        :raise Conflict: while the server cannot be changed.
        """

        async def work(tx: Any) -> None:
            server, volume = await self._with_server(tx, who, volume_ref, "extend_volume")
            growth_gib = size_gib - volume.size_gib
            if growth_gib <= 0:
                raise BadRequest(
                    f"New size for extend must be greater than current size. (current:"
                    f" {volume.size_gib}, extended: {size_gib})."
                )
            await self._refuse_room(tx, server, volume.disk_template, growth_gib)
            growth = {DISK: growth_gib * GIB}
            quotas.refuse_shortage(await quotas.lock(tx, server.project_id), growth)
            await volume_attachments.set_status(tx, volume.id, "extending")
            operation_id = await self._open_of(
                tx, who, server, "extend_volume", request_id, volume, {"size_gib": size_gib}
            )
            await quotas.reserve(tx, server.project_id, operation_id, growth)

        await self.turns.run(work, "server.extend_volume", who.turn)

    async def change(
        self, who: Who, server_ref: str, volume_ref: str, delete_on_termination: bool
    ) -> None:
        """Say whether a volume goes with its server.

        :raise NotFound: when the server has no such volume.
        :raise BadRequest: when it should outlive a server that it cannot leave.
        """

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, server_ref)
            self._refuse_locked(who, server)
            volume = await self._of_server(tx, who, server, volume_ref)
            ends = _ends_with_server(volume.disk_template, delete_on_termination)
            await tx.run(
                "update volume set delete_on_termination = %s, updated_at = now() where id = %s",
                (ends, volume.id),
            )

        await self._database.transaction(work, "server.change_volume", turn=who.turn)

    # What several of them do

    async def _open_of(
        self,
        tx: Any,
        who: Who,
        server: Any,
        kind: str,
        request_id: str,
        volume: Any,
        arguments: dict[str, Any] | None = None,
    ) -> int:
        whole = {**(arguments or {}), "volume_id": volume.id}
        return await self.open_change(tx, who, server, kind, request_id, whole, volume.id)

    async def _volume(self, tx: Any, who: Who, ref: str) -> Any:
        """Lock a volume that the caller sees; its server, if it has one, is locked before."""
        volume = await volume_attachments.find(tx, who, ref, lock=True)
        if volume is None:
            raise _no_volume(ref)
        return volume

    async def _of_server(self, tx: Any, who: Who, server: Any, ref: str) -> Any:
        """Lock a volume that a locked server has, and that nothing is being done with."""
        volume = await self._volume(tx, who, ref)
        if volume.server_id != server.id:
            raise _no_volume(ref)
        if volume.pending_restart is not None:
            raise Conflict(
                f"Volume {volume.uuid} leaves the server when that is next started or rebooted.",
                "state",
            )
        if volume.status != "in_use":
            raise Conflict(
                f"Volume {volume.uuid} is '{shown_status(volume.status)}', not 'in-use'.", "state"
            )
        return volume

    async def _with_server(self, tx: Any, who: Who, ref: str, verb: str) -> tuple[Any, Any]:
        """Lock the server of a volume, at rest, and then the volume."""
        seen = await volume_attachments.find(tx, who, ref)
        if seen is None:
            raise _no_volume(ref)
        if seen.server_id is None:
            raise BadRequest(f"Invalid volume: no server has volume {seen.uuid}.")
        uuid = await tx.value("select uuid::text from server where id = %s", (seen.server_id,))
        server = await self.locked_at_rest(tx, who, uuid, verb)
        return server, await self._of_server(tx, who, server, ref)

    async def _refuse_place(self, tx: Any, server: Any, volume: Any) -> None:
        """Refuse a server that cannot have this volume."""
        row = await servers.for_create(tx, server.id)
        if row.disk_template != volume.disk_template:
            raise BadRequest(
                f"Invalid volume: volume {volume.uuid} is of the kind {volume.disk_template}, the"
                f" server's disks are of the kind {row.disk_template}."
            )
        if not volume.initialised:
            if volume.source_kind is not None:
                raise BadRequest(
                    f"Invalid volume: what volume {volume.uuid} was made of gets on it when a"
                    " server boots from it; it cannot be a further disk."
                )
            await self._refuse_room(tx, server, volume.disk_template, volume.size_gib)
            return
        place = await tx.first(
            "select c.name, s.node from server s join cluster c on c.id = %s where s.id = %s",
            (volume.cluster_id, server.id),
        )
        if place is None or volume.cluster_id != server.cluster_id:
            where = "an unknown cluster" if place is None else f"cluster {place.name}"
            raise BadRequest(
                f"Invalid volume: volume {volume.uuid} is on {where}; the server is not there."
            )
        if volume.disk_template in ON_A_NODE and volume.node != place.node:
            raise BadRequest(
                f"Invalid volume: the disk of volume {volume.uuid} is on another machine of"
                f" cluster {place.name} than the server."
            )

    async def _refuse_room(self, tx: Any, server: Any, disk_template: str, gib: int) -> None:
        room = await procedures.room(tx, server.cluster_id)
        needed = gib * _MIB * (2 if disk_template == "drbd" else 1)
        if room is not None and needed >= room.disk_free_mib:
            raise NoCapacity(
                placement.NO_DISK,
                inside=f"Cluster {room.name} has {room.disk_free_mib} MiB of disk free, {needed}"
                " are needed.",
            )


def _ends_with_server(disk_template: str, wanted: bool | None) -> bool:
    """Whether a volume goes with its server.

    :raise BadRequest: when it should outlive a server that it cannot leave.
    """
    if disk_template in KEEPING:
        return bool(wanted)
    if wanted is False:
        raise BadRequest(f"delete_on_termination must be true. {why_not(disk_template)}")
    return True


def _no_volume(ref: str) -> NotFound:
    return NotFound(f"Volume {ref} could not be found.", "volume")
