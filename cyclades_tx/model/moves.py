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
from cyclades_tx.model.procedure import INSTALL

BUILDING = "building"
ACTIVE = "active"
STOPPED = "stopped"
#: A resize waits to be confirmed or reverted.
RESIZED = "resized"
#: It runs from the rescue image.
RESCUED = "rescued"
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
    after = SEEN.get(seen.power, before)
    if before.state in (RESIZED, RESCUED):
        return Rest(before.state, after.charge)
    if before.state == ERROR and before.charge == after.charge == quota.OFF:
        # A new system was not installed whole: down it stays what it is.
        return before
    return after


def rest(kind: str, end: str, before: Rest, seen: Seen, step: str = "") -> Rest:
    """Where a server rests when an operation has ended.

    :param kind: the operation's.
    :param end: ``succeeded``, ``failed`` or ``canceled``.
    :param before: where the database has it now.
    :param seen: its instance, ABSENT, or UNSEEN.
    :param step: the last one that was tried.
    """
    if kind == "create" and end != SUCCEEDED:
        # The cluster may have it or still make it: the project stays charged until that is known.
        return Rest(ERROR, quota.NONE if seen is ABSENT else quota.ON)
    if kind == "delete":
        if end == SUCCEEDED:
            return Rest(DELETED, quota.NONE)
        return observed(before, seen)
    if kind in _AFTER:
        return _after_procedure(kind, end, before, seen, step)
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


#: Where the procedures lead; None: to where the power says.
_AFTER: dict[str, str | None] = {
    "resize": RESIZED,
    "rebuild": None,
    "rescue": RESCUED,
    "unrescue": None,
}


def _after_procedure(kind: str, end: str, before: Rest, seen: Seen, step: str) -> Rest:
    if end != SUCCEEDED or seen is ABSENT:
        after = observed(before, seen)
        tried = end == FAILED and step == INSTALL and isinstance(seen, Instance)
        # A machine that is down after a failed installation has no whole system on its disk.
        return Rest(ERROR, quota.OFF) if tried and after.charge == quota.OFF else after
    charge = observed(before, seen).charge
    if charge == quota.NONE:
        return before
    state = _AFTER[kind]
    # What was resized before is taken back.
    if state is None or before.state == RESIZED:
        state = STOPPED if charge == quota.OFF else ACTIVE
    return Rest(state, charge)


#: Which server states each change may be asked for in; anything else is a conflict. Where there
#: is nothing at the cluster, nothing is allowed.
ALLOWED: dict[str, frozenset[str]] = {
    "start": frozenset({STOPPED}),
    "stop": frozenset({ACTIVE}),
    "reboot_soft": frozenset({ACTIVE}),
    "reboot_hard": frozenset({ACTIVE, STOPPED, ERROR}),
    "resize": frozenset({ACTIVE, STOPPED}),
    "confirm": frozenset({RESIZED}),
    "revert": frozenset({RESIZED}),
    "rebuild": frozenset({ACTIVE, STOPPED, ERROR}),
    "rescue": frozenset({ACTIVE, STOPPED, ERROR}),
    "unrescue": frozenset({RESCUED}),
}
