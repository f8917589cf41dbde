"""The planner: what to do next about an operation, from what is wished, seen, and the time.

It is a function of values. A turn of a loop calls it, does the one step that it says, and calls
it again with what was found out; so the same truth always leads to the same step, whether the
process is fresh or has just been killed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cyclades_tx.model import creation, creation_plan, firewall, procedure
from cyclades_tx.model.creation_plan import backs_out
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.job_end import NOT_ITS_OWN, failure_of, first_failure, once_more, own
from cyclades_tx.model.moves import ABSENT, UNSEEN, Seen
from cyclades_tx.model.operation import (
    FAILED,
    PENDING,
    SUBMITTED,
    SUBMITTING,
    SUCCEEDED,
    Operation,
)
from cyclades_tx.model.ownership import Owner
from cyclades_tx.model.step import (
    CLEAN,
    LET_GO,
    TAG,
    UNTAG,
    Adopt,
    AskInstance,
    AskOwner,
    AskSecret,
    AskSiblings,
    Confirm,
    Facts,
    Finish,
    Step,
    Submit,
    Wait,
)

#: How long after a lost answer a job may still turn up in the queue. Creates need no such
#: wait: a second one of the same name is refused by the cluster itself.
GRACE = timedelta(seconds=5)

#: Told to whoever asked for a change that the running machine took no notice of.
PENDING_RESTART = (
    "The configuration was changed, but the running machine took no notice: "
    "the change has its effect when it is next started or rebooted."
)

_NO_INSTANCE = "The cluster has no instance of this server."


def plan_server(operation: Operation, facts: Facts, now: datetime) -> Step:
    """The next step of an operation on a server.

    :param now: aware UTC.
    """
    if operation.state == PENDING:
        return _begin(operation, facts, now)
    if operation.state == SUBMITTING:
        return _find(operation, facts, now)
    if operation.state == SUBMITTED:
        return _follow(operation, facts, now)
    raise ValueError(f"operation {operation.id} is over: {operation.state}")


def _begin(operation: Operation, facts: Facts, now: datetime) -> Step:
    if now >= operation.deadline_at:
        why = operation.reason or "Nothing could be sent to the cluster."
        return Finish(FAILED, f"Not begun before its deadline. {why}", _if_never_made(operation))
    if operation.kind in ("create", "rebuild") and creation.installs(operation.arguments):
        if facts.secret_there is None:
            return AskSecret()
        if not facts.secret_there:
            return Finish(FAILED, _secrets_lost(operation), _if_never_made(operation))
    if operation.kind == "create":
        if facts.broken:
            return Finish(FAILED, facts.broken, ABSENT)
        if facts.missing:
            return Wait(f"Waits for {_listed(facts.missing)} to be made on its cluster.", 2.0)
    if operation.kind == "attach_port":
        if facts.broken:
            return Finish(FAILED, facts.broken)
        if facts.missing:
            return Wait(f"Waits for {_listed(facts.missing)} to be made on its cluster.", 2.0)
        if firewall.tags(facts.firewall or {}):
            # Before the interface: its hosts read the tags when it comes up.
            return Submit(TAG, operation.attempt, tags=firewall.tags(facts.firewall or {}))
    if operation.kind == "firewall":
        if facts.seen is UNSEEN:
            return AskInstance()
        return _tagged(facts, (TAG, UNTAG))
    if operation.kind == "delete":
        if facts.running_job is not None:
            return Wait(f"Waits for job {facts.running_job} of this server to end.", 1.0)
        if facts.seen is UNSEEN:
            return AskInstance()
        if facts.seen is ABSENT:
            return Finish(SUCCEEDED, seen=ABSENT)
        if facts.owner is None:
            return AskOwner()
        if not own(facts):
            return _leave_it(facts.owner)
        return _towards_removal(operation, facts)
    if operation.kind == "extend_volume":
        if facts.seen is UNSEEN:
            return AskInstance()
        if facts.seen is ABSENT:
            return Finish(FAILED, _NO_INSTANCE, ABSENT)
    if operation.kind in procedure.KINDS:
        return Submit(procedure.first(operation.kind, operation.arguments), operation.attempt)
    return Submit(operation.kind, operation.attempt)


def _towards_removal(operation: Operation, facts: Facts) -> Submit:
    """The next step of a delete: first what outlives the instance leaves it, when it stands still.

    What a running machine still uses would be cut off in the middle of a write.
    """
    if not facts.outliving:
        return Submit("delete", operation.attempt if operation.step == "delete" else 0)
    if isinstance(facts.seen, Instance) and facts.seen.power is Power.RUNNING:
        return Submit("stop", operation.attempt + 1 if operation.step == "stop" else 0)
    attempt = operation.attempt + 1 if operation.step == LET_GO else 0
    return Submit(LET_GO, attempt, disk=facts.outliving[0])


def _tagged(facts: Facts, steps: tuple[str, ...], failure: str = "") -> Step:
    """The next of these steps that the tags of an instance need, or the end.

    :param failure: why the last one failed; empty: it did not.
    """
    if failure:
        return Finish(FAILED, failure, facts.seen)
    if isinstance(facts.seen, Instance):
        wanted = facts.firewall or {}
        more = firewall.missing(facts.seen.tags, wanted)
        if more and TAG in steps:
            return Submit(TAG, 0, tags=more)
        less = firewall.leftover(facts.seen.tags, wanted)
        if less and UNTAG in steps:
            return Submit(UNTAG, 0, tags=less)
    return Finish(SUCCEEDED, seen=facts.seen)


def _secrets_lost(operation: Operation) -> str:
    what = "creation" if operation.kind == "create" else "new installation"
    return (
        f"The one-time secrets of this server were lost before its {what} began "
        f"(the service was restarted); {operation.kind} it again."
    )


def _leave_it(owner: Owner) -> Step:
    """End the deletion of a server whose name another's instance has."""
    if not owner.charged:
        return Finish(SUCCEEDED, seen=ABSENT)  # nothing of it stands on a cluster
    return Finish(FAILED, NOT_ITS_OWN, UNSEEN)


