"""All the clusters that this process drives: they begin and end with leases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cyclades_tx.errors import CycladesError
from cyclades_tx.ganeti.offline import OfflineCluster
from cyclades_tx.loops.clusters import Drive
from cyclades_tx.loops.leases import Lease
from cyclades_tx.loops.repeated import every
from cyclades_tx.store import clusters, operations

#: How often the rows of clusters are looked at, in case a notification was lost.
CHECK_SECONDS = 15.0


class Drives:
    """All the clusters that this process drives.

    :param connect: makes the cluster of a row, whose changes pass the guard.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        connect: Callable[[Any, Callable[[], None]], Any],
        make_drive: Callable[[Any, Any, Lease], Drive],
    ) -> None:
        self._clock = clock
        self._database = database
        self._connect = connect
        self._make_drive = make_drive
        self._drives: dict[int, Drive] = {}
        self._versions: dict[int, tuple[Any, ...]] = {}
        self._leases: dict[int, Lease] = {}
        self._locks: dict[int, DeferredLock] = {}
        self._checking = every(clock, self._check)
        self._unlisten: list[Callable[[], None]] = []

    def start(self) -> None:
        """Listen for wakes."""
        self._unlisten = [
            self._database.listen(operations.WAKE, self._woken),
            self._database.listen("cyclades_clusters", self._cluster_changed),
        ]
        self._checking.start(CHECK_SECONDS, now=False)

    async def stop(self) -> None:
        """Stop listening; the drives end with their leases."""
        if self._checking.running:
            self._checking.stop()
        for stop in self._unlisten:
            stop()

    async def gained(self, lease: Lease) -> None:
        """Begin to drive a cluster."""
        self._leases[lease.cluster_id] = lease
        await self._begin(lease)

    async def _begin(self, lease: Lease) -> None:
        row = await clusters.by_id(self._database, lease.cluster_id)
        if row is None or self._leases.get(lease.cluster_id) is not lease:
            return  # the cluster, or the lease, is gone since
        try:
            cluster = self._connect(row, lease.guard)
        except CycladesError as error:
            # A credential that cannot be opened: an operator must mend the row. It is driven all
            # the same, so that what waits for it is told why, and ends at its deadline.
            self.log.error("cluster.unusable", cluster=row.name, reason=error.message)
            cluster = OfflineCluster(row.name, error.message)
        drive = self._make_drive(row, cluster, lease)
        self._drives[lease.cluster_id] = drive
        self._versions[lease.cluster_id] = (row.credentials_version, row.offline, row.hypervisor)
        drive.start()

    async def lost(self, lease: Lease) -> None:
        """Stop driving a cluster."""
        if self._leases.get(lease.cluster_id) is lease:
            del self._leases[lease.cluster_id]
        drive = self._drives.pop(lease.cluster_id, None)
        if drive is not None:
            await drive.stop()

    def status(self) -> dict[str, Any]:
        """How each drive stands, by the cluster's name."""
        return {drive.name: drive.status() for drive in self._drives.values()}

    def _woken(self, payload: str) -> None:
        cluster, _, key = payload.partition(":")
        if cluster.isdigit():
            drive = self._drives.get(int(cluster))
            if drive is not None:
                drive.wake(key)

    def _cluster_changed(self, payload: str) -> None:
        """An operator changed a cluster: drive it anew with what it is now."""
        if payload.isdigit() and int(payload) in self._leases:
            changing = self._change(int(payload))
            changing.addErrback(lambda failure: self.log.failure("drive.change_failed", failure))

    async def _check(self) -> None:
        for cluster_id in list(self._leases):
            await self._change(cluster_id)

    def _change(self, cluster_id: int) -> Deferred[None]:
        """One change after the other, or two drives of one cluster would be begun."""
        lock = self._locks.setdefault(cluster_id, DeferredLock())
        changing: Deferred[None] = lock.run(lambda: ensureDeferred(self._again(cluster_id)))
        return changing

    async def _again(self, cluster_id: int) -> None:
        row = await clusters.by_id(self._database, cluster_id)
        lease = self._leases.get(cluster_id)
        if lease is None:
            return
        if row is None:
            await self.lost(lease)
            return
        version = (row.credentials_version, row.offline, row.hypervisor)
        if cluster_id in self._drives and self._versions.get(cluster_id) == version:
            return
        drive = self._drives.pop(cluster_id, None)
        if drive is not None:
            await drive.stop()
        await self._begin(lease)
