"""The loop of the servers of one cluster: makes open operations true, follows what is at rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.logger import Logger

from cyclades_tx.ganeti.interfaces import (
    GanetiError,
    GanetiRefused,
    GanetiUnavailable,
    GanetiUncertain,
)
from cyclades_tx.image_store.signing import Locate, as_it_is
from cyclades_tx.loops import firewalls, submission, volumes
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.loops.elsewhere import Elsewhere
from cyclades_tx.loops.first_boots import Rearm, Secrets, never_again
from cyclades_tx.loops.resting import RestingServers
from cyclades_tx.loops.server_calls import ServerCalls
from cyclades_tx.model import creation, procedure
from cyclades_tx.model.instance import Instance
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.job_end import failure_of
from cyclades_tx.model.moves import ABSENT, UNSEEN
from cyclades_tx.model.operation import (
    FAILED,
    PENDING,
    SUBMITTED,
    Operation,
)
from cyclades_tx.model.ownership import Owner
from cyclades_tx.model.plan import plan_refused, plan_server
from cyclades_tx.model.step import (
    CLEAN,
    Adopt,
    AskInstance,
    AskOwner,
    AskSecret,
    AskSiblings,
    Confirm,
    Facts,
    Finish,
    Submit,
    Wait,
)
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import operations, servers
from cyclades_tx.vault import ISecretStore

#: Operations whose end is what is seen of a server's devices.
_OF_DEVICES = ("attach_port", "detach_port", *volumes.KINDS)

#: A turn that takes more steps than this has lost its way; it is called again later.
MOST_STEPS = 25


class ServerWork:
    """Turns for the servers of one cluster; the key of a turn is the server's id.

    :param config_url: makes the URL of the first boot's document from its token.
    :param elsewhere: finds instances that were moved to other clusters by hand.
    :param locate: says from where the cluster gets an image.
    :param rearm: asked when the secrets of a first boot are gone before their job was sent.
    """

    log = Logger()

    def __init__(
        self,
        work: ClusterWork,
        vault: ISecretStore,
        open_token: Callable[[str, str], str],
        config_url: Callable[[str], str],
        ganeti: GanetiSection,
        elsewhere: Elsewhere | None = None,
        rearm: Rearm = never_again,
        locate: Locate = as_it_is,
    ) -> None:
        self._work = work
        #: Follows the cluster where nothing is under way.
        self.resting = RestingServers(work, elsewhere)
        self._firewalls = firewalls.Firewalls(work, ganeti)
        self._calls = ServerCalls(work, open_token, config_url, ganeti, self._firewalls, locate)
        self._secrets = Secrets(work, vault, self._calls.token, rearm)
        self._told_to_stop: set[int] = set()

    async def turn(self, server_id: int) -> float | None:
        """Do what there is to do for a server now; see :class:`~.driver.Loop`."""
        for _ in range(MOST_STEPS):
            opened = await operations.open_of_server(self._work.database, server_id)
            if not opened:
                pause = await self._firewalls.open(server_id)
                if pause == 0.0:
                    continue
                await self.resting.look(server_id)
                return pause
            self.resting.moves(server_id)
            operation = opened[0]
            pause = await self._advance(server_id, operation, len(opened) > 1)
            if pause is not None:
                return pause
        return 1.0

    async def _owner(self, server_id: int) -> Owner:
        found = await servers.owner_of(self._work.database, server_id)
        assert found is not None  # it has an operation
        return found[0]

    async def _advance(self, server_id: int, operation: Operation, deleted: bool) -> float | None:
        """Take steps until the operation is over (None) or waits (a pause in seconds)."""
        facts = Facts(job=self._work.watch.ended(operation.job_id), deleted=deleted)
        if operation.kind in ("create", "attach_port") and operation.state == PENDING:
            facts = await self._with_networks(server_id, facts)
        if operation.kind in firewalls.KINDS:
            wanted = await self._firewalls.wanted(server_id, operation)
            facts = replace(facts, firewall=wanted)
        if operation.kind == "delete" and operation.state == PENDING:
            try:
                facts = replace(facts, running_job=await self.resting.creating_job(server_id))
            except GanetiError as error:
                return await self._unreachable(operation, error)
        for _ in range(MOST_STEPS):
            step = plan_server(operation, facts, self._work.now())
            try:
                if isinstance(step, AskSiblings):
                    found = await self._work.cluster.jobs_for(
                        self._work.names.instance(server_id), operation.trail()
                    )
                    facts = replace(facts, siblings=found)
                    continue
                if isinstance(step, AskInstance):
                    instance = await self._work.instance(server_id)
                    facts = replace(facts, seen=ABSENT if instance is None else instance)
                    if operation.kind in ("create", "delete") and instance is not None:
                        database, names = self._work.database, self._work.names
                        outliving = await volumes.outliving(
                            database, names, server_id, instance, operation.kind
                        )
                        facts = replace(facts, outliving=outliving)
                    continue
            except GanetiError as error:
                return await self._unreachable(operation, error)
            if isinstance(step, Confirm):
                try:
                    facts = facts.confirmed(await self._confirmed(operation))
                except GanetiError as error:
                    return await self._unreachable(operation, error)
            elif isinstance(step, AskOwner):
                facts = replace(facts, owner=await self._owner(server_id))
            elif isinstance(step, AskSecret):
                facts = replace(facts, secret_there=await self._secrets.there(operation))
            elif isinstance(step, Wait):
                await self._wait(operation, step, deleted)
                return step.seconds
            elif isinstance(step, Adopt):
                await self._adopt(operation, step.job_id)
                return 0.0
            elif isinstance(step, Finish):
                await self._finish(operation, step)
                return None
            else:
                return await self._submit(server_id, operation, step, facts)
        return 1.0

    async def _confirmed(self, operation: Operation) -> Job | None:
        assert operation.job_id is not None
        return await self._work.watch.confirm(operation.job_id)

    async def _with_networks(self, server_id: int, facts: Facts) -> Facts:
        rows = await servers.missing_networks(self._work.database, server_id)
        broken = "; ".join(
            f"Network {row.name} cannot be made on the cluster: {row.reason}"
            for row in rows
            if row.state == "error"
        )
        return replace(facts, missing=tuple(row.name for row in rows), broken=broken)

    async def _wait(self, operation: Operation, step: Wait, deleted: bool) -> None:
        if operation.state == SUBMITTED and operation.job_id is not None:
            self._work.watch.watch(operation.job_id, f"s{operation.server_id}", operation.id)
            if deleted and operation.job_id not in self._told_to_stop:
                await self._cancel(operation.job_id)
            return
        if step.reason != operation.reason:
            await operations.mark_waiting(
                self._work.database, operation.id, step.reason, step.seconds
            )

    async def _cancel(self, job_id: int) -> None:
        """Take a job out of the queue if it has not begun: a delete waits behind it."""
        self._told_to_stop.add(job_id)
        try:
            await self._work.cluster.cancel_job(job_id)
        except GanetiError as error:
            self.log.debug("job.not_canceled", job_id=job_id, reason=error.message)

    async def _unreachable(self, operation: Operation, error: GanetiError) -> float | None:
        if self._work.now() >= operation.deadline_at:
            await self._finish(
                operation,
                Finish(FAILED, f"The cluster did not answer before the deadline. {error.message}"),
            )
            return None
        return await self._work.note_silence(operation, error)

    async def _adopt(self, operation: Operation, job_id: int) -> None:
        await submission.submitted(
            self._work,
            operation,
            operation.step,
            operation.attempt,
            job_id,
            key=f"s{operation.server_id}",
            transaction="server.adopt",
        )
        self.log.info("operation.adopted", operation_id=operation.id, job_id=job_id)

    async def _finish(self, operation: Operation, step: Finish) -> None:
        lease = self._work.lease
        job = self._work.watch.ended(operation.job_id)
        step = replace(step, reason=self._secrets.told(operation, step.end, step.reason))
        if step.seen is ABSENT and operation.kind not in ("create", "delete"):
            assert operation.server_id is not None
            owner = await self._owner(operation.server_id)
            if await self.resting.may_be_elsewhere(operation.server_id, owner):
                step = replace(step, seen=UNSEEN)

        async def write(tx: Any) -> bool:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            await operations.end_job(tx, operation, job)
            settled = await servers.settle(
                tx,
                operation,
                step.end,
                step.reason,
                step.seen,
                self._work.names,
                step.pending_restart,
            )
            if settled and operation.kind == "firewall" and step.end == FAILED:
                await self._firewalls.again(tx, operation, step.reason)
            return settled

        closed = await self._work.database.transaction(
            write, f"server.finish.{operation.kind}", turn=operation.project_id or ""
        )
        self._work.watch.forget(operation.job_id)
        if operation.job_id is not None:
            self._told_to_stop.discard(operation.job_id)
        await self._secrets.drop(operation, step.end)
        if closed:
            self._note_shortage(operation, job)
            self.log.info(
                "operation.ended",
                operation_id=operation.id,
                request_id=operation.request_id,
                kind=operation.kind,
                server_id=operation.server_id,
                end=step.end,
                reason=step.reason,
            )
        if step.seen is UNSEEN and operation.kind in _OF_DEVICES:
            # Whether the device is there is not known: the cluster is asked when it answers.
            self.resting.suspect(operation.server_id or 0)
        if step.cancel_job is not None:
            await self._cancel(step.cancel_job)
            self._told_to_stop.discard(step.cancel_job)

    def _note_shortage(self, operation: Operation, job: Job | None) -> None:
        if job is not None and job.short:
            self.log.info(
                "operation.no_room",
                operation_id=operation.id,
                kind=operation.kind,
                server_id=operation.server_id,
                job_id=job.id,
                reason=job.message,
            )

    async def _submit(
        self, server_id: int, operation: Operation, step: Submit, facts: Facts
    ) -> float | None:
        lease = self._work.lease
        job = facts.job
        never_sent = operation.state == PENDING
        try:
            request = await self._calls.of(server_id, operation, step, facts.seen)
        except GanetiRefused as error:
            await self._finish(operation, Finish(FAILED, error.message, UNSEEN))
            return None

        async def write(tx: Any) -> bool:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            if operation.step and job is not None:
                await operations.end_job(tx, operation, job)
            if operation.kind == "delete" and isinstance(facts.seen, Instance):
                await volumes.note_leaving(tx, self._work.names, server_id, facts.seen, step)
            marked = await operations.mark_submitting(tx, operation, step.step, step.attempt)
            fresh = operation.step == creation.CREATE
            if marked and step.step == CLEAN and job is not None and fresh:
                # What the person will be told in the end, however the cleaning goes.
                await operations.remember(tx, operation.id, "failure", failure_of(job))
            if marked and step.failure:
                await operations.remember(tx, operation.id, "failure", step.failure)
            return marked

        if not await self._work.database.transaction(write, f"server.submit.{step.step}"):
            return None
        self._note_shortage(operation, job)
        self._work.watch.forget(operation.job_id)
        self._work.crash(f"before-call:{step.step}")
        try:
            job_id = await request()
        except GanetiRefused as error:
            further = step.step in (creation.PUT_ON, procedure.START)
            if operation.kind in procedure.KINDS or (operation.kind == "create" and further):
                return await self._refused(server_id, operation, error)
            seen = ABSENT if step.step == "create" and never_sent else UNSEEN
            await self._finish(
                replace(operation, step=step.step, attempt=step.attempt, job_id=None),
                Finish(FAILED, f"The cluster refused: {error.message}", seen),
            )
            return None
        except (GanetiUnavailable, GanetiUncertain) as error:
            return await submission.unsent(
                self._work, operation, error, transaction=f"server.unsent.{step.step}"
            )
        self._work.crash(f"after-call:{step.step}")
        await submission.submitted(
            self._work,
            operation,
            step.step,
            step.attempt,
            job_id,
            key=f"s{server_id}",
            transaction=f"server.submitted.{step.step}",
        )
        self.log.info(
            "operation.submitted",
            operation_id=operation.id,
            request_id=operation.request_id,
            kind=operation.kind,
            server_id=server_id,
            job_id=job_id,
        )
        return 2.0

    async def _refused(
        self, server_id: int, operation: Operation, error: GanetiRefused
    ) -> float | None:
        """A step of a procedure was refused: take back what came before it."""
        why = f"The cluster refused: {error.message}"
        opened = await operations.open_of_server(self._work.database, server_id)
        for refused in opened:
            if refused.id != operation.id:
                continue
            step = plan_refused(refused, why)
            if isinstance(step, Finish):
                await self._finish(refused, step)
                # Only a look tells what the steps before it have left.
                self.resting.suspect(server_id)
                return None
            job = Job(0, JobStatus.ERROR, message=why)
            return await self._submit(server_id, refused, step, Facts(job=job))
        return None
