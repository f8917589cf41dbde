"""The loop of the volumes of one cluster that no server has: removes their disks, or grows them.

See ``model/kept_volume_plan.py`` for how.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.loops.turns import Request, Turns
from cyclades_tx.model import kept_volume_plan as plan
from cyclades_tx.model.instance import Instance, NewDisk, NewInstance, SeenDisk
from cyclades_tx.model.job import Job
from cyclades_tx.model.kept_volume_plan import VolumeFacts, VolumeStep, plan_kept_volume
from cyclades_tx.model.moves import ABSENT
from cyclades_tx.model.operation import FAILED, Operation
from cyclades_tx.model.ownership import holder_tag
from cyclades_tx.model.step import Finish, Submit
from cyclades_tx.model.volume_keeping import ON_A_NODE
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import kept_volumes, operations, volume_attachments

#: A holder never runs, and its own disk is never used: both are as small as Ganeti's own policy
#: has them. It is not held against that, but the allocator, and a disk's growth, still are.
_HOLDER_VCPUS = 1
_HOLDER_MEMORY_MIB = 128
_HOLDER_DISK_MIB = 1024


class KeptVolumeWork(Turns[VolumeFacts]):
    """Turns for the volumes of one cluster."""

    kind = "volume"

    def __init__(self, work: ClusterWork, ganeti: GanetiSection) -> None:
        super().__init__(work)
        self._ganeti = ganeti

    async def _advance(self, volume_id: int, operation: Operation) -> float | None:
        if await self._volume(volume_id) is None:
            await self._finish(volume_id, operation, Finish(FAILED, "The volume is gone."))
            return None
        return await super()._advance(volume_id, operation)

    async def _opened(self, volume_id: int) -> Operation | None:
        cluster_id = self._work.lease.cluster_id
        return await operations.open_of_volume(self._work.database, volume_id, cluster_id)

    def _name(self, volume_id: int) -> str:
        return self._work.names.holder(volume_id)

    def _facts(self, job: Job | None) -> VolumeFacts:
        return VolumeFacts(job=job)

    def _plan(self, operation: Operation, facts: VolumeFacts) -> VolumeStep:
        return plan_kept_volume(operation, facts, self._work.now())

    async def _volume(self, volume_id: int) -> Any:
        return await volume_attachments.by_id(self._work.database, volume_id)

    async def _look(self, volume_id: int, operation: Operation, facts: VolumeFacts) -> VolumeFacts:
        seen = await self._work.instance(self._name(volume_id))
        if seen is None:
            return replace(facts, seen=ABSENT)
        volume = await self._volume(volume_id)
        place = self._place(volume, seen)
        return replace(
            facts,
            seen=seen,
            own=holder_tag(volume.uuid) in seen.tags,
            disk=None if place is None else seen.disks[place],
        )

    def _place(self, volume: Any, seen: Instance) -> int | None:
        """Where among a holder's disks the volume's is."""

        def is_its(disk: SeenDisk) -> bool:
            named = disk.name == self._work.names.disk(volume.id)
            return named or bool(disk.uuid and disk.uuid == volume.ganeti_uuid)

        return next((at for at, disk in enumerate(seen.disks) if is_its(disk)), None)

    async def _request(
        self, volume_id: int, operation: Operation, step: Submit, facts: VolumeFacts
    ) -> Request:
        cluster = self._work.cluster
        name, trail = self._name(volume_id), operation.trail()
        volume = await self._volume(volume_id)
        if step.step == plan.MAKE:
            holder = self._holder(volume)
            return lambda: cluster.create_instance(holder, trail)
        if step.step == plan.HOLD:
            return lambda: cluster.attach_disk(
                name, trail, volume.ganeti_uuid, False, within_policy=False
            )
        if step.step == plan.GROW:
            assert isinstance(facts.seen, Instance)
            place = self._place(volume, facts.seen)
            size_mib = operation.arguments["size_gib"] * 1024
            return lambda: cluster.grow_disk(name, trail, place, size_mib)
        if step.step == plan.PUT_BACK:
            assert facts.disk is not None
            known = facts.disk.uuid or facts.disk.name
            return lambda: cluster.detach_disk(name, trail, known, False, within_policy=False)
        return lambda: cluster.remove_instance(name, trail, 0)

    def _holder(self, volume: Any) -> NewInstance:
        name = self._work.names.holder(volume.id)
        return NewInstance(
            name=name,
            disk_template=volume.disk_template,
            # A directory of files is made for an instance with a disk only.
            disks=(NewDisk(name, _HOLDER_DISK_MIB),),
            nics=(),
            vcpus=_HOLDER_VCPUS,
            memory_mib=_HOLDER_MEMORY_MIB,
            os=self._ganeti.os,
            osparams={},
            hvparams=dict(self._ganeti.hvparams.get(self._work.hypervisor, {})),
            tags=(holder_tag(volume.uuid),),
            wait_for_sync=self._ganeti.wait_for_sync,
            start=False,
            node=volume.node if volume.disk_template in ON_A_NODE else None,
            install=False,
            within_policy=False,
        )

    async def _finish(self, volume_id: int, operation: Operation, step: Finish) -> None:
        lease = self._work.lease
        job = self._work.watch.ended(operation.job_id)

        async def write(tx: Any) -> bool:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            await operations.end_job(tx, operation, job)
            return await kept_volumes.settle(tx, operation, step.end, step.reason)

        closed = await self._work.database.transaction(
            write, f"volume.finish.{operation.kind}", turn=operation.project_id or ""
        )
        self._work.watch.forget(operation.job_id)
        if closed:
            self.log.info(
                "operation.ended",
                operation_id=operation.id,
                request_id=operation.request_id,
                kind=operation.kind,
                volume_id=volume_id,
                end=step.end,
                reason=step.reason,
            )
        if step.cancel_job is not None:
            try:
                await self._work.cluster.cancel_job(step.cancel_job)
            except GanetiError as error:
                self.log.debug("job.not_canceled", job_id=step.cancel_job, reason=error.message)
