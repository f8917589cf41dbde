"""Procedures: changes of a server that take several jobs, one after another.

Each step is a job of its own with its own reason trail. When one fails, the steps before it
are taken back where that is possible; what could not be taken back is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

STOP = "stop"
#: The change itself, which needs a stopped machine.
SET = "set"
GROW = "grow"
START = "start"
#: The opposite of :data:`SET`, and the start after it.
UNSET = "unset"
RESTART = "restart"
#: A new system: what it is told, and its installation (which stops, installs and starts).
PARAMETERS = "parameters"
INSTALL = "install"

BACKWARD = frozenset({UNSET, RESTART})

#: Kinds of operations that are procedures.
KINDS = frozenset({"resize", "rebuild", "rescue", "unrescue"})

#: Taking back may go on for so long after the deadline.
BACK_TIME = timedelta(minutes=5)


def forward(kind: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps of a procedure when nothing fails.

    :param arguments: ``running``: whether the machine runs when it begins; ``start``: whether
        it shall run at the end; ``grow_gib``: the size of the disk then, 0: it stays.
    """
    if kind == "rebuild":
        return (PARAMETERS, INSTALL)
    steps = [STOP] if arguments.get("running") else []
    steps.append(SET)
    if arguments.get("grow_gib"):
        steps.append(GROW)
    if arguments.get("start"):
        steps.append(START)
    return tuple(steps)


def first(kind: str, arguments: Mapping[str, Any]) -> str:
    """The step that a procedure begins with."""
    return forward(kind, arguments)[0]


def following(kind: str, arguments: Mapping[str, Any], step: str, done: bool) -> str | None:
    """The step after this one, or None when that was the last.

    :param done: whether the step did what it should; if not, the way leads back.
    """
    restart = RESTART if arguments.get("running") else None
    if step == UNSET or (step == SET and not done):
        return restart
    if step == RESTART:
        return None
    if not done:
        return UNSET if step in (GROW, START) else None
    steps = forward(kind, arguments)
    if step not in steps:
        return None
    return next(iter(steps[steps.index(step) + 1 :]), None)
