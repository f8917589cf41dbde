"""The publisher of the outbox: gives each committed event its position, and forgets old ones.

Any number of processes may run one; an advisory lock lets one at a time do the work. Who is
turned away need not come again: whoever holds the lock was woken by the same notification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from cyclades_tx.loops.rounds import Rounds
from cyclades_tx.store import outbox

#: Most events in one transaction.
MOST = 500
#: How often it looks without being woken, and tells why operations wait.
PERIOD_SECONDS = 2.0
PRUNE_SECONDS = 60.0
PRUNE_MOST = 2000


class Publisher(Rounds):
    """Publishes events whenever some are committed.

    :param keep_seconds: age at which an event is thrown away.
    """

    def __init__(self, clock: IReactorTime, database: Any, keep_seconds: float) -> None:
        super().__init__(clock, "outbox", PERIOD_SECONDS)
        self._database = database
        self._keep_seconds = keep_seconds
        self._reasons_seconds = 0.0
        self._pruned_seconds = clock.seconds()

    def _listen(self) -> Iterable[Callable[[], None]]:
        return (
            self._database.listen(outbox.CHANNEL, self.wake),
            self._database.on_listen_lost(self.wake),
        )

    async def _turn(self) -> None:
        now = self._clock.seconds()
        reasons = abs(now - self._reasons_seconds) >= PERIOD_SECONDS
        if reasons:
            self._reasons_seconds = now

        async def work(tx: Any) -> tuple[int, int | None]:
            return await outbox.publish(tx, MOST, reasons)

        count, _last = await self._database.transaction(work, "outbox.publish")
        if count >= MOST:
            self.wake()
        if abs(now - self._pruned_seconds) >= PRUNE_SECONDS:
            pruned = await outbox.prune(self._database, self._keep_seconds, PRUNE_MOST)
            if pruned < PRUNE_MOST:
                self._pruned_seconds = now
