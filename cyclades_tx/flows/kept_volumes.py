"""Changes of volumes that no server has, and whose disks a cluster keeps: each is an operation."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import Conflict, NoCapacity
from cyclades_tx.model import placement
from cyclades_tx.model.kept_volume_plan import DELETE, EXTEND
from cyclades_tx.model.volume_keeping import KEEPING, ON_A_NODE
from cyclades_tx.model.who import Who
from cyclades_tx.sections import OperationsSection
from cyclades_tx.store import operations, procedures, volume_attachments, volumes

_MIB = 1024


class KeptVolumes:
    """Opens operations on such volumes, which are locked, as are their project's holdings."""

    def __init__(self, deadlines: OperationsSection) -> None:
        self._deadlines = deadlines

    async def remove(self, tx: Any, who: Who, volume_id: int, request_id: str) -> None:
        """Wish a volume's disk gone, and the volume with it.

        :raise Conflict: when nobody knows where its disk is.
        """
        volume = await self._volume(tx, volume_id, "removed")
        await volumes.update(tx, volume_id, {"status": "deleting"})
        await volumes.tell(tx, "volume.changed", volume_id)
        await self._open(tx, who, volume, DELETE, request_id, {})

    async def extend(
        self, tx: Any, who: Who, volume_id: int, size_gib: int, request_id: str
    ) -> int:
        """Wish a volume's disk larger; the id of the operation, for what is kept for it.

        :param size_gib: the new size.
        :raise Conflict: when nobody knows where its disk is.
        :raise NoCapacity: when the cluster has no room.
        """
        volume = await self._volume(tx, volume_id, "grown")
        needed = (size_gib - volume.size_gib) * _MIB
        room = await procedures.room(tx, volume.cluster_id)
        if room is not None and needed >= room.disk_free_mib:
            raise NoCapacity(
                placement.NO_DISK,
                inside=f"Cluster {room.name} has {room.disk_free_mib} MiB of disk free, {needed}"
                " are needed.",
            )
        await volumes.update(tx, volume_id, {"status": "extending"})
        await volumes.tell(tx, "volume.changed", volume_id)
        return await self._open(tx, who, volume, EXTEND, request_id, {"size_gib": size_gib})

    async def _volume(self, tx: Any, volume_id: int, done: str) -> Any:
        volume = await volume_attachments.by_id(tx, volume_id)
        known = volume.cluster_id is not None and volume.ganeti_uuid
        if volume.disk_template in ON_A_NODE:
            known = known and volume.node
        if not known or volume.disk_template not in KEEPING:
            raise Conflict(
                f"The disk of volume {volume.uuid} cannot be {done}: where it is is not known."
                " Attach the volume to a server, or ask an operator.",
                "kept",
            )
        return volume

    async def _open(
        self,
        tx: Any,
        who: Who,
        volume: Any,
        kind: str,
        request_id: str,
        arguments: dict[str, Any],
    ) -> int:
        return await operations.open_operation(
            tx,
            kind=kind,
            cluster_id=volume.cluster_id,
            deadline_seconds=self._deadlines.deadline_seconds(kind),
            volume_id=volume.id,
            project_id=volume.project_id,
            user_id=who.user_id,
            request_id=request_id,
            arguments=arguments,
            reason="Waits to be sent to its cluster.",
        )