def _if_never_made(operation: Operation) -> Seen:
    """A creation of which nothing was ever sent has left nothing."""
    never = operation.kind == "create" and operation.step in ("", creation.CREATE)
    return ABSENT if never else UNSEEN


def _find(operation: Operation, facts: Facts, now: datetime) -> Step:
    """A request may be on its way: never send it again before the queue was searched."""
    if facts.siblings is None:
        if now >= _patience_ends(operation):
            return Finish(
                FAILED, "The cluster did not say before the deadline whether it accepted the job."
            )
        return AskSiblings()
    if facts.siblings:
        return Adopt(best_of(facts.siblings).id)
    if operation.step != "create" and operation.submitted_at is not None:
        patience = operation.submitted_at + GRACE - now
        if patience > timedelta(0):
            return Wait("Looks whether the cluster accepted the job.", patience.total_seconds())
    if now >= _patience_ends(operation):
        if operation.step == CLEAN or backs_out(operation):
            return Finish(FAILED, first_failure(operation))
        return Finish(
            FAILED, "The cluster accepted no job before the deadline.", _if_never_made(operation)
        )
    if operation.step == TAG:
        return Submit(TAG, operation.attempt, tags=firewall.tags(facts.firewall or {}))
    if operation.step == UNTAG:
        if facts.seen is UNSEEN:
            return AskInstance()
        return _tagged(facts, (UNTAG,))
    if operation.kind == "extend_volume" or operation.step == LET_GO:
        if facts.seen is UNSEEN:
            return AskInstance()
        if facts.seen is ABSENT:
            why = first_failure(operation) if backs_out(operation) else ""
            return Finish(SUCCEEDED if operation.kind == "delete" else FAILED, why, ABSENT)
        if operation.step == LET_GO and not facts.outliving:
            return Submit(CLEAN if backs_out(operation) else "delete", 0)
        disk = facts.outliving[0] if operation.step == LET_GO else ""
        return Submit(operation.step, operation.attempt, disk=disk)
    return Submit(operation.step, operation.attempt)


def best_of(jobs: tuple[Job, ...]) -> Job:
    """Of several jobs for one request, the one that did or does the work."""
    order = {JobStatus.SUCCESS: 0, JobStatus.RUNNING: 1, JobStatus.WAITING: 2, JobStatus.QUEUED: 3}
    return min(jobs, key=lambda job: (order.get(job.status, 4), job.id))


