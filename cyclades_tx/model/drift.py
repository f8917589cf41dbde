"""Drift: what is wrong between the records of servers and a cluster, and what is done about it.

At rest the cluster is right: the records follow, at once. Whatever would change the cluster is
dangerous: it waits for a grace time or for an operator, and ends after repeated failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from cyclades_tx.model import quota
from cyclades_tx.model.differences import (
    DISK_DIFFERS,
    DISK_EXTRA,
    DISK_MISSING,
    NIC_DIFFERS,
    NIC_EXTRA,
    NIC_MISSING,
    SIZE,
    ServerRecord,
    differences,
)
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.job import Job
from cyclades_tx.model.moves import ABSENT, BUILDING, ERROR, Rest, observed
from cyclades_tx.model.names import Names
from cyclades_tx.model.ownership import is_own

STALE = "stale"
MISSING_AT_ONCE = "missing_at_once"
ORPHAN = "orphan"
STRANGER = "stranger"
HOLDER = "holder"
POWER = "power_differs"
UNKNOWN_POWER = "power_unknown"
ELSEWHERE = "elsewhere"
TWICE = "twice"
LOST_BUILD = "lost_build"
UNREPORTED = "unreported"
RISEN = "risen"

#: An operation whose job has ended so long ago should have noticed.
PATIENCE = timedelta(seconds=60)

#: From so many servers on, a cluster that has lost more than half of them at once is suspect.
FEWEST_OF_A_MASS = 10


class Remedy(StrEnum):
    """What is done about a finding.

    ``record``: our record is mended. ``wake``: the operation is looked at. ``remove``: the
    instance is removed from the cluster. ``wait``: that waits for its grace time, or runs.
    ``operator``: a person must decide. ``gave_up``: it was tried often enough.
    """

    RECORD = "record"
    WAKE = "wake"
    REMOVE = "remove"
    WAIT = "wait"
    OPERATOR = "operator"
    GAVE_UP = "gave_up"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    :ivar kind: what, of the words of this module and of :mod:`~.differences`.
    :ivar subject: with the kind it names the finding, also in the next look.
    :ivar sentence: for an operator.
    :ivar plan: what is done about it, for an operator.
    """

    kind: str
    subject: str
    sentence: str
    remedy: Remedy
    server_id: int | None = None
    plan: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """By which it is found again."""
        return self.kind, self.subject


@dataclass(frozen=True)
class Memory:
    """What is remembered of a finding from the looks before.

    :ivar failures: tries in a row that did not help.
    :ivar wanted: whether an operator asked for it to be mended now.
    :ivar job_id: the job that removes the instance, while it is not known to have ended.
    :ivar trouble: why the last try did not help.
    """

    first_seen_at: datetime
    failures: int = 0
    wanted: bool = False
    job_id: int | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Rules:
    """How far repairs may go by themselves."""

    orphan_grace: timedelta
    removes_orphans: bool
    most_failures: int


@dataclass(frozen=True)
class Claim:
    """What the database knows of a server of whose instance the record says nothing here.

    :ivar cluster_id: where it is, or was when it was deleted.
    :ivar missed: whether its own cluster is known to miss it.
    :ivar launched: whether its creation was seen to succeed.
    """

    server_id: int
    cluster_id: int | None
    deleted: bool
    fresh: bool = False
    missed: bool = False
    uuid: str = ""
    launched: bool = False


@dataclass(frozen=True)
class SentJob:
    """An open operation whose job was sent, and the job as the queue has it."""

    operation_id: int
    server_id: int
    kind: str
    job: Job
    submitted_at: datetime


def judge(record: ServerRecord, seen: Instance | None, names: Names) -> list[Finding]:
    """What is wrong with a server of the cluster that was looked at.

    :param seen: its instance there, None when there is none.
    """
    if record.moving or record.fresh:
        return []  # its operation says what becomes of it; or the look is older than the record
    here = f"server {record.id}"

    def finding(kind: str, sentence: str, remedy: Remedy, more: str = "") -> Finding:
        return Finding(kind, f"{here} {more}".strip(), sentence, remedy, record.id)

    if seen is None:
        return _judge_missing(record, finding)
    if not is_own(seen, record.uuid, record.launched):
        why = f"It has the name of {here}, but is not known to be its own: no tag says so."
        return [Finding(STRANGER, seen.name, why, Remedy.OPERATOR, record.id)]
    if record.state == ERROR and record.charge == quota.NONE:
        why = "Its creation failed and gave everything back, but its instance is there."
        return [finding(RISEN, why, Remedy.REMOVE)]
    found: list[Finding] = []
    before = Rest(record.state, record.charge)
    if seen.power is Power.UNKNOWN:
        why = f"The cluster does not know whether it runs ({seen.status}): see to its node."
        found.append(finding(UNKNOWN_POWER, why, Remedy.OPERATOR))
        if record.state == BUILDING:
            return found
    elif (after := observed(before, seen)) != before:
        kind, why = POWER, f"It is {after.state} at the cluster, its record says {record.state}."
        if record.state == BUILDING:
            kind, why = LOST_BUILD, "Nothing builds it any more, and its instance is there."
        elif record.state == ERROR:
            kind, why = RISEN, "Its creation was given up, but its instance has turned up."
        found.append(finding(kind, why, Remedy.RECORD))
    found += [
        finding(each.kind, each.sentence, Remedy.RECORD, each.subject)
        for each in differences(record, seen, names)
    ]
    return found


