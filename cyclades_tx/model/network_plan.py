"""What to do next so that a network stands on a cluster, or is gone from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cyclades_tx.model.job import JobStatus
from cyclades_tx.model.job_end import failure_of
from cyclades_tx.model.operation import FAILED, SUBMITTED, SUBMITTING, SUCCEEDED, Operation
from cyclades_tx.model.plan import best_of
from cyclades_tx.model.step import Adopt, AskSiblings, Confirm, Finish, JobFacts, Submit, Wait


@dataclass(frozen=True)
class NetworkFacts(JobFacts):
    """What a turn has found out about a network on one cluster.

    :ivar groups: the cluster's node groups; None: not asked.
    :ivar present: whether the network exists there.
    :ivar connected: the groups that it is connected to.
    :ivar fits: whether its ranges, gateways and tags there are those that it should have.
    """

    groups: tuple[str, ...] | None = None
    present: bool = False
    connected: tuple[str, ...] = ()
    fits: bool = True

    @property
    def unconnected(self) -> tuple[str, ...]:
        """The groups that still miss the network."""
        return tuple(group for group in self.groups or () if group not in self.connected)


@dataclass(frozen=True)
class AskNetwork:
    """Look at the network and at the cluster's groups."""


NetworkStep = Wait | AskSiblings | AskNetwork | Confirm | Submit | Adopt | Finish


def plan_network(operation: Operation, facts: NetworkFacts, now: datetime) -> NetworkStep:
    """The next step of making (or removing) a network on one cluster.

    Each step looks at the cluster first, so that a repeat finds what is already there.
    An operation with a ``round`` makes a network anew that is there in another shape.
    """
    job = facts.job
    if operation.state == SUBMITTING:
        if facts.siblings is None:
            if now >= operation.deadline_at:
                return Finish(FAILED, "The cluster did not answer before the deadline.")
            return AskSiblings()
        if facts.siblings:
            return Adopt(best_of(facts.siblings).id)
    if operation.state == SUBMITTED and (job is None or not job.status.final):
        if now >= operation.deadline_at:
            return Finish(FAILED, f"Job {operation.job_id} did not end before the deadline.")
        return Wait(f"Job {operation.job_id} runs.", 2.0)
    if job is not None and job.told:
        return Confirm()
    if facts.groups is None:
        return AskNetwork()
    wanted = operation.kind == "make_network"
    # Each round's steps have names of their own: no job of an earlier one is taken for theirs.
    number = operation.arguments.get("round") or ""
    stands = facts.present and (facts.fits or not number)
    failed = job is not None and job.status is not JobStatus.SUCCESS
    if wanted and stands and not facts.unconnected:
        return Finish(SUCCEEDED)
    if not wanted and not facts.present:
        return Finish(SUCCEEDED)
    if now >= operation.deadline_at:
        return Finish(
            FAILED, failure_of(job) if failed and job else "Not done before the deadline."
        )
    attempt = operation.attempt + 1 if failed else operation.attempt
    if failed and job is not None and attempt >= 3:
        return Finish(FAILED, failure_of(job))
    if wanted and stands:
        step = f"connect{number}-{facts.unconnected[0]}"
    elif wanted and not facts.present:
        step = f"make{number}"
    elif facts.connected:
        step = f"disconnect{number}-{facts.connected[0]}"
    else:
        step = f"remove{number}"
    return Submit(step, attempt if step == operation.step else 0)