def _follow(operation: Operation, facts: Facts, now: datetime) -> Step:
    job = facts.job
    if job is None or not job.status.final:
        if now >= _patience_ends(operation):
            return Finish(
                FAILED,
                f"Job {operation.job_id} did not end before the deadline.",
                cancel_job=operation.job_id,
            )
        word = "was sent" if job is None else f"is {job.status}"
        return Wait(f"Job {operation.job_id} {word}.", 2.0)
    if job.told:
        return Confirm()
    if job.status is not JobStatus.SUCCESS and job.status is not JobStatus.UNKNOWN:
        # A request that was sent twice has two jobs; the other one may have done it.
        if facts.siblings is None:
            return AskSiblings()
        others = tuple(each for each in facts.siblings if each.id != job.id)
        if others and _worth(best_of(others)):
            return Adopt(best_of(others).id)
    if operation.kind == "create":
        return creation_plan.follow(operation, job, facts, now)
    if operation.kind == "delete":
        return _follow_delete(operation, job, facts, now)
    if operation.kind in procedure.KINDS:
        return _follow_procedure(operation, job, facts)
    done = job.status is JobStatus.SUCCESS
    if operation.kind == "attach_port" and operation.step == TAG and done:
        return Submit("attach_port", 0)
    if facts.seen is UNSEEN:
        return AskInstance()
    if operation.kind == "firewall":
        steps = (UNTAG,) if operation.step == TAG else ()
        return _tagged(facts, steps, "" if done else failure_of(job))
    if operation.step == UNTAG:
        # A tag of an interface that is gone means nothing, whether it is there or not.
        return Finish(SUCCEEDED, seen=facts.seen)
    if done:
        if job.pending_restart:
            return Finish(SUCCEEDED, PENDING_RESTART, facts.seen, pending_restart=True)
        if operation.kind == "detach_port":
            return _tagged(facts, (UNTAG,))
        return Finish(SUCCEEDED, seen=facts.seen)
    if job.status is JobStatus.UNKNOWN and facts.seen is not ABSENT:
        return Finish(FAILED, f"The cluster no longer knows job {job.id}.", facts.seen)
    return Finish(FAILED, failure_of(job), facts.seen)


def _patience_ends(operation: Operation) -> datetime:
    """When a job is given up; what is taken back has some time of its own."""
    if operation.step in procedure.BACKWARD:
        return operation.deadline_at + procedure.BACK_TIME
    return operation.deadline_at


def _follow_procedure(operation: Operation, job: Job, facts: Facts) -> Step:
    """On to the next step, or back."""
    done = job.status is JobStatus.SUCCESS
    backward = operation.step in procedure.BACKWARD
    after = procedure.following(operation.kind, operation.arguments, operation.step, done)
    lost = False
    if done and after == procedure.INSTALL:
        if facts.secret_there is None:
            return AskSecret()
        lost = not facts.secret_there
    if done and after is not None and not facts.deleted and not lost:
        return Submit(after, 0)
    if facts.seen is UNSEEN:
        return AskInstance()
    if done and after is None and not backward:
        return Finish(SUCCEEDED, seen=facts.seen)
    if lost:
        return Finish(FAILED, _secrets_lost(operation), facts.seen)
    if done:
        failure = first_failure(operation) if backward else "Its deletion came in between."
    else:
        failure = _failure_of_step(operation, failure_of(job))
    if after is None or facts.deleted or facts.seen is ABSENT:
        return Finish(FAILED, failure, facts.seen)
    return Submit(after, 0, failure)


def _failure_of_step(operation: Operation, why: str) -> str:
    if operation.step in procedure.BACKWARD:
        return f"{first_failure(operation)} It could not be put back: {why}"
    return why


def plan_refused(operation: Operation, why: str) -> Submit | Finish:
    """What comes after a step of a procedure that the cluster refused: the way back."""
    if operation.kind == "create":
        # Nothing was put on it; what was, a look will tell.
        return Submit(CLEAN, 0, why) if operation.step == creation.PUT_ON else Finish(FAILED, why)
    failure = _failure_of_step(operation, why)
    after = procedure.following(operation.kind, operation.arguments, operation.step, False)
    return Finish(FAILED, failure) if after is None else Submit(after, 0, failure)


def _worth(job: Job) -> bool:
    return job.status is JobStatus.SUCCESS or not job.status.final


def _follow_delete(operation: Operation, job: Job, facts: Facts, now: datetime) -> Step:
    if operation.step in ("stop", LET_GO):
        if facts.seen is UNSEEN:
            return AskInstance()
        if facts.seen is ABSENT:
            return Finish(SUCCEEDED, seen=ABSENT)
        if job.status is not JobStatus.SUCCESS or now >= operation.deadline_at:
            return Finish(FAILED, failure_of(job), facts.seen)
        return _towards_removal(operation, facts)
    if job.status is JobStatus.SUCCESS or job.error_code == "unknown_entity":
        return Finish(SUCCEEDED, seen=ABSENT)
    if facts.seen is UNSEEN:
        return AskInstance()
    if facts.seen is ABSENT:
        return Finish(SUCCEEDED, seen=ABSENT)
    if facts.owner is None:
        return AskOwner()
    if not own(facts):
        return _leave_it(facts.owner)
    if now >= operation.deadline_at:
        return Finish(FAILED, failure_of(job), facts.seen)
    return once_more(operation, job, now)


def _listed(names: tuple[str, ...]) -> str:
    return ("network " if len(names) == 1 else "networks ") + ", ".join(names)
