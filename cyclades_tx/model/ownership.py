"""Whose an instance is: a name alone proves nothing, since numbers can coincide.

A second installation with our prefix, or our own database restored from a backup, gives the same
number to another instance. So each instance is made with its server's UUID as a tag.
"""

from __future__ import annotations

from dataclasses import dataclass

from cyclades_tx.model.instance import Instance

_OWNER = "cyclades:server:"


def owner_tag(uuid: str) -> str:
    """The Ganeti tag of a server's own instance."""
    return f"{_OWNER}{uuid}"


def holder_tag(uuid: str) -> str:
    """The Ganeti tag of the instance that holds a volume's disk while it is changed."""
    return f"cyclades:volume:{uuid}"


def is_own(seen: Instance, uuid: str, launched: bool) -> bool:
    """Whether the instance that has a server's name is surely the server's own.

    :param uuid: the server's.
    :param launched: whether its creation was seen to succeed: then the name is enough, unless
        the instance says that it is another server's.
    """
    owners = [tag for tag in seen.tags if tag.startswith(_OWNER)]
    return owner_tag(uuid) in owners if owners else launched


@dataclass(frozen=True)
class Owner:
    """What is known of a server when an instance has its name.

    :ivar charged: whether its project pays for an instance.
    """

    uuid: str
    launched: bool
    charged: bool = True

    def made(self, seen: Instance) -> bool:
        """Whether the instance is surely the server's own."""
        return is_own(seen, self.uuid, self.launched)
