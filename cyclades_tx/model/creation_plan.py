"""The planner of what comes after the first job of a creation: its further steps, or the way back.

What was there before a creation is never removed with what it has left.
"""

from __future__ import annotations

from datetime import datetime

from cyclades_tx.model import creation, procedure
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.job_end import NOT_ITS_OWN, failure_of, first_failure, once_more, own
from cyclades_tx.model.moves import ABSENT, UNSEEN
from cyclades_tx.model.operation import FAILED, SUCCEEDED, Operation
from cyclades_tx.model.step import (
    CLEAN,
    LET_GO,
    AskInstance,
    AskOwner,
    Facts,
    Finish,
    Step,
    Submit,
    Wait,
)


def backs_out(operation: Operation) -> bool:
    """Whether a creation that failed gives back the disks that were there before it."""
    return operation.kind == "create" and operation.step in (procedure.STOP, LET_GO)


def _back_out(operation: Operation, facts: Facts, failure: str = "") -> Submit:
    """The next step of a creation that failed: first what was there before leaves the instance.

    :param failure: why it failed, where that is not remembered yet.
    """
    if not facts.outliving:
        return Submit(CLEAN, 0, failure)
    step = LET_GO
    if isinstance(facts.seen, Instance) and facts.seen.power is Power.RUNNING:
        step = procedure.STOP
    attempt = operation.attempt + 1 if operation.step == step else 0
    disk = facts.outliving[0] if step == LET_GO else ""
    return Submit(step, attempt, failure, disk=disk)


def _follow_back_out(operation: Operation, job: Job, facts: Facts, now: datetime) -> Step:
    """On towards the removal of what a failed creation has left; nobody's data go with it."""
    if facts.seen is UNSEEN:
        return AskInstance()
    if facts.seen is ABSENT or now >= operation.deadline_at:
        return Finish(FAILED, first_failure(operation), facts.seen)
    if job.status is not JobStatus.SUCCESS:
        again = once_more(operation, job, now)
        if isinstance(again, Wait):
            return again
    return _back_out(operation, facts)


def follow(operation: Operation, job: Job, facts: Facts, now: datetime) -> Step:
    """The next step of a creation whose job has ended."""
    if backs_out(operation):
        return _follow_back_out(operation, job, facts, now)
    if operation.step == CLEAN:
        if job.status is JobStatus.SUCCESS or job.error_code == "unknown_entity":
            return Finish(FAILED, first_failure(operation), ABSENT)
        if facts.seen is UNSEEN:
            return AskInstance()
        if facts.seen is ABSENT:
            return Finish(FAILED, first_failure(operation), ABSENT)
        if now >= operation.deadline_at:
            return Finish(FAILED, first_failure(operation))
        if facts.owner is None:
            return AskOwner()
        if not own(facts):
            return Finish(FAILED, f"{first_failure(operation)} {NOT_ITS_OWN}", ABSENT)
        return once_more(operation, job, now)
    if facts.seen is UNSEEN:
        return AskInstance()
    after = creation.following(operation.arguments, operation.step)
    if job.status is JobStatus.SUCCESS:
        if facts.seen is ABSENT:
            return Finish(FAILED, "The instance was made and removed again.", ABSENT)
        return _on(facts, after)
    taken = operation.step == creation.CREATE and job.error_code == "already_exists"
    if facts.seen is ABSENT or taken:
        return Finish(FAILED, failure_of(job), ABSENT)
    if facts.owner is None:
        return AskOwner()
    if not own(facts):
        return Finish(FAILED, f"{failure_of(job)} {NOT_ITS_OWN}", ABSENT)
    if job.status is JobStatus.UNKNOWN and (operation.step != creation.PUT_ON or facts.outliving):
        return _on(facts, after)
    if operation.step == creation.CREATE:
        return _back_out(operation, facts)
    return _back_out(operation, facts, failure_of(job))


def _on(facts: Facts, after: str | None) -> Step:
    """The next step of a creation, or its end."""
    if after is None:
        return Finish(SUCCEEDED, seen=facts.seen)
    if facts.deleted:
        # What it is by now is the deletion's to see, and what outlives it to take off.
        return Finish(FAILED, "Its deletion came in between.")
    return Submit(after, 0)
