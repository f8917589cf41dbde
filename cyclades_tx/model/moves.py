"""Where a server comes to rest: the state tables.

Two tables. :data:`SEEN` says what the sight of an instance means for its server: at rest the
cluster is right. :func:`rest` adds what the end of an operation means when nothing was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from cyclades_tx.model import quota
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.operation import FAILED, SUCCEEDED

BUILDING = "building"
ACTIVE = "active"
STOPPED = "stopped"
ERROR = "error"
DELETED = "deleted"


class Sight(Enum):
    """What a look for an instance gave when it gave no instance."""

    #: Nobody looked, or the cluster did not answer.
    UNSEEN = auto()
    #: The cluster answered that it has none of that name.
    ABSENT = auto()


UNSEEN = Sight.UNSEEN
ABSENT = Sight.ABSENT

Seen = Instance | Sight


@dataclass(frozen=True)
class Rest:
    """A state and what the project is charged for in it."""

    state: str
    charge: str


#: What is seen of an instance → where its server rests. UNKNOWN (a node is down) says nothing.
SEEN: dict[Power, Rest] = {
    Power.RUNNING: Rest(ACTIVE, quota.ON),
    Power.STOPPED: Rest(STOPPED, quota.OFF),
}


def observed(before: Rest, seen: Seen) -> Rest:
    """Where a server without an open operation rests after a look at its instance.

    :param before: where the database has it.
    :return: ``before`` when the look says nothing new.
    """
    if seen is UNSEEN or before.state == DELETED:
        return before
    if seen is ABSENT:
        # A creation that failed, or that nobody works on any more, holds nothing and stays for
        # its owner to read; a server that was there and was removed by hand is gone.
        if before.state in (ERROR, BUILDING):
            return Rest(ERROR, quota.NONE)
        return Rest(DELETED, quota.NONE)
    assert isinstance(seen, Instance)
    if before.state == ERROR and before.charge == quota.NONE:
        return before
    return SEEN.get(seen.power, before)


def rest(kind: str, end: str, before: Rest, seen: Seen) -> Rest:
    """Where a server rests when an operation has ended.

    :param kind: the operation's.
    :param end: ``succeeded``, ``failed`` or ``canceled``.
    :param before: where the database has it now.
    :param seen: its instance, ABSENT, or UNSEEN.
    """
    if kind == "create" and end != SUCCEEDED:
        # The cluster may have it or still make it: the project stays charged until that is known.
        return Rest(ERROR, quota.NONE if seen is ABSENT else quota.ON)
    if kind == "delete":
        if end == SUCCEEDED:
            return Rest(DELETED, quota.NONE)
        return observed(before, seen)
    if seen is UNSEEN:
        if end == FAILED:
            return before
        return {
            "create": Rest(ACTIVE, quota.ON),
            "start": Rest(ACTIVE, quota.ON),
            "reboot": Rest(ACTIVE, quota.ON),
            "stop": Rest(STOPPED, quota.OFF),
        }.get(kind, before)
    if seen is ABSENT:
        return Rest(DELETED, quota.NONE)
    assert isinstance(seen, Instance)
    unknown = {"create": Rest(ACTIVE, quota.ON)}.get(kind, before)
    return SEEN.get(seen.power, unknown)


#: Which server states each change may be asked for in; anything else is a conflict.
ALLOWED: dict[str, frozenset[str]] = {
    "start": frozenset({STOPPED}),
    "stop": frozenset({ACTIVE}),
    "reboot_soft": frozenset({ACTIVE}),
    "reboot_hard": frozenset({ACTIVE, STOPPED}),
}
