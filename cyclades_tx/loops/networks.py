"""The loop of the networks of one cluster: makes and removes them where an operation says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.logger import Logger

from cyclades_tx.ganeti.interfaces import GanetiError, GanetiRefused
from cyclades_tx.loops import submission
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.model.instance import NewNetwork
from cyclades_tx.model.network_plan import AskNetwork, NetworkFacts, plan_network
from cyclades_tx.model.operation import (
    FAILED,
    SUBMITTED,
    SUCCEEDED,
    Operation,
)
from cyclades_tx.model.step import Adopt, AskSiblings, Confirm, Finish, Submit, Wait
from cyclades_tx.store import cluster_networks, operations, outbox

MOST_STEPS = 25


class NetworkWork:
    """Turns for the networks of one cluster; the key of a turn is the network's id.

    :param wake_server: for the servers that waited for a network.
    :param at_rest: called with a network that was woken although nothing moves it: something
        at the cluster may have.
    """

    log = Logger()

    def __init__(
        self,
        work: ClusterWork,
        wake_server: Callable[[int], None],
        at_rest: Callable[[int], None],
    ) -> None:
        self._work = work
        self._wake_server = wake_server
        self._at_rest = at_rest

    async def turn(self, network_id: int) -> float | None:
        """Do what there is to do for a network on this cluster now."""
        work = self._work
        for step in range(MOST_STEPS):
            operation = await operations.open_of_network(
                work.database, network_id, work.lease.cluster_id
            )
            if operation is None:
                if step == 0:
                    self._at_rest(network_id)
                return None
            pause = await self._advance(network_id, operation)
            if pause is not None:
                return pause
        return 1.0

    async def _advance(self, network_id: int, operation: Operation) -> float | None:
        work = self._work
        facts = NetworkFacts(job=work.watch.ended(operation.job_id))
        for _ in range(MOST_STEPS):
            step = plan_network(operation, facts, work.now())
            try:
                if isinstance(step, AskSiblings):
                    found = await work.cluster.jobs_for(
                        work.names.network(network_id), operation.trail()
                    )
                    facts = replace(facts, siblings=found)
                    continue
                if isinstance(step, AskNetwork):
                    facts = await self._look(network_id, operation, facts)
                    continue
                if isinstance(step, Confirm):
                    assert operation.job_id is not None
                    facts = NetworkFacts(job=await work.watch.confirm(operation.job_id))
                    continue
            except GanetiError as error:
                return await self._unreachable(operation, error)
            if isinstance(step, Wait):
                if operation.state == SUBMITTED and operation.job_id is not None:
                    work.watch.watch(operation.job_id, f"n{network_id}", operation.id)
                return step.seconds
            if isinstance(step, Adopt):
                await self._mark(operation, operation.step, operation.attempt, step.job_id)
                return 0.0
            if isinstance(step, Finish):
                await self._finish(network_id, operation, step)
                return None
            return await self._submit(network_id, operation, step, facts)
        return 1.0

    async def _look(
        self, network_id: int, operation: Operation, facts: NetworkFacts
    ) -> NetworkFacts:
        work = self._work
        groups = await work.cluster.groups()
        seen = await work.cluster.network(work.names.network(network_id))
        connected = () if seen is None else tuple(group for group, _, _ in seen.groups)
        fits = True
        if seen is not None and operation.arguments.get("round"):
            row = await cluster_networks.for_making(
                work.database, network_id, work.lease.cluster_id
            )
            fits = row is not None and cluster_networks.fits(row, seen)
        return replace(
            facts,
            groups=tuple(sorted(groups)),
            present=seen is not None,
            connected=connected,
            fits=fits,
        )

    async def _unreachable(self, operation: Operation, error: GanetiError) -> float | None:
        if self._work.now() >= operation.deadline_at:
            assert operation.network_id is not None
            await self._finish(
                operation.network_id,
                operation,
                Finish(FAILED, f"The cluster did not answer before the deadline. {error.message}"),
            )
            return None
        return await self._work.note_silence(operation, error)

    async def _mark(self, operation: Operation, step: str, attempt: int, job_id: int) -> None:
        await submission.submitted(
            self._work,
            operation,
            step,
            attempt,
            job_id,
            key=f"n{operation.network_id}",
            transaction="network.submitted",
        )

    async def _submit(
        self, network_id: int, operation: Operation, step: Submit, facts: NetworkFacts
    ) -> float | None:
        row = await cluster_networks.for_making(
            self._work.database, network_id, self._work.lease.cluster_id
        )

        async def write(tx: Any) -> bool:
            return await submission.begin(tx, self._work, operation, step, facts.job)

        if not await self._work.database.transaction(write, "network.submit"):
            return None
        self._work.crash(f"before-call:{step.step}")
        try:
            job_id = await self._send(row, operation, step)
        except GanetiRefused as error:
            await self._finish(
                network_id,
                replace(operation, step=step.step, attempt=step.attempt, job_id=None),
                Finish(FAILED, f"The cluster refused: {error.message}"),
            )
            return None
        except GanetiError as error:
            return await submission.unsent(
                self._work, operation, error, transaction="network.unsent"
            )
        self._work.crash(f"after-call:{step.step}")
        await self._mark(operation, step.step, step.attempt, job_id)
        return 2.0

    async def _send(self, row: Any, operation: Operation, step: Submit) -> int:
        cluster = self._work.cluster
        name = self._work.names.network(row.id)
        trail = replace(operation, step=step.step, attempt=step.attempt).trail()
        verb, _, group = step.step.partition("-")
        verb = verb.rstrip("0123456789")
        if verb == "make":
            new = NewNetwork(
                name=name,
                cidr=row.cidr or cluster_networks.DUMMY_CIDR,
                gateway=row.gateway if row.cidr else None,
                cidr6=row.cidr6,
                gateway6=row.gateway6,
                mac_prefix=row.cluster_mac_prefix,
                tags=cluster_networks.ganeti_tags(row),
                conflicts_check=False,
            )
            made: int = await cluster.create_network(new, trail)
            return made
        if verb == "connect":
            connected: int = await cluster.connect_network(name, trail, group, row.mode, row.link)
            return connected
        if verb == "disconnect":
            ended: int = await cluster.disconnect_network(name, trail, group)
            return ended
        removed: int = await cluster.remove_network(name, trail)
        return removed

    async def _finish(self, network_id: int, operation: Operation, step: Finish) -> None:
        lease = self._work.lease
        job = self._work.watch.ended(operation.job_id)
        good = step.end == SUCCEEDED

        async def write(tx: Any) -> list[int] | None:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            if not await cluster_networks.unchanged(tx, operation):
                # It is to become something else: the next turn sees to that.
                return None
            result = "unknown" if job is None else str(job.status)
            await operations.end_step(tx, operation, result, "" if job is None else job.message)
            if not await operations.close_operation(tx, operation.id, step.end, step.reason):
                return []
            if not good:
                await cluster_networks.set_failed(tx, network_id, lease.cluster_id, step.reason)
            elif operation.kind == "make_network":
                await cluster_networks.set_state(tx, network_id, lease.cluster_id, "active", "")
            else:
                await cluster_networks.remove(tx, network_id, lease.cluster_id)
            await outbox.tell_operation(tx, "operation.ended", operation.id)
            return await cluster_networks.waiting_servers(tx, network_id, lease.cluster_id)

        waiting = await self._work.database.transaction(write, f"network.finish.{operation.kind}")
        if waiting is None:
            return
        self._work.watch.forget(operation.job_id)
        self.log.info(
            "operation.ended",
            operation_id=operation.id,
            kind=operation.kind,
            network_id=network_id,
            cluster=self._work.name,
            end=step.end,
            reason=step.reason,
        )
        for server_id in waiting:
            self._wake_server(server_id)
