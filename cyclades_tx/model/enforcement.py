"""What must go so that projects and users are within their limits again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cyclades_tx.model import quota

SHUTDOWN = "shutdown"
REMOVE = "remove"
DETACH = "detach"

#: What is looked at, in this order: servers that stop come first, addresses last.
RESOURCES = (
    quota.CPU,
    quota.RAM,
    quota.TOTAL_CPU,
    quota.TOTAL_RAM,
    quota.VM,
    quota.DISK,
    quota.FLOATING_IP,
)
#: Of these a stopped server, or an address that is on none, can be enough.
SOFT = frozenset({quota.TOTAL_CPU, quota.TOTAL_RAM, quota.VM, quota.FLOATING_IP})
_RUNNING = frozenset({quota.CPU, quota.RAM})

#: Which servers go first: those that are of the least use. So do their addresses.
_RANKS = {"error": 4, "building": 3, "stopped": 2}
_FREE_RANK = 5


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
class FloatingTarget:
    """A floating IP that could be taken off its server, or given back.

    :ivar name: its address.
    :ivar cluster: of its server, or an empty text.
    :ivar state: of its server, or ``free``.
    :ivar server_id: the server that it is on; None: none.
    :ivar port_id: the interface that has it there.
    """

    id: int
    uuid: str
    name: str
    project_id: str
    user_id: str
    cluster: str
    state: str
    server_id: int | None = None
    port_id: int | None = None


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

    def covers(self, target: Target | FloatingTarget) -> bool:
        """Whether a server or address counts for this limit."""
        mine = self.user_id in (None, target.user_id)
        return mine and target.project_id == self.project_id


@dataclass(frozen=True)
class Action:
    """What is to be done with a server or a floating IP.

    :ivar violation: the number of the violation that first asked for it, from 1.
    """

    kind: str
    target: Target | FloatingTarget
    violation: int

    @property
    def server_id(self) -> int | None:
        """The server on which an operation does it; None: none is needed."""
        target = self.target
        return target.id if isinstance(target, Target) else target.server_id


@dataclass(frozen=True)
class Plan:
    """What is wrong and what would help.

    :ivar actions: at most one for each: floating IPs first, each kind in the order of the ids.
    :ivar notes: why a violation is left as it is, or stays in part, by its number.
    """

    violations: tuple[Violation, ...]
    actions: tuple[Action, ...]
    notes: Mapping[int, str]


def plan(
    violations: Sequence[Violation],
    targets: Iterable[Target],
    floating: Iterable[FloatingTarget] = (),
    *,
    soft: frozenset[str] = frozenset(),
    cascade: bool = False,
    system_volumes: bool = False,
) -> Plan:
    """Choose servers and addresses until each limit is kept, or nothing is left that may be chosen.

    What is chosen for one violation helps the next ones too.

    :param soft: resources of which it is enough to stop servers.
    :param cascade: whether a server with further volumes may be removed.
    :param system_volumes: whether servers may be removed for the sake of their disks.
    """
    ordered = sorted(targets, key=lambda each: (-_RANKS.get(each.state, 1), -each.id))
    addresses = list(floating)
    chosen: dict[int, Action] = {}
    taken: dict[int, Action] = {}
    notes: dict[int, str] = {}
    for number, violation in enumerate(violations, 1):
        if violation.reserved:
            notes[number] = "operations are under way: it is looked at when they have ended"
            continue
        resource = violation.resource
        if resource == quota.DISK and not system_volumes:
            notes[number] = "only --remove-system-volumes would remove servers for their disks"
            continue
        excess = violation.usage - violation.limit
        if resource == quota.FLOATING_IP:
            mine_too = [each for each in addresses if violation.covers(each)]
            found, excess = _addresses(mine_too, excess, number, resource in soft, chosen)
            taken.update({each.target.id: each for each in found})
            if excess > 0:
                notes[number] = "nothing more may be taken for it"
            continue
        mine = [each for each in ordered if violation.covers(each)]
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
    actions = [each[number] for each in (taken, chosen) for number in sorted(each)]
    return Plan(tuple(violations), tuple(actions), notes)


def _addresses(
    targets: Sequence[FloatingTarget],
    excess: int,
    number: int,
    soft: bool,
    servers: Mapping[int, Action],
) -> tuple[list[Action], int]:
    """Choose addresses for a violation; return the actions and what is left of the excess.

    :param soft: whether it is enough that they are on no server; free ones are as good then.
    :param servers: what is planned for servers, by their ids.
    """

    def rank(each: FloatingTarget) -> int:
        if each.server_id is None:
            return _FREE_RANK
        planned = servers.get(each.server_id)
        if planned is not None:
            return _RANKS["stopped"] if planned.kind == SHUTDOWN else 0
        return _RANKS.get(each.state, 1)

    if soft:
        excess -= sum(each.server_id is None for each in targets)
        targets = [each for each in targets if each.server_id is not None]
    ordered = sorted(targets, key=lambda each: (-rank(each), -each.id))
    kind = DETACH if soft else REMOVE
    actions = [Action(kind, each, number) for each in ordered[: max(excess, 0)]]
    return actions, excess - len(actions)


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
