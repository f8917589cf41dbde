"""What to do next so that the disk of a volume that no server has is removed, or grown.

Ganeti changes disks of instances only. So an instance of our own that never runs, the *holder*,
is made where the disk is and gets it; then the disk goes with it, or is grown and taken off again.
What is next follows from what is seen of the holder, so that it is the same after a lost answer, a
crash, or an earlier try that did not come to its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cyclades_tx.model import procedure
from cyclades_tx.model.instance import SeenDisk
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.job_end import failure_of
from cyclades_tx.model.moves import ABSENT, UNSEEN, Seen
from cyclades_tx.model.operation import (
    FAILED,
    PENDING,
    SUBMITTED,
    SUBMITTING,
    SUCCEEDED,
    Operation,
)
from cyclades_tx.model.plan import GRACE, best_of
from cyclades_tx.model.step import (
    Adopt,
    AskInstance,
    AskSiblings,
    Confirm,
    Finish,
    JobFacts,
    Submit,
    Wait,
)

#: The kinds of operations on volumes that no server has.
DELETE, EXTEND = "delete", "extend_volume"

#: The steps: the holder is made, gets the disk, the disk grows and is taken off it, or goes with
#: it; a holder without the disk is cleared away.
MAKE, HOLD, GROW, PUT_BACK, REMOVE, CLEAR = (
    "make_holder", "hold", "grow", "put_back", "remove_held", "clear_holder",
)  # fmt: skip

#: These end what was begun: they have some time after the deadline.
ENDING = frozenset((PUT_BACK, REMOVE, CLEAR))
_MOST_TRIES = 3

#: How Ganeti says that it has no such disk (any more).
_NO_DISK = "No disk was found"

_NOT_OURS = (
    "The cluster has an instance that is called like the one that would hold the disk, and is not"
    " known to be ours: it is left alone."
)
_TAKEN_AWAY = "The instance that held the disk was removed by hand."
_LATE = "It was not done before the deadline."


@dataclass(frozen=True)
class VolumeFacts(JobFacts):
    """What a turn has found out about a volume's disk and its holder.

    :ivar seen: the holder, or that there is none; UNSEEN: not asked.
    :ivar own: whether it is surely this volume's holder.
    :ivar disk: the volume's disk, as far as the holder has it.
    """

    seen: Seen = UNSEEN
    own: bool = False
    disk: SeenDisk | None = None


VolumeStep = Wait | AskSiblings | AskInstance | Confirm | Submit | Adopt | Finish


def plan_kept_volume(operation: Operation, facts: VolumeFacts, now: datetime) -> VolumeStep:
    """The next step of an operation on a volume that no server has.

    :param now: aware UTC.
    """
    job, patient = facts.job, now < _patience_ends(operation)
    if operation.state == PENDING and not patient:
        return Finish(FAILED, f"Not begun before its deadline. {operation.reason}".strip())
    if operation.state == SUBMITTING:
        if facts.siblings is None:
            if patient:
                return AskSiblings()
            return Finish(FAILED, "The cluster did not say whether it accepted the job.")
        if facts.siblings:
            return Adopt(best_of(facts.siblings).id)
        if operation.submitted_at is not None:
            left = operation.submitted_at + GRACE - now
            if left > timedelta(0):
                return Wait("Looks whether the cluster accepted the job.", left.total_seconds())
    if operation.state == SUBMITTED and (job is None or not job.status.final):
        if patient:
            return Wait(f"Job {operation.job_id} runs.", 2.0)
        why = f"Job {operation.job_id} did not end before the deadline."
        return Finish(FAILED, why, cancel_job=operation.job_id)
    if job is not None and job.told:
        return Confirm()
    if facts.seen is UNSEEN:
        return AskInstance()
    if facts.seen is ABSENT:
        return _without_holder(operation, job, now)
    if not facts.own:
        return Finish(FAILED, _NOT_OURS)
    if operation.kind == DELETE:
        return _towards_removal(operation, facts, now)
    return _towards_growth(operation, facts, now)


def _patience_ends(operation: Operation) -> datetime:
    if operation.step in ENDING:
        return operation.deadline_at + procedure.BACK_TIME
    return operation.deadline_at


def _without_holder(operation: Operation, job: Job | None, now: datetime) -> VolumeStep:
    if operation.step in (REMOVE, CLEAR):
        failure = _failure(operation)
        return Finish(FAILED, failure) if failure else Finish(SUCCEEDED)
    if operation.step not in ("", MAKE):
        return Finish(FAILED, _TAKEN_AWAY)
    if operation.step == MAKE and job is not None and _exhausted(operation, job):
        return Finish(FAILED, failure_of(job))
    if now >= operation.deadline_at:
        return Finish(FAILED, _LATE)
    return _submit(operation, MAKE, job)


def _towards_removal(operation: Operation, facts: VolumeFacts, now: datetime) -> VolumeStep:
    job = facts.job
    if facts.disk is not None:
        return _end(operation, REMOVE, job)
    if operation.step == CLEAR or _failure(operation):
        return _end(operation, CLEAR, job)
    if operation.step == HOLD and job is not None and _failed(job):
        if _NO_DISK in job.message:
            # It is gone already: an earlier try was not seen to succeed.
            return Submit(CLEAR, 0)
        if _exhausted(operation, job):
            return Submit(CLEAR, 0, failure_of(job))
    if now >= operation.deadline_at:
        return Submit(CLEAR, 0, _LATE)
    return _submit(operation, HOLD, job)


def _towards_growth(operation: Operation, facts: VolumeFacts, now: datetime) -> VolumeStep:
    job, late = facts.job, now >= operation.deadline_at
    failure = _failure(operation)
    if facts.disk is not None:
        large = facts.disk.size_mib >= operation.arguments["size_gib"] * 1024
        if large or failure or operation.step == PUT_BACK:
            return _end(operation, PUT_BACK, job)
        if operation.step == GROW and job is not None and _exhausted(operation, job):
            return Submit(PUT_BACK, 0, failure_of(job))
        return Submit(PUT_BACK, 0, _LATE) if late else _submit(operation, GROW, job)
    if operation.step in (PUT_BACK, CLEAR) or failure:
        return _end(operation, CLEAR, job)
    if operation.step == GROW:
        return Submit(CLEAR, 0, "The disk was taken away by hand while it grew.")
    if operation.step == HOLD and job is not None and _exhausted(operation, job):
        return Submit(CLEAR, 0, failure_of(job))
    return Submit(CLEAR, 0, _LATE) if late else _submit(operation, HOLD, job)


def _end(operation: Operation, step: str, job: Job | None) -> Submit | Finish:
    """A step that ends what was begun; what is left when it fails, the next operation meets."""
    if operation.step == step and job is not None and _exhausted(operation, job):
        return Finish(FAILED, _failure(operation) or failure_of(job))
    return _submit(operation, step, job)


def _submit(operation: Operation, step: str, job: Job | None) -> Submit:
    if step != operation.step:
        return Submit(step, 0)
    again = job is not None and job.status.final
    return Submit(step, operation.attempt + 1 if again else operation.attempt)


def _failure(operation: Operation) -> str:
    return str(operation.arguments.get("failure") or "")


def _failed(job: Job) -> bool:
    return job.status is not JobStatus.SUCCESS


def _exhausted(operation: Operation, job: Job) -> bool:
    return job.status.final and operation.attempt + 1 >= _MOST_TRIES
