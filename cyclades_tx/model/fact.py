"""Facts: what a message says, and which of two that speak of the same thing is further on.

A fact never changes a server. Facts about jobs are kept, each at the furthest status that was
told of it; when one is at its end, whoever drives the cluster is woken, and looks for itself.
So it does not matter whether messages are lost, come twice or in another order.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from cyclades_tx.model.diagnostic import Diagnostic
from cyclades_tx.model.job import JobStatus

#: How far a job is. It is a total order, so that the furthest of several messages does not
#: depend on their order: of two ends of one opcode, which no cluster gives, the worse one counts.
RANKS: dict[JobStatus, int] = {
    JobStatus.QUEUED: 0,
    JobStatus.WAITING: 1,
    JobStatus.CANCELING: 2,
    JobStatus.RUNNING: 3,
    JobStatus.SUCCESS: 4,
    JobStatus.CANCELED: 5,
    JobStatus.ERROR: 6,
}

#: From here on nothing more happens in a job.
FINAL_RANK = RANKS[JobStatus.SUCCESS]

Key = tuple[str, int, str, str, int]


class JobFact(Struct, frozen=True):
    """How one opcode of a job on one of our things stands, as a message told it.

    :ivar cluster: the name of the cluster that the message says it comes from.
    :ivar subject: whom it concerns, in the words of a wake: ``o42`` (the instance of server 42),
        ``n7`` (network 7) or ``refresh`` (the cluster itself).
    :ivar subject_id: the number in it; 0 for the cluster.
    :ivar op_index: which opcode of its job it is, or -1 when the message does not say.
    :ivar job_ops: how many opcodes the job has, or 0 when the message does not say.
    :ivar event_seconds: the moment by the cluster's clock, in seconds since 1970; for
        measuring only, never for deciding.
    """

    cluster: str
    job_id: int
    opcode: str
    subject: str
    subject_id: int
    status: JobStatus
    op_index: int = -1
    job_ops: int = 0
    event_seconds: float = 0.0

    @property
    def key(self) -> Key:
        """What it speaks of."""
        return self.cluster, self.job_id, self.opcode, self.subject, self.op_index

    @property
    def rank(self) -> int:
        """How far the opcode is; see :data:`RANKS`."""
        return RANKS[self.status]


class ProgressFact(Struct, frozen=True):
    """How much of a new server's image was copied, in percent."""

    server_id: int
    percent: int
    event_seconds: float = 0.0


class Ignored(Struct, frozen=True):
    """A message that is right but says nothing to us."""

    reason: str


class Unreadable(Struct, frozen=True):
    """A message that is not what it should be; the reason is for the one who looks after it."""

    reason: str


Fact = JobFact | ProgressFact | Diagnostic


def advance(known: JobFact | None, seen: JobFact) -> JobFact:
    """The fact to keep of two with the same key: a status only ever advances.

    :param known: what is kept so far, or None.
    :param seen: what was told now.
    """
    if known is None or RANKS[seen.status] > RANKS[known.status]:
        return seen
    return known


def furthest(facts: Iterable[JobFact]) -> list[JobFact]:
    """One fact of each key, the furthest, in the order of their keys."""
    kept: dict[Key, JobFact] = {}
    for fact in facts:
        key = fact.key
        kept[key] = advance(kept.get(key), fact)
    return [kept[key] for key in sorted(kept)]
