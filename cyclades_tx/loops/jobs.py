"""The watch over the jobs of one cluster: asks for all of them at once, or hears of their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from cyclades_tx.errors import Unavailable
from cyclades_tx.ganeti.interfaces import GanetiError
from cyclades_tx.loops.driver import Batch
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.store import facts, operations

#: Most jobs in one question.
MOST = 300

#: While messages tell of the ends of jobs, the cluster is asked only at every so many turns.
TOLD_TURNS = 10

#: So many turns without a message, although jobs run, and messages are not relied on any more.
SILENT_TURNS = 3

#: What is heard of at the same moment is read together.
GATHER_SECONDS = 0.005


class JobWatch:
    """Finds out how the jobs of open operations stand, and wakes the loop when one has ended.

    The cluster itself is asked at an interval; when messages come, what they told is read from
    the database instead, and the cluster is asked more rarely, but never not at all. An end that
    only the cluster knew of shows that messages are missing, and so may a silence: then it is
    asked as often as before.

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
        self._jobs_of: dict[str, set[int]] = {}
        self._status: dict[int, str] = {}
        self._ended: dict[int, Job] = {}
        self._doubted: set[int] = set()
        self._heard: set[int] = set()
        self._listens = False
        self._told = False
        self._turn = 0
        #: In which turn the last message was heard of, or the first of these jobs was watched.
        self._heard_turn = 0
        self._timer: IDelayedCall | None = None
        self._asking: Deferred[None] | None = None
        self._reader: IDelayedCall | None = None
        self._reading: Deferred[None] | None = None
        self._confirming: Batch[int] = Batch(clock, cluster.jobs, most=MOST)
        self._stopped = False

    @property
    def busy(self) -> bool:
        """Whether a job is watched."""
        return bool(self._watched)

    @property
    def told(self) -> bool:
        """Whether messages tell of the ends of jobs, as far as is known."""
        return self._told

    def watch(self, job_id: int, key: str, operation_id: int) -> None:
        """Look after a job until :meth:`forget`."""
        if job_id not in self._ended:
            if not self._watched:
                self._heard_turn = self._turn
            self._unwatch(job_id)
            self._watched[job_id] = (key, operation_id)
            self._jobs_of.setdefault(key, set()).add(job_id)
            self._plan()
            if self._listens:
                # The message may have been faster than the answer of the cluster.
                self._read_soon([job_id])

    def ended(self, job_id: int | None) -> Job | None:
        """The job, if it was seen or told to have ended."""
        return None if job_id is None else self._ended.get(job_id)

    def heard(self, key: str) -> bool:
        """Messages tell something of a server (``s42``) or a network: see what.

        :return: whether a job of it is watched.
        """
        self._listens = True
        if key.startswith("s"):
            # A network is also woken by ourselves.
            self._heard_turn = self._turn
        about = self._jobs_of.get(key, ())
        self._read_soon(about)
        return bool(about)

    async def confirm(self, job_id: int) -> Job | None:
        """Have the cluster itself say how a job stands that a message told the end of.

        :return: the job when it has ended; None: the message was wrong, and it is watched on.
        :raise GanetiError: when the cluster cannot be asked.
        """
        job: Job | None = await self._confirming.ask(job_id)
        if job is not None and job.status.final:
            self._ended[job_id] = job
            return job
        self._ended.pop(job_id, None)
        self._doubted.add(job_id)
        return None

    def forget(self, job_id: int | None) -> None:
        """Look after a job no longer."""
        if job_id is not None:
            self._unwatch(job_id)
            self._status.pop(job_id, None)
            self._ended.pop(job_id, None)
            self._doubted.discard(job_id)

    async def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        for timer in (self._timer, self._reader):
            if timer is not None:
                timer.cancel()
        self._timer = self._reader = None
        for running in (self._asking, self._reading):
            if running is not None:
                running.cancel()

    def _plan(self) -> None:
        if self._timer is None and self._asking is None and self._watched and not self._stopped:
            self._timer = self._clock.callLater(self._active_seconds, self._go)

    def _ask_now(self) -> None:
        if self._timer is not None:
            self._timer.reset(0)

    def _go(self) -> None:
        self._timer = None
        self._turn += 1
        if self._turn - self._heard_turn > SILENT_TURNS:
            self._told = False
        if self._told and self._turn % TOLD_TURNS and not self._doubted:
            self._read_soon(self._watched)
            self._plan()
            return
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
            for job in seen.values():
                if job.status.final:
                    expected = job.id in self._doubted
                    if self._end(job) and not expected:
                        self._told = False
                else:
                    self._note(job.id, str(job.status), changed)
        await self._mark(changed)

    def _end(self, job: Job) -> bool:
        watched = self._unwatch(job.id)
        if watched is None:
            return False
        self._status.pop(job.id, None)
        self._doubted.discard(job.id)
        self._ended[job.id] = job
        self._wake(watched[0])
        return True

    def _unwatch(self, job_id: int) -> tuple[str, int] | None:
        watched = self._watched.pop(job_id, None)
        if watched is not None:
            jobs = self._jobs_of[watched[0]]
            jobs.discard(job_id)
            if not jobs:
                del self._jobs_of[watched[0]]
        return watched

    def _note(self, job_id: int, status: str, changed: list[tuple[int, str]]) -> None:
        watched = self._watched.get(job_id)
        if watched is not None and self._status.get(job_id) != status:
            self._status[job_id] = status
            changed.append((watched[1], status))

    async def _mark(self, changed: list[tuple[int, str]]) -> None:
        if changed:
            try:
                await operations.mark_jobs(self._database, changed)
            except Unavailable as error:
                self.log.debug("jobs.not_seen", reason=error.message)

    # What messages told

    def _read_soon(self, job_ids: Any) -> None:
        self._heard.update(job_ids)
        if self._heard and self._reader is None and self._reading is None and not self._stopped:
            self._reader = self._clock.callLater(GATHER_SECONDS, self._read)

    def _read(self) -> None:
        self._reader = None
        heard = sorted(self._heard)[:MOST]
        self._heard.difference_update(heard)
        self._reading = ensureDeferred(self._take(heard))
        self._reading.addBoth(self._taken)

    def _taken(self, result: Any) -> None:
        self._reading = None
        if result is not None and not self._stopped:
            self.log.failure("jobs.watch_failed", result)
        self._read_soon(())

    async def _take(self, job_ids: list[int]) -> None:
        about = [
            (job_id, _subject(key), operation_id)
            for job_id in job_ids
            if job_id not in self._doubted
            for key, operation_id in [self._watched.get(job_id, ("", 0))]
            if key
        ]
        if not about:
            return
        try:
            found = await facts.of_jobs(self._database, about)
        except Unavailable as error:
            self.log.debug("jobs.not_seen", reason=error.message)
            return
        changed: list[tuple[int, str]] = []
        for told in found:
            if told.job is None:
                self._note(told.job_id, told.status, changed)
            elif told.job.status is not JobStatus.SUCCESS:
                # The cluster knows why it failed, and a failure has consequences.
                self._doubted.add(told.job_id)
                self._ask_now()
            elif self._end(told.job):
                self._told = True
                self._heard_turn = self._turn
        await self._mark(changed)


def _subject(key: str) -> str:
    """Whom a message about the job of this key speaks of."""
    return f"o{key[1:]}" if key.startswith("s") else key
