"""The loop of the servers of one cluster: makes open operations true, follows what is at rest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cyclades_tx.errors import CycladesError
from cyclades_tx.ganeti.interfaces import (
    GanetiError,
    GanetiRefused,
    GanetiUnavailable,
    GanetiUncertain,
)
from cyclades_tx.loops import procedures
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.loops.elsewhere import Elsewhere
from cyclades_tx.model import procedure
from cyclades_tx.model.instance import NewDisk, NewInstance, NewNic
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.moves import ABSENT, UNSEEN
from cyclades_tx.model.operation import (
    FAILED,
    PENDING,
    SUBMITTED,
    SUBMITTING,
    Operation,
    trail_of,
)
from cyclades_tx.model.ownership import Owner, owner_tag
from cyclades_tx.model.plan import (
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
    plan_refused,
    plan_server,
)
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import drift_findings, operations, servers
from cyclades_tx.vault import ISecretStore

#: A turn that takes more steps than this has lost its way; it is called again later.
MOST_STEPS = 25

#: Told to the owner of a server whose creation nobody works on any more.
_LOST = "Its creation was lost: the cluster has no such instance."


class ServerWork:
    """Turns for the servers of one cluster; the key of a turn is the server's id.

    :param config_url: makes the URL of the first boot's document from its token.
    :param elsewhere: finds instances that were moved to other clusters by hand.
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
    ) -> None:
        self._work = work
        self._elsewhere = elsewhere
        self._vault = vault
        self._open_token = open_token
        self._config_url = config_url
        self._ganeti = ganeti
        self._suspects: set[int] = set()
        self._told_to_stop: set[int] = set()
        self._asked: dict[int, list[Deferred[servers.Observed | None]]] = {}
        self._insisted: set[int] = set()
        self._doubted: set[int] = set()

    def suspect(self, server_id: int) -> None:
        """Have a server at rest looked at in its next turn: the cluster says something new."""
        self._suspects.add(server_id)

    async def turn(self, server_id: int) -> float | None:
        """Do what there is to do for a server now; see :class:`~.driver.Loop`."""
        for _ in range(MOST_STEPS):
            opened = await operations.open_of_server(self._work.database, server_id)
            if not opened:
                if server_id in self._suspects:
                    await self._look_into(server_id)
                return None
            self._work.drop_look(server_id)
            self._answer(server_id, None)
            operation = opened[0]
            pause = await self._advance(server_id, operation, len(opened) > 1)
            if pause is not None:
                return pause
        return 1.0

    async def _look_into(self, server_id: int) -> None:
        """Observe a suspect; it stays one when that did not work."""
        self._suspects.discard(server_id)
        observed = None
        try:
            observed = await self._observe(server_id)
        except Exception:
            self._suspects.add(server_id)
            raise
        finally:
            self._work.drop_look(server_id)
            self._answer(server_id, observed)

    def mend(self, server_id: int, insist: bool = False) -> Deferred[servers.Observed | None]:
        """Have a server's record follow its cluster in its next turn, which the caller wakes.

        :param insist: also when another cluster seems to have its instance.
        :return: fires with what came of it; None when it cannot be said now.
        """
        self._suspects.add(server_id)
        if insist:
            self._insisted.add(server_id)
        waiting: Deferred[servers.Observed | None] = Deferred()
        self._asked.setdefault(server_id, []).append(waiting)
        return waiting

    def _answer(self, server_id: int, observed: servers.Observed | None) -> None:
        self._insisted.discard(server_id)
        for waiting in self._asked.pop(server_id, ()):
            waiting.callback(observed)

    async def _observe(self, server_id: int) -> servers.Observed | None:
        if await self._creating_job(server_id) is not None:
            return None  # not there yet, or not whole
        instance = await self._work.instance(server_id)
        lease = self._work.lease
        insisted = server_id in self._insisted
        found = await servers.owner_of(self._work.database, server_id)
        if found is None:
            return None
        owner, project_id = found
        if instance is None:
            if not insisted and await self._may_be_elsewhere(server_id, owner):
                return None  # it was moved by hand: nothing of it is given away
        elif not owner.made(instance):
            if self._doubt(server_id):
                self.log.warn("server.not_its_own", server_id=server_id, instance=instance.name)
            return None  # another's has its name; the loop of drift tells of it

        async def write(tx: Any) -> servers.Observed | None:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            if instance is None:
                if not insisted and await drift_findings.is_elsewhere(
                    tx, server_id, lease.cluster_id
                ):
                    return None  # it was moved by hand: nothing of it is given away
                return await servers.observe(tx, server_id, ABSENT, self._work.names, _LOST)
            return await servers.observe(tx, server_id, instance, self._work.names)

        # Those of one project would wait for its holdings with a connection each.
        observed: servers.Observed | None = await self._work.database.transaction(
            write, "server.observe", turn=project_id
        )
        self._doubted.discard(server_id)
        if observed is not None and (observed.rest != observed.before or observed.followed.changes):
            self.log.info(
                "server.observed",
                server_id=server_id,
                state=observed.rest.state,
                changes=[" ".join(key).strip() for key in observed.followed.changes],
            )
        for (kind, subject), why in () if observed is None else observed.followed.refused.items():
            self.log.warn(
                "server.not_followed", server_id=server_id, kind=kind, subject=subject, reason=why
            )
        return observed

    async def _owner(self, server_id: int) -> Owner:
        found = await servers.owner_of(self._work.database, server_id)
        assert found is not None  # it has an operation
        return found[0]

    async def _may_be_elsewhere(self, server_id: int, owner: Owner) -> bool:
        if self._elsewhere is None:
            return False
        name = self._work.names.instance(server_id)
        where = await self._elsewhere.where(name, owner_tag(owner.uuid))
        if where and self._doubt(server_id):
            self.log.warn("server.elsewhere", server_id=server_id, where=where)
        return bool(where)

    def _doubt(self, server_id: int) -> bool:
        """Whether that is news: each poll comes upon it again."""
        news = server_id not in self._doubted
        self._doubted.add(server_id)
        return news

    async def _advance(self, server_id: int, operation: Operation, deleted: bool) -> float | None:
        """Take steps until the operation is over (None) or waits (a pause in seconds)."""
        facts = Facts(job=self._work.watch.ended(operation.job_id), deleted=deleted)
        if operation.kind in ("create", "attach_port") and operation.state == PENDING:
            facts = await self._with_networks(server_id, facts)
        if operation.kind == "delete" and operation.state == PENDING:
            try:
                facts = replace(facts, running_job=await self._creating_job(server_id))
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
                facts = replace(facts, secret_there=await self._secret_there(operation))
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

    async def _creating_job(self, server_id: int) -> int | None:
        """A job that may still make the instance although its creation was given up, or None."""
        sent = await operations.unseen_creation(self._work.database, server_id)
        if sent is None:
            return None
        cluster = self._work.cluster
        if sent.job_id is not None:
            jobs = (await cluster.jobs((sent.job_id,))).values()
        else:
            trail = trail_of(sent.id, sent.step, sent.attempt)
            jobs = await cluster.jobs_for(self._work.names.instance(server_id), trail)
        return next((job.id for job in jobs if not job.status.final), None)

    async def _with_networks(self, server_id: int, facts: Facts) -> Facts:
        rows = await servers.missing_networks(self._work.database, server_id)
        broken = "; ".join(
            f"Network {row.name} cannot be made on the cluster: {row.reason}"
            for row in rows
            if row.state == "error"
        )
        return replace(facts, missing=tuple(row.name for row in rows), broken=broken)

    async def _secret_there(self, operation: Operation) -> bool:
        token = await self._token(operation)
        return token is not None and await self._vault.there(token)

    async def _token(self, operation: Operation) -> str | None:
        sealed = operation.arguments.get("config_token")
        if not isinstance(sealed, str) or operation.server_id is None:
            return None
        row = await servers.for_create(self._work.database, operation.server_id)
        return self._open_token(str(row.uuid), sealed)

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
        lease = self._work.lease

        async def write(tx: Any) -> None:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            await operations.mark_submitted(
                tx, operation.id, operation.step, operation.attempt, job_id
            )

        self._work.watch.forget(operation.job_id)
        await self._work.database.transaction(write, "server.adopt")
        self._work.watch.watch(job_id, f"s{operation.server_id}", operation.id)
        self.log.info("operation.adopted", operation_id=operation.id, job_id=job_id)

    async def _finish(self, operation: Operation, step: Finish) -> None:
        lease = self._work.lease
        job = self._work.watch.ended(operation.job_id)
        if step.seen is ABSENT and operation.kind not in ("create", "delete"):
            assert operation.server_id is not None
            owner = await self._owner(operation.server_id)
            if await self._may_be_elsewhere(operation.server_id, owner):
                step = replace(step, seen=UNSEEN)

        async def write(tx: Any) -> bool:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            result = "unknown" if job is None else str(job.status)
            await operations.end_step(tx, operation, result, "" if job is None else job.message)
            return await servers.settle(
                tx,
                operation,
                step.end,
                step.reason,
                step.seen,
                self._work.names,
                step.pending_restart,
            )

        closed = await self._work.database.transaction(
            write, f"server.finish.{operation.kind}", turn=operation.project_id or ""
        )
        self._work.watch.forget(operation.job_id)
        if operation.job_id is not None:
            self._told_to_stop.discard(operation.job_id)
        if operation.kind in ("create", "rebuild") and step.end == FAILED:
            await self._drop_secret(operation)
        if closed:
            self.log.info(
                "operation.ended",
                operation_id=operation.id,
                request_id=operation.request_id,
                kind=operation.kind,
                server_id=operation.server_id,
                end=step.end,
                reason=step.reason,
            )
        if step.seen is UNSEEN and operation.kind in ("attach_port", "detach_port"):
            # Whether the interface is there is not known: the cluster is asked when it answers.
            self.suspect(operation.server_id or 0)
        if step.cancel_job is not None:
            await self._cancel(step.cancel_job)
            self._told_to_stop.discard(step.cancel_job)

    async def _drop_secret(self, operation: Operation) -> None:
        """Nobody will ask for it; if it cannot be dropped now, it expires."""
        with suppress(CycladesError):
            token = await self._token(operation)
            if token is not None:
                await self._vault.drop(token)

    async def _submit(
        self, server_id: int, operation: Operation, step: Submit, facts: Facts
    ) -> float | None:
        lease = self._work.lease
        job = facts.job
        never_sent = operation.state == PENDING
        try:
            request = await self._request(server_id, operation, step)
        except GanetiRefused as error:
            await self._finish(operation, Finish(FAILED, error.message, UNSEEN))
            return None

        async def write(tx: Any) -> bool:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            if operation.step and job is not None:
                await operations.end_step(tx, operation, str(job.status), job.message)
            marked = await operations.mark_submitting(tx, operation, step.step, step.attempt)
            if marked and step.step == CLEAN and job is not None and operation.step != CLEAN:
                # What the person will be told in the end, however the cleaning goes.
                why = job.message or f"Job {job.id} ended with {job.status}."
                await operations.remember(tx, operation.id, "failure", why)
            if marked and step.failure:
                await operations.remember(tx, operation.id, "failure", step.failure)
            return marked

        if not await self._work.database.transaction(write, f"server.submit.{step.step}"):
            return None
        self._work.watch.forget(operation.job_id)
        self._work.crash(f"before-call:{step.step}")
        try:
            job_id = await request()
        except GanetiRefused as error:
            if operation.kind in procedure.KINDS:
                return await self._refused(server_id, operation, error)
            seen = ABSENT if step.step == "create" and never_sent else UNSEEN
            await self._finish(
                replace(operation, step=step.step, attempt=step.attempt, job_id=None),
                Finish(FAILED, f"The cluster refused: {error.message}", seen),
            )
            return None
        except (GanetiUnavailable, GanetiUncertain) as error:
            # Pending means that nothing was ever sent: what is pending may be canceled at once.
            unsent = isinstance(error, GanetiUnavailable) and never_sent
            state = PENDING if unsent else SUBMITTING
            why = f"The cluster did not take the job: {error.message}"
            pause = self._work.pause_seconds(operation)

            async def put_back(tx: Any) -> None:
                await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
                await operations.mark_unsent(tx, operation.id, state, why, pause)

            await self._work.database.transaction(put_back, f"server.unsent.{step.step}")
            return pause
        self._work.crash(f"after-call:{step.step}")

        async def accepted(tx: Any) -> None:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            await operations.mark_submitted(tx, operation.id, step.step, step.attempt, job_id)

        await self._work.database.transaction(accepted, f"server.submitted.{step.step}")
        self._work.watch.watch(job_id, f"s{server_id}", operation.id)
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
                self.suspect(server_id)
                return None
            job = Job(0, JobStatus.ERROR, message=why)
            return await self._submit(server_id, refused, step, Facts(job=job))
        return None

    async def _request(
        self, server_id: int, operation: Operation, step: Submit
    ) -> Callable[[], Any]:
        """What to call at the cluster for a step; everything that it needs is read before."""
        cluster = self._work.cluster
        name = self._work.names.instance(server_id)
        trail = replace(operation, step=step.step, attempt=step.attempt).trail()
        if step.step == "create":
            new = await self._new_instance(server_id, operation)
            return lambda: cluster.create_instance(new, trail)
        if procedures.is_step(operation, step.step):
            return await procedures.request(
                self._work.database,
                cluster,
                name,
                trail,
                operation,
                step.step,
                os=self._ganeti.os,
                config_url=self._config_url(await self._token(operation) or ""),
                boot_order=self._boot_order(),
            )
        if step.step in ("delete", CLEAN):
            timeout = 0 if step.step == CLEAN else None
            return lambda: cluster.remove_instance(name, trail, timeout)
        if step.step == "start":
            return lambda: cluster.start_instance(name, trail)
        if step.step == "stop":
            return lambda: cluster.stop_instance(name, trail)
        if step.step == "reboot":
            hard = operation.arguments.get("type") == "HARD"
            return lambda: cluster.reboot_instance(name, trail, hard)
        if step.step == "attach_port":
            hotplug = bool(operation.arguments.get("hotplug"))
            new_nic = await self._new_nic(operation)
            return lambda: cluster.add_nic(name, trail, new_nic, hotplug)
        if step.step == "detach_port":
            hotplug = bool(operation.arguments.get("hotplug"))
            nic = await self._known_nic(operation)
            return lambda: cluster.remove_nic(name, trail, nic, hotplug)
        raise GanetiRefused(f"Operations of the kind {operation.kind} are not known.", 501)

    async def _new_nic(self, operation: Operation) -> NewNic:
        row = await servers.nic_of(self._work.database, operation.arguments.get("port_id"))
        if row is None or row.server_id != operation.server_id:
            raise GanetiRefused("The port is gone.", 404)
        names = self._work.names
        return NewNic(names.nic(row.id), names.network(row.network_id), row.ip, row.mac)

    async def _known_nic(self, operation: Operation) -> str:
        """By what the cluster knows an interface: our name, or its own id for it."""
        row = await servers.nic_of(self._work.database, operation.arguments.get("port_id"))
        if row is None or row.server_id != operation.server_id:
            raise GanetiRefused("The port is gone.", 404)
        return row.ganeti_uuid or self._work.names.nic(row.id)

    def _boot_order(self) -> str:
        given = self._ganeti.hvparams.get(self._work.hypervisor, {})
        return str(given.get("boot_order", "disk"))

    async def _new_instance(self, server_id: int, operation: Operation) -> NewInstance:
        database = self._work.database
        row = await servers.for_create(database, server_id)
        token = await self._token(operation)
        extra: dict[str, Any] = {}
        if row.provider is not None:
            extra = dict(await servers.specs_of(database, row.volume_type_id))
        names = self._work.names
        disks = tuple(
            NewDisk(names.disk(disk.id), disk.size_gib * 1024, row.provider, extra)
            for disk in await servers.disks_of(database, server_id)
            if row.disk_template != "diskless"
        )
        nics = tuple(
            NewNic(names.nic(port.id), names.network(port.network_id), port.ip, port.mac)
            for port in await servers.nics_of(database, server_id)
        )
        return NewInstance(
            name=names.instance(server_id),
            disk_template=row.disk_template,
            disks=disks,
            nics=nics,
            vcpus=row.vcpus,
            memory_mib=row.memory_mib,
            os=self._ganeti.os,
            osparams={
                "config_url": self._config_url(token or ""),
                "img_id": row.image_location or "null",
                "img_format": row.image_format or "none",
            },
            hvparams=dict(self._ganeti.hvparams.get(self._work.hypervisor, {})),
            tags=(owner_tag(str(row.uuid)),),
            wait_for_sync=self._ganeti.wait_for_sync,
            opportunistic_locking=self._ganeti.opportunistic_locking,
        )
