"""Which disks Ganeti keeps while no instance has them.

Ganeti 3 can take a disk off an instance and put it on another one later. With disks of an ``ext``
provider it only does the first half (it asks for a provider, and refuses the word for one), and a
DRBD disk holds ports and secrets of its own: neither is offered.
"""

from __future__ import annotations

#: Disks that only an instance of the same node can have again.
ON_A_NODE = frozenset(("file", "plain"))

#: Disks that can be taken off an instance and put on another one.
KEEPING = ON_A_NODE | frozenset(("sharedfile", "gluster", "rbd"))


def why_not(disk_template: str) -> str:
    """Why a disk cannot be taken off and kept; for the person who asked."""
    return (
        f"Disks of the kind {disk_template} cannot leave their server: its cluster would not give"
        " them to another one. What is on it ends with the server."
    )
