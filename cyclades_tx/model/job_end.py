"""How jobs end badly: what is told of it, and when the same is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta

from cyclades_tx.model.instance import Instance
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.operation import Operation, backoff_seconds
from cyclades_tx.model.step import Facts, Submit, Wait

#: Pauses between the tries of a removal that the cluster does not manage.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0

#: Told where an instance has the name of a server's, and is another's.
NOT_ITS_OWN = (
    "The cluster has an instance of this server's name that is not known to be its own"
    " (its tags do not name the server): it is not removed."
)


def once_more(operation: Operation, job: Job, now: datetime) -> Submit | Wait:
    """Try the same again, each time after a longer pause."""
    if operation.submitted_at is not None:
        pause = backoff_seconds(operation.attempt + 1, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        left = operation.submitted_at + timedelta(seconds=pause) - now
        if left > timedelta(0):
            return Wait(f"Tries again: {failure_of(job)}", left.total_seconds())
    return Submit(operation.step, operation.attempt + 1)


def first_failure(operation: Operation) -> str:
    """Why it failed, while what it has left is removed or taken back."""
    return str(operation.arguments.get("failure") or f"The {operation.kind} failed.")


def failure_of(job: Job) -> str:
    """Why a job did not do what it was for, as its owner is told it."""
    if job.status is JobStatus.CANCELED:
        return f"Job {job.id} was canceled at the cluster."
    return job.owner_message or f"Job {job.id} ended with {job.status}."


def own(facts: Facts) -> bool:
    """Whether the instance that was seen is surely the server's own."""
    if facts.owner is None or not isinstance(facts.seen, Instance):
        return False
    return facts.owner.made(facts.seen)
