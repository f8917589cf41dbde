"""Which clusters this process drives: leases that beat, and are taken over when they fall silent.

One session of PostgreSQL holds an advisory lock for each cluster that the process drives. A
killed process loses its session, hence its locks, at once. A stopped one keeps them, but no
longer beats; another process then ends its session. Whoever takes a cluster over begins a new
epoch, and every write of a loop checks the epoch that it was begun in.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.defer import TimeoutError as WaitTimeout
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from cyclades_tx.errors import LostLease
from cyclades_tx.store import clusters
from cyclades_tx.store.session import Session
from cyclades_tx.trouble import Trouble


class Lease:
    """The right to drive one cluster, for as long as it beats.

    :ivar epoch: the number that every write checks.
    """

    def __init__(self, leases: Leases, cluster_id: int, epoch: int) -> None:
        self.cluster_id = cluster_id
        self.epoch = epoch
        self._leases = leases

    def guard(self) -> None:
        """Raise unless the lease surely still holds; called at the moment of each change.

        :raise LostLease: when the last beat is too long ago, as after a stop of the process.
        """
        if not self._leases.holds(self):
            raise LostLease(f"the lease of cluster {self.cluster_id} has run out")


class Leases:
    """The leases of this process.

    :param driver: names this process, for operators.
    :param gained: called with each new lease; starts the work.
    :param lost: called with each lease that is over; ends the work.
    :param lease_seconds: silence after which others take over.
    :param monotonic: a clock that nobody sets, in seconds. The reactor's goes more slowly while the
        time of day was set back; this one stands still while the whole machine does.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        dsn: str,
        driver: str,
        gained: Callable[[Lease], Awaitable[None]],
        lost: Callable[[Lease], Awaitable[None]],
        lease_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactor = reactor
        self._dsn = dsn
        self._driver = driver
        self._gained = gained
        self._lost = lost
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._session: Session | None = None
        self._held: dict[int, Lease] = {}
        self._good_until = 0.0
        self._good_until_monotonic = 0.0
        self._beating = LoopingCall(self._beat)
        self._beating.clock = reactor
        self._stopped = False
        self._trouble = Trouble(self.log, "lease.beat_failed")

    def start(self) -> None:
        """Begin to beat."""
        self._beating.start(self._lease_seconds / 4).addErrback(
            lambda failure: self.log.failure("lease.loop_died", failure)
        )

    async def stop(self) -> None:
        """Give every cluster back, after its work has ended."""
        self._stopped = True
        if self._beating.running:
            self._beating.stop()
        # Side by side: one slow cluster must not make the others wait.
        await gatherResults([self._apart(self._drop(lease)) for lease in list(self._held.values())])
        if self._session is not None:
            self._session.close()
            self._session = None

    def holds(self, lease: Lease) -> bool:
        """Whether a lease is this process's, by each of its own clocks."""
        return (
            self._held.get(lease.cluster_id) is lease
            and self._reactor.seconds() < self._good_until
            and self._monotonic() < self._good_until_monotonic
        )

    def held(self) -> tuple[int, ...]:
        """The ids of the clusters that this process drives."""
        return tuple(sorted(self._held))

    def _beat(self) -> Deferred[None]:
        beat = ensureDeferred(self._beat_once())
        beat.addTimeout(self._lease_seconds / 2, self._reactor)
        beat.addCallbacks(lambda _: self._trouble.over(None), self._beat_failed)
        return beat

    def _beat_failed(self, failure: Any) -> None:
        if self._stopped:
            return
        reason = str(failure.value).strip() or failure.type.__name__
        if failure.check(WaitTimeout):
            reason = f"The database has not answered in {self._lease_seconds / 2:g} seconds."
        self._trouble.tell(None, reason)
        session, self._session = self._session, None
        if session is not None:
            session.close()
        self._apart(self._drop_all())

    def _session_lost(self) -> None:
        if not self._stopped:
            self._session = None
            self._good_until = 0.0
            self._apart(self._drop_all())

    def _apart(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Let something run by itself; a failure of it is told in the log."""
        return ensureDeferred(work).addErrback(
            lambda failure: self.log.failure("lease.drop_failed", failure)
        )

    async def _drop_all(self) -> None:
        self._good_until = 0.0
        for lease in list(self._held.values()):
            await self._drop(lease)

    async def _beat_once(self) -> None:
        if self._session is None or not self._session.open:
            session = await self._opened()
            if self._stopped:
                session.close()
                return
            self._session = session
        session = self._session
        began_at, began_monotonic = self._reactor.seconds(), self._monotonic()
        await clusters.beat(session, self._driver)
        # The others count from a moment that is later than this one.
        self._good_until = began_at + self._lease_seconds
        self._good_until_monotonic = began_monotonic + self._lease_seconds
        if self._held:
            still = await clusters.epochs_of(session, self._driver)
            for lease in list(self._held.values()):
                if still.get(lease.cluster_id) != lease.epoch:
                    # Its last turns may wait for a slow cluster; the beat must not wait for them.
                    self._apart(self._drop(lease))
        await clusters.ensure_leases(session)
        await clusters.put_out_silent(session, self._driver, self._lease_seconds)
        for row in await session.all("select id from cluster order by id"):
            if row.id in self._held or self._stopped:
                continue
            if await clusters.try_lock(session, row.id):
                epoch = await clusters.take_epoch(session, row.id, self._driver)
                if epoch is None or not self._beating.running:
                    # The cluster has come or gone since the leases were looked at; or we stop.
                    await clusters.unlock(session, row.id)
                    continue
                lease = self._held[row.id] = Lease(self, row.id, epoch)
                self.log.info("lease.gained", cluster_id=row.id, epoch=epoch)
                await self._gained(lease)

    async def _opened(self) -> Session:
        """A session that is ready; one that did not become so is not left open."""
        session = Session(
            self._reactor,
            self._dsn,
            self._session_lost,
            clusters.SESSION_NAME + self._driver,
        )
        try:
            await session.connect()
            await clusters.forget_old_processes(session)
        except Exception:
            session.close()
            raise
        return session

    async def _drop(self, lease: Lease) -> None:
        if self._held.get(lease.cluster_id) is not lease:
            return
        del self._held[lease.cluster_id]
        self.log.info("lease.ended", cluster_id=lease.cluster_id, epoch=lease.epoch)
        # A later session may hold the lock anew by the time that the work has ended.
        session = self._session
        await self._lost(lease)
        if session is not None and session.open:
            # A database that is frozen says nothing; the lock ends with the session, too.
            giving = ensureDeferred(clusters.unlock(session, lease.cluster_id))
            await giving.addTimeout(self._lease_seconds / 2, self._reactor)
