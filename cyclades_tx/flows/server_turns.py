"""Changes of one server that are asked for together and go one after the other.

Nova and Neutron take several changes of a server's devices at once; Ganeti does one job of an
instance at a time. So a request that comes while a disk or an interface comes or goes waits for
that a while, without a connection to the database, before it is told to come again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from cyclades_tx.errors import Conflict
from cyclades_tx.model.operation import Operation
from cyclades_tx.store import attachments, operations, volume_attachments

T = TypeVar("T")

#: What takes a second or two, and what a client does not know of.
BRIEF = frozenset({*attachments.KINDS, *volume_attachments.KINDS, "firewall"})

PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.25
#: So many requests of one project may wait; the next one is refused at once.
MOST_WAITING = 20


class UnderWay(Conflict):
    """Another operation on the server is under way.

    :ivar server_id: the server.
    :ivar brief: whether it is worth to wait for its end.
    """

    def __init__(self, message: str, server_id: int, opened: list[Operation]) -> None:
        super().__init__(message, "busy")
        self.server_id = server_id
        self.brief = all(each.kind in BRIEF for each in opened)


class ServerTurns:
    """Runs transactions again that came in the middle of something brief."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._waiting: Counter[str] = Counter()

    async def run(self, work: Callable[[Any], Awaitable[T]], name: str, turn: str) -> T:
        """Run a transaction that opens an operation on a server; see ``Database.transaction``.

        :raise UnderWay: when what is under way takes longer, or too many wait for it.
        """
        looks = round(PATIENCE_SECONDS / LOOK_SECONDS)
        while True:
            try:
                done: T = await self._database.transaction(work, name, turn=turn)
                return done
            except UnderWay as error:
                if not error.brief or looks <= 0 or self._waiting[turn] >= MOST_WAITING:
                    raise
                looks = await self._wait(error.server_id, turn, looks)

    async def _wait(self, server_id: int, turn: str, looks: int) -> int:
        """Wait until nothing is under way on a server; return how many looks are left."""
        self._waiting[turn] += 1
        try:
            while looks > 0:
                looks -= 1
                await self._database.pause(LOOK_SECONDS)
                if not await operations.open_of_server(self._database, server_id):
                    break
        finally:
            self._waiting[turn] -= 1
            if not self._waiting[turn]:
                del self._waiting[turn]
        return looks
