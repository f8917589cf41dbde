"""A network in our records, as far as one cluster is concerned."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Shape:
    """What a network should look like at the cluster; None where there is none.

    :ivar filtered: whether its MAC prefix keeps it apart from others, so that it must be right.
    """

    cidr: str
    gateway: str | None
    cidr6: str | None
    gateway6: str | None
    mac_prefix: str
    mode: str
    link: str
    tags: frozenset[str]
    filtered: bool = False


@dataclass(frozen=True)
class Reservation:
    """An address of our pools that the cluster reserves.

    :ivar taken: whether somebody has it.
    :ivar held: whether we hold it because of this cluster.
    """

    address: str
    taken: bool
    held: bool


@dataclass(frozen=True)
class KnownNetwork:
    """A network in our records, as far as this cluster is concerned.

    :ivar live: False: it was deleted.
    :ivar usable: whether it should stand on every cluster.
    :ivar state: of its record of this cluster; None: there is none.
    :ivar changed_at: when that record was last changed.
    :ivar busy: whether an operation is open.
    :ivar failures: operations in a row that failed since the last one that succeeded.
    :ivar tried_at: when the last of these ended.
    :ivar why: what its end said.
    :ivar held: addresses that we hold because this cluster reserves them.
    :ivar reservations: what the cluster reserves of our pools.
    """

    id: int
    live: bool
    usable: bool
    state: str | None
    changed_at: datetime | None = None
    busy: bool = False
    failures: int = 0
    tried_at: datetime | None = None
    why: str = ""
    shape: Shape | None = None
    held: frozenset[str] = frozenset()
    reservations: tuple[Reservation, ...] = ()

    def rests_as(self, other: KnownNetwork | None) -> bool:
        """Whether nothing moved it between two looks: only then a difference is one."""
        return (
            other is not None
            and not self.busy
            and not other.busy
            and (self.live, self.usable, self.state, self.changed_at)
            == (other.live, other.usable, other.state, other.changed_at)
        )
