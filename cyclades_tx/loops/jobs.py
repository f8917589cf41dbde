"""The watch over the jobs of one cluster: one question for all of them, at an interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from cyclades_tx.errors import Unavailable
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.model.job import Job
from cyclades_tx.store import operations

#: Most jobs in one question.
MOST = 300


class JobWatch:
    """Asks how the jobs of open operations stand, and wakes the loop when one has ended.

    :param wake: called with the key of a job that has ended.
    :param active_seconds: the interval while there is a job to watch.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        cluster: Any,
        database: Any,
        wake: Callable[[str], None],
        active_seconds: float,
    ) -> None:
        self._clock = clock
        self._cluster = cluster
        self._database = database
        self._wake = wake
        self._active_seconds = active_seconds
        self._watched: dict[int, tuple[str, int]] = {}
        self._status: dict[int, str] = {}
        self._ended: dict[int, Job] = {}
        self._timer: IDelayedCall | None = None
        self._asking: Deferred[None] | None = None
        self._stopped = False

    def watch(self, job_id: int, key: str, operation_id: int) -> None:
        """Look after a job until :meth:`forget`."""
        if job_id not in self._ended:
            self._watched[job_id] = (key, operation_id)
            self._plan()

    def ended(self, job_id: int | None) -> Job | None:
        """The job, if it was seen to have ended."""
        return None if job_id is None else self._ended.get(job_id)

    def forget(self, job_id: int | None) -> None:
        """Look after a job no longer."""
        if job_id is not None:
            self._watched.pop(job_id, None)
            self._status.pop(job_id, None)
            self._ended.pop(job_id, None)

    async def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asking is not None:
            self._asking.cancel()

    def _plan(self) -> None:
        if self._timer is None and self._asking is None and self._watched and not self._stopped:
            self._timer = self._clock.callLater(self._active_seconds, self._go)

    def _go(self) -> None:
        self._timer = None
        self._asking = ensureDeferred(self._ask())
        self._asking.addBoth(self._asked)

    def _asked(self, result: Any) -> None:
        self._asking = None
        if result is not None and not self._stopped:
            self.log.failure("jobs.watch_failed", result)
        self._plan()

    async def _ask(self) -> None:
        ids = tuple(sorted(self._watched))
        changed: list[tuple[int, str]] = []
        for start in range(0, len(ids), MOST):
            try:
                seen = await self._cluster.jobs(ids[start : start + MOST])
            except GanetiError as error:
                self.log.debug("jobs.not_seen", reason=error.message)
                return
            for job_id, job in seen.items():
                watched = self._watched.get(job_id)
                if watched is None:
                    continue
                key, operation_id = watched
                if job.status.final:
                    del self._watched[job_id]
                    self._status.pop(job_id, None)
                    self._ended[job_id] = job
                    self._wake(key)
                elif self._status.get(job_id) != job.status:
                    self._status[job_id] = job.status
                    changed.append((operation_id, str(job.status)))
        if changed:
            try:
                await operations.mark_jobs(self._database, changed)
            except Unavailable as error:
                self.log.debug("jobs.not_seen", reason=error.message)