def _judge_missing(
    record: ServerRecord, finding: Callable[[str, str, Remedy], Finding]
) -> list[Finding]:
    before = Rest(record.state, record.charge)
    if observed(before, ABSENT) == before:
        return []
    if record.state == BUILDING:
        why = "Nothing builds it any more, and there is no instance."
        return [finding(LOST_BUILD, why, Remedy.RECORD)]
    if record.state == ERROR:
        why = "Its creation was given up and left no instance: what it holds is given back."
        return [finding(LOST_BUILD, why, Remedy.RECORD)]
    return [finding(STALE, "The cluster has no such instance any more.", Remedy.RECORD)]


def judge_unclaimed(
    seen: Instance, claim: Claim | None, cluster_id: int, names: Names
) -> Finding | None:
    """What is wrong with an instance that is no server of this cluster.

    :param claim: what the database knows of the server that its name says, or None.
    """
    name = seen.name
    number = names.server_id(name)
    if claim is None:
        why = "It carries our prefix, but no server of ours ever had this name."
        return Finding(STRANGER, name, why, Remedy.OPERATOR, number)
    if claim.fresh:
        return None
    if claim.cluster_id != cluster_id:
        if claim.deleted:
            why = "Its server was on another cluster and is deleted."
            return Finding(ELSEWHERE, name, why, Remedy.OPERATOR, number)
        if claim.missed:
            why = "Its server belongs to another cluster, which has no such instance any more."
            return Finding(ELSEWHERE, name, why, Remedy.OPERATOR, number)
        why = "Its server belongs to another cluster, which has it too."
        return Finding(TWICE, name, why, Remedy.OPERATOR, number)
    if claim.deleted:
        if not is_own(seen, claim.uuid, claim.launched):
            why = "It has the name of a deleted server, but is not known to have been its own."
            return Finding(STRANGER, name, why, Remedy.OPERATOR, number)
        why = "Its server is deleted, but the instance is there."
        return Finding(ORPHAN, name, why, Remedy.REMOVE, number)
    return None


def judge_holder(seen: Instance) -> Finding:
    """What is wrong with a holder of a volume's disk on which nothing works (any more)."""
    why = "It was made to hold a volume's disk while that is changed, and was left behind."
    return Finding(HOLDER, seen.name, why, Remedy.OPERATOR)


def judge_job(sent: SentJob, now: datetime) -> Finding | None:
    """Whether an operation waits for a job that has ended long ago."""
    ended_at = sent.job.ended_at or sent.submitted_at
    if not sent.job.status.final or now - max(ended_at, sent.submitted_at) < PATIENCE:
        return None
    why = f"Its {sent.kind} waits for job {sent.job.id}, which is over ({sent.job.status})."
    subject = f"server {sent.server_id} operation {sent.operation_id}"
    return Finding(UNREPORTED, subject, why, Remedy.WAKE, sent.server_id)


def suspect_mass(findings: Iterable[Finding], servers: int) -> bool:
    """Whether so much is missing at once that the cluster itself is rather wrong.

    :param servers: how many servers at rest should be on it.
    """
    return is_mass(sum(each.kind == STALE for each in findings), servers)


def is_mass(missing: int, servers: int) -> bool:
    """Whether so many of a cluster's servers are missing that this is rather its own trouble."""
    return servers >= FEWEST_OF_A_MASS and 2 * missing > servers


def hold_back(finding: Finding) -> Finding:
    """A missing instance of a suspect cluster: nothing is believed before a person has looked."""
    why = f"{finding.sentence} More than half of the cluster's servers are missing at once."
    return replace(finding, sentence=why, remedy=Remedy.OPERATOR)


