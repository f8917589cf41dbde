"""The turns that networks, and volumes that no server has, take on one cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

from twisted.logger import Logger

from cyclades_tx.ganeti.interfaces import GanetiError, GanetiRefused
from cyclades_tx.loops import submission
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.model.job import Job
from cyclades_tx.model.kept_volume_plan import VolumeStep
from cyclades_tx.model.network_plan import NetworkStep
from cyclades_tx.model.operation import FAILED, SUBMITTED, Operation
from cyclades_tx.model.step import Adopt, AskSiblings, Confirm, Finish, JobFacts, Submit, Wait

#: A turn that takes more steps than this has lost its way; it is called again later.
MOST_STEPS = 25

F = TypeVar("F", bound=JobFacts)

#: Sends what a step asks of the cluster; gives the number of the job.
Request = Callable[[], Any]


class Turns(ABC, Generic[F]):
    """Takes operations on things of one kind as far as they go now; a turn's key is a thing's id.

    :cvar kind: what transactions, and the fields of the log, call such a thing.
    """

    log = Logger()
    kind: ClassVar[str]

    def __init__(self, work: ClusterWork) -> None:
        self._work = work

    async def turn(self, thing_id: int) -> float | None:
        """Do what there is to do for it on this cluster now; see :class:`~.driver.Loop`."""
        for step in range(MOST_STEPS):
            operation = await self._opened(thing_id)
            if operation is None:
                if step == 0:
                    self._rests(thing_id)
                return None
            pause = await self._advance(thing_id, operation)
            if pause is not None:
                return pause
        return 1.0

    @abstractmethod
    async def _opened(self, thing_id: int) -> Operation | None:
        """The operation that is open on it here."""

    def _rests(self, thing_id: int) -> None:
        """It was woken although nothing moves it."""

    @abstractmethod
    def _name(self, thing_id: int) -> str:
        """What the cluster calls that which its jobs are about."""

    @abstractmethod
    def _facts(self, job: Job | None) -> F:
        """What is known when nobody has looked yet."""

    @abstractmethod
    def _plan(self, operation: Operation, facts: F) -> NetworkStep | VolumeStep:
        """The next step."""

    @abstractmethod
    async def _look(self, thing_id: int, operation: Operation, facts: F) -> F:
        """Look at it on the cluster.

        :raise GanetiError: when that cannot be done.
        """

    @abstractmethod
    async def _request(
        self, thing_id: int, operation: Operation, step: Submit, facts: F
    ) -> Request:
        """What a step asks of the cluster.

        :param operation: as it will be when the step was sent.
        """

    @abstractmethod
    async def _finish(self, thing_id: int, operation: Operation, step: Finish) -> None:
        """Close the operation, and write what its end means."""

    async def _advance(self, thing_id: int, operation: Operation) -> float | None:
        """Take steps until the operation is over (None) or waits (a pause in seconds)."""
        work = self._work
        facts = self._facts(work.watch.ended(operation.job_id))
        for _ in range(MOST_STEPS):
            step = self._plan(operation, facts)
            if isinstance(step, Wait):
                if operation.state == SUBMITTED and operation.job_id is not None:
                    work.watch.watch(operation.job_id, self._key(thing_id), operation.id)
                return step.seconds
            if isinstance(step, Adopt):
                await self._submitted(thing_id, operation, step.job_id)
                return 0.0
            if isinstance(step, Finish):
                await self._finish(thing_id, operation, step)
                return None
            if isinstance(step, Submit):
                return await self._submit(thing_id, operation, step, facts)
            try:
                if isinstance(step, AskSiblings):
                    jobs = await work.cluster.jobs_for(self._name(thing_id), operation.trail())
                    facts = replace(facts, siblings=jobs)
                elif isinstance(step, Confirm):
                    assert operation.job_id is not None
                    facts = self._facts(await work.watch.confirm(operation.job_id))
                else:
                    facts = await self._look(thing_id, operation, facts)
            except GanetiError as error:
                if work.now() < operation.deadline_at:
                    return await work.note_silence(operation, error)
                why = f"The cluster did not answer before the deadline. {error.message}"
                await self._finish(thing_id, operation, Finish(FAILED, why))
                return None
        return 1.0

    async def _submit(
        self, thing_id: int, operation: Operation, step: Submit, facts: F
    ) -> float | None:
        work = self._work
        sent = replace(operation, step=step.step, attempt=step.attempt, job_id=None)
        request = await self._request(thing_id, sent, step, facts)

        async def write(tx: Any) -> bool:
            return await submission.begin(tx, work, operation, step, facts.job)

        if not await work.database.transaction(write, f"{self.kind}.submit"):
            return None
        work.watch.forget(operation.job_id)
        work.crash(f"before-call:{step.step}")
        try:
            job_id = await request()
        except GanetiRefused as error:
            refused = Finish(FAILED, f"The cluster refused: {error.message}")
            await self._finish(thing_id, sent, refused)
            return None
        except GanetiError as error:
            return await submission.unsent(
                work, operation, error, transaction=f"{self.kind}.unsent"
            )
        work.crash(f"after-call:{step.step}")
        await self._submitted(thing_id, sent, job_id)
        self.log.info(
            "operation.submitted",
            operation_id=operation.id,
            request_id=operation.request_id,
            kind=operation.kind,
            network_id=operation.network_id,
            volume_id=operation.volume_id,
            job_id=job_id,
        )
        return 2.0

    async def _submitted(self, thing_id: int, operation: Operation, job_id: int) -> None:
        """Write down that a job carries out the operation's present step."""
        await submission.submitted(
            self._work,
            operation,
            operation.step,
            operation.attempt,
            job_id,
            key=self._key(thing_id),
            transaction=f"{self.kind}.submitted",
        )

    def _key(self, thing_id: int) -> str:
        """What wakes its turn."""
        return f"{self.kind[0]}{thing_id}"
