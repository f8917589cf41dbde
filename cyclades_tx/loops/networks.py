"""The loop of the networks of one cluster: makes and removes them where an operation says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.loops.turns import Request, Turns
from cyclades_tx.model.instance import NewNetwork
from cyclades_tx.model.job import Job
from cyclades_tx.model.network_plan import NetworkFacts, NetworkStep, plan_network
from cyclades_tx.model.operation import SUCCEEDED, Operation
from cyclades_tx.model.step import Finish, Submit
from cyclades_tx.store import cluster_networks, operations, outbox


class NetworkWork(Turns[NetworkFacts]):
    """Turns for the networks of one cluster.

    :param wake_server: for the servers that waited for a network.
    :param at_rest: called with a network that was woken although nothing moves it: something
        at the cluster may have.
    """

    kind = "network"

    def __init__(
        self,
        work: ClusterWork,
        wake_server: Callable[[int], None],
        at_rest: Callable[[int], None],
    ) -> None:
        super().__init__(work)
        self._wake_server = wake_server
        self._at_rest = at_rest

    async def _opened(self, network_id: int) -> Operation | None:
        cluster_id = self._work.lease.cluster_id
        return await operations.open_of_network(self._work.database, network_id, cluster_id)

    def _rests(self, network_id: int) -> None:
        self._at_rest(network_id)

    def _name(self, network_id: int) -> str:
        return self._work.names.network(network_id)

    def _facts(self, job: Job | None) -> NetworkFacts:
        return NetworkFacts(job=job)

    def _plan(self, operation: Operation, facts: NetworkFacts) -> NetworkStep:
        return plan_network(operation, facts, self._work.now())

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

    async def _request(
        self, network_id: int, operation: Operation, step: Submit, facts: NetworkFacts
    ) -> Request:
        cluster = self._work.cluster
        name, trail = self._name(network_id), operation.trail()
        row = await cluster_networks.for_making(
            self._work.database, network_id, self._work.lease.cluster_id
        )
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
            return lambda: cluster.create_network(new, trail)
        if verb == "connect":
            return lambda: cluster.connect_network(name, trail, group, row.mode, row.link)
        if verb == "disconnect":
            return lambda: cluster.disconnect_network(name, trail, group)
        return lambda: cluster.remove_network(name, trail)

    async def _finish(self, network_id: int, operation: Operation, step: Finish) -> None:
        lease = self._work.lease
        job = self._work.watch.ended(operation.job_id)
        good = step.end == SUCCEEDED

        async def write(tx: Any) -> list[int] | None:
            await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
            if not await cluster_networks.unchanged(tx, operation):
                # It is to become something else: the next turn sees to that.
                return None
            await operations.end_job(tx, operation, job)
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
