"""What is written down around the call that makes a job of an operation's step.

Before it that the call may be on its way, behind it the job's number; so that a process that is
killed in between leaves something to look for.
"""

from __future__ import annotations

from typing import Any

from cyclades_tx.ganeti.interfaces import GanetiError, GanetiUnavailable
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.model.job import Job
from cyclades_tx.model.operation import PENDING, SUBMITTING, Operation
from cyclades_tx.model.step import Submit
from cyclades_tx.store import operations


async def begin(
    tx: Any, work: ClusterWork, operation: Operation, step: Submit, job: Job | None
) -> bool:
    """Write down that the call is about to be made.

    :param job: of the step before it; None: there was none.
    :return: whether it may be; if not, the operation is another one by now.
    :raise LostLease: when another process drives the cluster.
    """
    await operations.check_epoch(tx, work.lease.cluster_id, work.lease.epoch)
    if operation.step and job is not None:
        await operations.end_job(tx, operation, job)
    marked = await operations.mark_submitting(tx, operation, step.step, step.attempt)
    if marked and step.failure:
        await operations.remember(tx, operation.id, "failure", step.failure)
    return marked


async def submitted(
    work: ClusterWork,
    operation: Operation,
    step: str,
    attempt: int,
    job_id: int,
    *,
    key: str,
    transaction: str,
) -> None:
    """Write down the job that was made, and watch it.

    :param key: whose turn its end brings.
    :param transaction: the name of the transaction.
    """
    lease = work.lease

    async def write(tx: Any) -> None:
        await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
        await operations.mark_submitted(tx, operation.id, step, attempt, job_id)

    work.watch.forget(operation.job_id)
    await work.database.transaction(write, transaction)
    work.watch.watch(job_id, key, operation.id)


async def unsent(
    work: ClusterWork, operation: Operation, error: GanetiError, *, transaction: str
) -> float:
    """Write down that the call did not come through, or that nobody knows whether it did.

    What is pending may be canceled at once, so only that is put back to it of which nothing was
    ever sent.

    :return: when to try again (seconds).
    """
    lease = work.lease
    pause = work.pause_seconds(operation)
    never = isinstance(error, GanetiUnavailable) and operation.state == PENDING
    why = f"The cluster did not take the job: {error.message}"

    async def write(tx: Any) -> None:
        await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
        state = PENDING if never else SUBMITTING
        await operations.mark_unsent(tx, operation.id, state, why, pause)

    await work.database.transaction(write, transaction)
    return pause
