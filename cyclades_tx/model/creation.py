"""The steps of a creation: one for a server that gets a system, more for one that boots as it is.

Ganeti makes no instance of a disk that is there already. So one is made with a disk that only keeps
the place, on the node where the volume's disk is; the volume's takes its place by a job of its own,
and then the machine is started, which Ganeti does not do where nothing is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.model.procedure import START

CREATE = "create"
#: The disks of the server's volumes take the place of the one that the instance was made with.
PUT_ON = "put_on"

#: The size of the disk that keeps the place, in MiB: Ganeti's own least size of a disk.
PLACE_MIB = 1024


def arguments(installs: bool, puts_on: bool) -> dict[str, Any]:
    """What the operation of a creation keeps about its steps.

    :param installs: whether the server gets a system of an image.
    :param puts_on: whether it boots from a disk that is there already.
    """
    kept: dict[str, Any] = {} if installs else {"as_it_is": True}
    if puts_on:
        kept["puts_on"] = True
    return kept


def installs(arguments: Mapping[str, Any]) -> bool:
    """Whether a system is installed, so that there are secrets of its first boot."""
    return not arguments.get("as_it_is")


def puts_on(arguments: Mapping[str, Any]) -> bool:
    """Whether disks that were there before are put on the instance."""
    return bool(arguments.get("puts_on"))


def following(arguments: Mapping[str, Any], step: str) -> str | None:
    """The step after this one has done what it should; None: it was the last."""
    if step == CREATE and puts_on(arguments):
        return PUT_ON
    if step in (CREATE, PUT_ON) and not installs(arguments):
        return START
    return None
