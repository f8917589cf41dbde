"""What must go so that projects and users are within their limits again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cyclades_tx.model import quota

SHUTDOWN = "shutdown"
REMOVE = "remove"

#: What servers take, in the order in which it is looked at: those that stop come first.
RESOURCES = (
    quota.CPU,
    quota.RAM,
    quota.TOTAL_CPU,
    quota.TOTAL_RAM,
    quota.VM,
    quota.DISK,
)
#: Of these a stopped server can be enough.
SOFT = frozenset({quota.TOTAL_CPU, quota.TOTAL_RAM, quota.VM})
_RUNNING = frozenset({quota.CPU, quota.RAM})

#: Which servers go first: those that are of the least use.
_RANKS = {"error": 4, "building": 3, "stopped": 2}


@dataclass(frozen=True)
class Target:
    """A server that could be stopped or removed.

    :ivar cluster: the name of its cluster, or an empty text.
    :ivar running: whether it is charged as one that runs.
    :ivar extra_volumes: how many volumes beside its own disks are attached to it.
    """

    id: int
    uuid: str
    name: str
    project_id: str
    user_id: str
    cluster: str
    state: str
    running: bool
    vcpus: int
    memory_mib: int
    disk_gib: int
    extra_volumes: int = 0

    def amount(self, resource: str) -> int:
        """What it takes of a resource, in bytes or pieces."""
        charge = quota.ON if self.running else quota.OFF
        taken = quota.server_amounts(charge, self.vcpus, self.memory_mib, self.disk_gib)
        return taken.get(resource, 0)


@dataclass(frozen=True)
class Violation:
    """A limit that is passed.

    :ivar user_id: whose, when it is the limit of one user; None: the project's.
    :ivar reserved: what open operations will add; while there is any, nothing is done.
    """

    project_id: str
    user_id: str | None
    resource: str
    limit: int
    usage: int
    reserved: int = 0

    def covers(self, target: Target) -> bool:
        """Whether a server counts for this limit."""
        mine = self.user_id in (None, target.user_id)
        return mine and target.project_id == self.project_id


@dataclass(frozen=True)
class Action:
    """What is to be done with a server.

    :ivar violation: the number of the violation that first asked for it, from 1.
    """

    kind: str
    target: Target
    violation: int


@dataclass(frozen=True)
class Plan:
    """What is wrong and what would help.

    :ivar actions: at most one for each server, in the order of their ids.
    :ivar notes: why a violation is left as it is, or stays in part, by its number.
    """

    violations: tuple[Violation, ...]
    actions: tuple[Action, ...]
    notes: Mapping[int, str]


def plan(
    violations: Sequence[Violation],
    targets: Iterable[Target],
    *,
    soft: frozenset[str] = frozenset(),
    cascade: bool = False,
    system_volumes: bool = False,
) -> Plan:
    """Choose servers until each limit is kept, or nothing is left that may be chosen.

    What is chosen for one violation helps the next ones too.

    :param soft: resources of which it is enough to stop servers.
    :param cascade: whether a server with further volumes may be removed.
    :param system_volumes: whether servers may be removed for the sake of their disks.
    """
    ordered = sorted(targets, key=lambda each: (-_RANKS.get(each.state, 1), -each.id))
    chosen: dict[int, Action] = {}
    notes: dict[int, str] = {}
    for number, violation in enumerate(violations, 1):
        if violation.reserved:
            notes[number] = "operations are under way: it is looked at when they have ended"
            continue
        resource = violation.resource
        if resource == quota.DISK and not system_volumes:
            notes[number] = "only --remove-system-volumes would remove servers for their disks"
            continue
        mine = [each for each in ordered if violation.covers(each)]
        excess = violation.usage - violation.limit
        excess -= sum(_relief(chosen.get(each.id), each, resource, soft) for each in mine)
        for each in mine:
            if excess <= 0:
                break
            action = _action(each, resource, number, soft, cascade)
            if action is None:
                continue
            before = _relief(chosen.get(each.id), each, resource, soft)
            gain = _relief(action, each, resource, soft) - before
            if gain > 0:
                chosen[each.id] = action
                excess -= gain
        if excess > 0:
            notes[number] = "nothing more may be stopped or removed for it"
    actions = tuple(chosen[each] for each in sorted(chosen))
    return Plan(tuple(violations), actions, notes)


def _action(
    target: Target, resource: str, number: int, soft: frozenset[str], cascade: bool
) -> Action | None:
    """What would be done with a server for a resource, or None."""
    if resource in soft:
        return Action(SHUTDOWN, target, number)
    if resource in _RUNNING and target.state != "error":
        return Action(SHUTDOWN, target, number) if target.running else None
    if target.extra_volumes and not cascade:
        return None
    return Action(REMOVE, target, number)


def _relief(action: Action | None, target: Target, resource: str, soft: frozenset[str]) -> int:
    """How much less there is of a resource after an action, or counts as less."""
    amount = target.amount(resource)
    if action is not None and action.kind == REMOVE:
        return amount
    if resource in _RUNNING:
        return 0 if action is None else amount
    if resource in soft:
        # One that is stopped already is as good.
        return amount if action is not None or not target.running else 0
    return 0
