"""What a planner is told and what it says: the facts of a turn, and the one step to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cyclades_tx.model.job import Job
from cyclades_tx.model.moves import UNSEEN, Seen
from cyclades_tx.model.ownership import Owner

#: The steps that set and remove firewall tags: new ones first, so that nothing is open between.
TAG = "tag"
UNTAG = "untag"

#: The step that removes what a failed creation has left behind.
CLEAN = "clean"

#: The step that takes a disk off an instance before that is removed, since it outlives it.
LET_GO = "let_go"


@dataclass(frozen=True)
class JobFacts:
    """What a turn has found out about the jobs of an operation.

    :ivar job: the operation's job, or None when nobody has looked.
    :ivar siblings: the jobs in the queue with the operation's reason; None: not asked.
    """

    job: Job | None = None
    siblings: tuple[Job, ...] | None = None


@dataclass(frozen=True)
class Facts(JobFacts):
    """What a turn has found out about a server so far.

    :ivar seen: the instance, or that there is none; UNSEEN: not asked.
    :ivar missing: names of the networks that must be made first.
    :ivar broken: why a network that is needed could not be made; empty: none failed.
    :ivar secret_there: whether the first boot's secrets are still kept; None: not asked.
    :ivar running_job: for a delete: a job of a creation that was given up, which still runs.
    :ivar deleted: whether a delete waits for the operation's end.
    :ivar owner: by what the server's own instance is known; None: not asked.
    :ivar firewall: the profile that each interface of the operation should have, by its name.
    :ivar outliving: the disks that were seen and outlive the instance, as the cluster knows
        them: of a delete those that stay, of a creation those that were there before it.
    """

    seen: Seen = UNSEEN
    missing: tuple[str, ...] = ()
    broken: str = ""
    secret_there: bool | None = None
    running_job: int | None = None
    deleted: bool = False
    owner: Owner | None = None
    firewall: Mapping[str, str] | None = None
    outliving: tuple[str, ...] = ()

    def confirmed(self, job: Job | None) -> Facts:
        """The same after the cluster itself was asked for the job.

        What was seen of the instance before may be from before the job's end.
        """
        return replace(self, job=job, seen=UNSEEN, siblings=None)


@dataclass(frozen=True)
class Wait:
    """Nothing to do before ``seconds`` have gone by or a wake comes."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class AskSiblings:
    """Look in the cluster's queue for jobs with the operation's reason."""


@dataclass(frozen=True)
class AskInstance:
    """Look at the instance."""


@dataclass(frozen=True)
class AskOwner:
    """See by what the server's own instance is known."""


@dataclass(frozen=True)
class AskSecret:
    """See whether the secrets of the first boot are still kept."""


@dataclass(frozen=True)
class Confirm:
    """Have the cluster itself say how the job ended: a message alone closes no operation."""


@dataclass(frozen=True)
class Submit:
    """Send the request of this step to the cluster.

    :ivar failure: why the step before it failed, to be told at the end; empty: nothing failed.
    :ivar tags: that a step about tags sets or removes.
    :ivar disk: that :data:`LET_GO` takes off, as the cluster knows it.
    """

    step: str
    attempt: int
    failure: str = ""
    tags: tuple[str, ...] = ()
    disk: str = ""


@dataclass(frozen=True)
class Adopt:
    """The job was accepted after all: take it as ours."""

    job_id: int


@dataclass(frozen=True)
class Finish:
    """Close the operation.

    :ivar end: ``succeeded`` or ``failed``.
    :ivar reason: for the person who asked; empty when it succeeded.
    :ivar seen: the instance as it is now, ABSENT or UNSEEN.
    :ivar cancel_job: a job that should not run any more, if it can still be stopped.
    :ivar pending_restart: whether the running machine has taken no notice of a changed device.
    """

    end: str
    reason: str = ""
    seen: Seen = UNSEEN
    cancel_job: int | None = None
    pending_restart: bool = False


Step = Wait | AskSiblings | AskInstance | AskOwner | AskSecret | Confirm | Submit | Adopt | Finish
