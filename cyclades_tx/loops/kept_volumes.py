"""The loop of the volumes of one cluster that no server has: removes their disks, or grows them.

See ``model/kept_volume_plan.py`` for how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.logger import Logger

from cyclades_tx.ganeti.interfaces import GanetiError, GanetiRefused
from cyclades_tx.loops import submission
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.model import kept_volume_plan as plan
from cyclades_tx.model.instance import Instance, NewDisk, NewInstance, SeenDisk
from cyclades_tx.model.kept_volume_plan import VolumeFacts, plan_kept_volume
from cyclades_tx.model.moves import ABSENT
from cyclades_tx.model.operation import FAILED, SUBMITTED, Operation
from cyclades_tx.model.ownership import holder_tag
from cyclades_tx.model.step import Adopt, AskInstance, AskSiblings, Confirm, Finish, Submit, Wait
from cyclades_tx.model.volume_keeping import ON_A_NODE
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import kept_volumes, operations, volume_attachments

MOST_STEPS = 25

#: A holder never runs, and its own disk is never used: both are as small as Ganeti's own policy
#: has them. It is not held against that, but the allocator, and a disk's growth, still are.
_HOLDER_VCPUS = 1
_HOLDER_MEMORY_MIB = 128
_HOLDER_DISK_MIB = 1024


class KeptVolumeWork:
    """Turns for the volumes of one cluster; the key of a turn is the volume's id."""

    log = Logger()

    def __init__(self, work: ClusterWork, ganeti: GanetiSection) -> None:
        self._work = work
        self._ganeti = ganeti

    async def turn(self, volume_id: int) -> float | None:
        """Do what there is to do for a volume on this cluster now."""
        work = self._work
        for _ in range(MOST_STEPS):
            operation = await operations.open_of_volume(
                work.database, volume_id, work.lease.cluster_id
            )
            if operation is None:
                return None
            pause = await self._advance(volume_id, operation)
            if pause is not None:
                return pause
        return 1.0

    async def _advance(self, volume_id: int, operation: Operation) -> float | None:
        work = self._work
        volume = await volume_attachments.by_id(work.database, volume_id)
        if volume is None:
            await self._finish(operation, Finish(FAILED, "The volume is gone."))
            return None
        facts = VolumeFacts(job=work.watch.ended(operation.job_id))
        for _ in range(MOST_STEPS):
            step = plan_kept_volume(operation, facts, work.now())
            try:
                if isinstance(step, AskSiblings):
                    name = work.names.holder(volume_id)
                    found = await work.cluster.jobs_for(name, operation.trail())
                    facts = replace(facts, siblings=found)
                    continue
                if isinstance(step, AskInstance):
                    facts = await self._look(volume, facts)
                    continue
                if isinstance(step, Confirm):
                    assert operation.job_id is not None
                    facts = VolumeFacts(job=await work.watch.confirm(operation.job_id))
                    continue
            except GanetiError as error:
                return await self._unreachable(operation, error)
            if isinstance(step, Wait):
                if operation.state == SUBMITTED and operation.job_id is not None:
                    work.watch.watch(operation.job_id, f"v{volume_id}", operation.id)
                return step.seconds
            if isinstance(step, Adopt):
                await self._mark(operation, operation.step, operation.attempt, step.job_id)
                return 0.0
            if isinstance(step, Finish):
                await self._finish(operation, step)
                return None
            return await self._submit(volume, operation, step, facts)
        return 1.0

    async def _look(self, volume: Any, facts: VolumeFacts) -> VolumeFacts:
        seen = await self._work.instance(self._work.names.holder(volume.id))
        if seen is None:
            return replace(facts, seen=ABSENT)
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

    async def _unreachable(self, operation: Operation, error: GanetiError) -> float | None:
        if self._work.now() >= operation.deadline_at:
            why = f"The cluster did not answer before the deadline. {error.message}"
            await self._finish(operation, Finish(FAILED, why))
            return None
        return await self._work.note_silence(operation, error)

    async def _mark(self, operation: Operation, step: str, attempt: int, job_id: int) -> None:
        await submission.submitted(
            self._work,
            operation,
            step,
            attempt,
            job_id,
            key=f"v{operation.volume_id}",
            transaction="volume.submitted",
        )

    async def _submit(
        self, volume: Any, operation: Operation, step: Submit, facts: VolumeFacts
    ) -> float | None:
        async def write(tx: Any) -> bool:
            return await submission.begin(tx, self._work, operation, step, facts.job)

        if not await self._work.database.transaction(write, "volume.submit"):
            return None
        self._work.watch.forget(operation.job_id)
        self._work.crash(f"before-call:{step.step}")
        try:
            job_id = await self._call(volume, operation, step, facts)()
        except GanetiRefused as error:
            sent = replace(operation, step=step.step, attempt=step.attempt, job_id=None)
            await self._finish(sent, Finish(FAILED, f"The cluster refused: {error.message}"))
            return None
        except GanetiError as error:
            return await submission.unsent(
                self._work, operation, error, transaction="volume.unsent"
            )
        self._work.crash(f"after-call:{step.step}")
        await self._mark(operation, step.step, step.attempt, job_id)
        self.log.info(
            "operation.submitted",
            operation_id=operation.id,
            request_id=operation.request_id,
            kind=operation.kind,
            volume_id=operation.volume_id,
            job_id=job_id,
        )
        return 2.0

    def _call(
        self, volume: Any, operation: Operation, step: Submit, facts: VolumeFacts
    ) -> Callable[[], Any]:
        """What a step asks of the cluster."""
        cluster, name = self._work.cluster, self._work.names.holder(volume.id)
        trail = replace(operation, step=step.step, attempt=step.attempt).trail()
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

    async def _finish(self, operation: Operation, step: Finish) -> None:
        lease = self._work.lease
        job = self._work.watch.ended(operation.job_id)

        async def write(tx: Any) -> bool:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            result = "unknown" if job is None else str(job.status)
            await operations.end_step(tx, operation, result, "" if job is None else job.message)
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
                volume_id=operation.volume_id,
                end=step.end,
                reason=step.reason,
            )
        if step.cancel_job is not None:
            try:
                await self._work.cluster.cancel_job(step.cancel_job)
            except GanetiError as error:
                self.log.debug("job.not_canceled", job_id=step.cancel_job, reason=error.message)