def missing_at_once(missing: int, servers: int) -> Finding:
    """What stands for all the missing instances of a suspect cluster."""
    why = f"{missing} of {servers} servers are missing at once."
    return Finding(MISSING_AT_ONCE, "cluster", why, Remedy.OPERATOR)


def by_the_whole(finding: Finding) -> Finding:
    """A missing instance of a look at a few: only a look at all says whether to believe it."""
    return replace(finding, remedy=Remedy.WAIT)


def moved_away(finding: Finding) -> Finding:
    """A missing instance that another cluster has."""
    why = f"{finding.sentence} Another cluster has it."
    return replace(finding, sentence=why, remedy=Remedy.OPERATOR)


#: What an operator may have mended, whatever was decided: by the word of the option.
FIXES: dict[str, frozenset[str]] = {
    "stale": frozenset((STALE, LOST_BUILD)),
    "orphans": frozenset((ORPHAN, RISEN)),
    "unsynced": frozenset((POWER, RISEN)),
    "unsynced-nics": frozenset((NIC_MISSING, NIC_EXTRA, NIC_DIFFERS)),
    "unsynced-disks": frozenset((DISK_MISSING, DISK_EXTRA, DISK_DIFFERS)),
    "unsynced-flavors": frozenset((SIZE,)),
    "pending-tasks": frozenset((UNREPORTED,)),
}


def fixed_by(finding: Finding, words: Iterable[str]) -> bool:
    """Whether one of these options of the command mends a finding.

    :param words: keys of :data:`FIXES`.
    """
    for word in words:
        if finding.kind not in FIXES[word]:
            continue
        if finding.kind != RISEN or (finding.remedy is Remedy.RECORD) == (word == "unsynced"):
            return True
    return False


def decide(
    findings: Iterable[Finding],
    memories: Mapping[tuple[str, str], Memory],
    rules: Rules,
    now: datetime,
) -> list[Finding]:
    """Say of each finding what is done about it now, and tell it to people.

    :param memories: by the key of the finding.
    """
    # A cluster may say the same thing of two interfaces; it is one finding then.
    return [
        _decided(finding, memories.get(finding.key) or Memory(now), rules, now)
        for finding in {finding.key: finding for finding in findings}.values()
    ]


def _decided(finding: Finding, memory: Memory, rules: Rules, now: datetime) -> Finding:
    remedy = finding.remedy
    if remedy is Remedy.OPERATOR:
        return replace(finding, plan=_BY_HAND.get(finding.kind, "An operator must decide."))
    if remedy is Remedy.WAIT:
        return replace(finding, plan="The next look at the whole cluster decides.")
    if memory.job_id is not None:
        return replace(finding, remedy=Remedy.WAIT, plan=f"Job {memory.job_id} removes it.")
    if memory.failures >= rules.most_failures and not memory.wanted:
        why = f"Given up after {memory.failures} tries"
        plan = f"{why}: {memory.trouble}" if memory.trouble else f"{why}."
        return replace(finding, remedy=Remedy.GAVE_UP, plan=plan)
    if remedy is Remedy.RECORD:
        return replace(finding, plan="The record follows the cluster.")
    if remedy is Remedy.WAKE:
        return replace(finding, plan="The operation is looked at.")
    if memory.wanted:
        return replace(finding, plan="An operator wants it removed from the cluster.")
    if not rules.removes_orphans:
        plan = "An operator may remove it: snf-manage reconcile-servers --fix-orphans."
        return replace(finding, remedy=Remedy.OPERATOR, plan=plan)
    due_at = memory.first_seen_at + rules.orphan_grace
    if now < due_at:
        plan = f"It is removed after {due_at:%Y-%m-%d %H:%M:%S} UTC."
        return replace(finding, remedy=Remedy.WAIT, plan=plan)
    return replace(finding, plan="It is removed from the cluster.")


_BY_HAND = {
    STALE: "See whether this is the right cluster; snf-manage reconcile-servers --fix-stale.",
    MISSING_AT_ONCE: "See whether this is the right cluster; snf-manage reconcile-servers lists"
    " them, with --fix-stale it ends their servers.",
    HOLDER: "Delete the volume, or extend it, once more: that goes on where it stopped. With the"
    " instance the volume's disk is removed, if it has that.",
    STRANGER: "Another installation may own it: it is never touched. Remove or rename it by hand.",
    ELSEWHERE: "Move it back, or remove it by hand once its data is safe.",
    TWICE: "Stop and remove the wrong one of the two by hand.",
    UNKNOWN_POWER: "It is looked at again by itself once its node answers.",
}
