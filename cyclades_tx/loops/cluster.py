"""What every loop of one driven cluster shares: the cluster itself, the lease, the watch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from twisted.internet.interfaces import IReactorTime

from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.loops.driver import Batch
from cyclades_tx.loops.jobs import JobWatch
from cyclades_tx.loops.leases import Lease
from cyclades_tx.model.instance import Instance
from cyclades_tx.model.names import Names
from cyclades_tx.model.operation import Operation, backoff_seconds
from cyclades_tx.sections import OperationsSection
from cyclades_tx.store import operations


class ClusterWork:
    """One cluster, for as long as this process drives it.

    :ivar cluster: an IGanetiCluster whose changes pass the lease's guard.
    :ivar hypervisor: the cluster's, for hypervisor parameters of new instances.
    :ivar crash: called with the name of each moment at which a crash test may kill the process.
    """

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        cluster: Any,
        lease: Lease,
        name: str,
        hypervisor: str,
        names: Names,
        wake: Callable[[str], None],
        poll_active_seconds: float,
        retries: OperationsSection,
        crash: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.clock = clock
        self.database = database
        self.cluster = cluster
        self.lease = lease
        self.name = name
        self.hypervisor = hypervisor
        self.names = names
        self.crash = crash
        self._retries = retries
        self.watch = JobWatch(clock, cluster, database, wake, poll_active_seconds)
        self._instances: Batch[str] = Batch(clock, cluster.instances)
        self._looking: set[int] = set()
        self._looks: dict[int, Instance | None] = {}

    def now(self) -> datetime:
        """This moment by the clock, aware UTC."""
        return datetime.fromtimestamp(self.clock.seconds(), UTC)

    def pause_seconds(self, operation: Operation) -> float:
        """How long an operation waits after one more try that did not reach the cluster."""
        return self.pause_after(operation.failures + 1)

    def pause_after(self, failures: int) -> float:
        """How long to wait after so many failed tries in a row (seconds)."""
        return backoff_seconds(
            failures, self._retries.retry_first_seconds, self._retries.retry_limit_seconds
        )

    async def note_silence(self, operation: Operation, error: GanetiError) -> float:
        """Write down that the cluster could not be asked; return when to try again (seconds)."""
        pause = self.pause_seconds(operation)
        reason = f"The cluster does not answer: {error.message}"
        await operations.mark_failed_cluster(self.database, operation.id, reason, pause)
        return pause

    def begin_looks(self, server_ids: Iterable[int]) -> None:
        """Instances of servers at rest are about to be asked for together."""
        self._looking.update(server_ids)

    def keep_look(self, server_id: int, instance: Instance | None) -> None:
        """Keep what such a question gave for the server's next turn, if it is good for it."""
        if server_id in self._looking:
            self._looks[server_id] = instance
            self._looking.discard(server_id)

    def end_looks(self, server_ids: Iterable[int]) -> None:
        """The question was answered, or will not be."""
        self._looking.difference_update(server_ids)

    def drop_look(self, server_id: int) -> None:
        """What was or is being looked at is out of date: an operation has moved the server."""
        self._looking.discard(server_id)
        self._looks.pop(server_id, None)

    async def instance(self, name_or_server: str | int) -> Instance | None:
        """Look at an instance; questions of the same moment go out as one."""
        if name_or_server in self._looks:
            assert isinstance(name_or_server, int)
            return self._looks.pop(name_or_server)
        name = (
            name_or_server
            if isinstance(name_or_server, str)
            else self.names.instance(name_or_server)
        )
        found: Instance | None = await self._instances.ask(name)
        return found
