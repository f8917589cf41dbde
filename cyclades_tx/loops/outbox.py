"""The publisher of the outbox: gives each committed event its position, and forgets old ones.

Any number of processes may run one; an advisory lock lets one at a time do the work. Who is
turned away need not come again: whoever holds the lock was woken by the same notification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.errors import CycladesError
from cyclades_tx.store import outbox

#: Most events in one transaction.
MOST = 500
#: The least time between the beginnings of two turns: what comes meanwhile is done in one.
GATHER_SECONDS = 0.02
#: How often it looks without being woken, and tells why operations wait.
PERIOD_SECONDS = 2.0
PRUNE_SECONDS = 60.0
PRUNE_MOST = 2000


class Publisher:
    """Publishes events whenever some are committed.

    :param keep_seconds: age at which an event is thrown away.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, database: Any, keep_seconds: float) -> None:
        self._clock = clock
        self._database = database
        self._keep_seconds = keep_seconds
        self._stops: list[Callable[[], None]] = []
        self._timer: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._woken = False
        self._stopped = True
        self._begun_seconds = 0.0
        self._reasons_seconds = 0.0
        self._pruned_seconds = 0.0

    def start(self) -> None:
        """Publish what is there, and listen."""
        self._stopped = False
        self._pruned_seconds = self._clock.seconds()
        self._stops = [
            self._database.listen(outbox.CHANNEL, lambda _payload: self.wake()),
            self._database.on_listen_lost(self.wake),
        ]
        self.wake()

    def stop(self) -> Deferred[None]:
        """Begin nothing more; fires when what runs has ended."""
        self._stopped = True
        stops, self._stops = self._stops, []
        for stop in stops:
            stop()
        self._cancel()
        done: Deferred[None] = Deferred()
        if self._running is None:
            done.callback(None)
        else:
            self._running.addBoth(lambda _: done.callback(None))
        return done

    def wake(self) -> None:
        """See to it that a turn begins after now."""
        self._woken = True
        if self._running is None and not self._stopped:
            since = self._clock.seconds() - self._begun_seconds
            # A clock that was set back must not make it sleep.
            self._plan(min(max(GATHER_SECONDS - since, 0.0), GATHER_SECONDS))

    def _plan(self, seconds: float) -> None:
        self._cancel()
        self._timer = self._clock.callLater(seconds, self._go)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go(self) -> None:
        self._timer = None
        self._woken = False
        self._begun_seconds = self._clock.seconds()
        self._running = Deferred.fromCoroutine(self._turn())
        self._running.addErrback(self._failed)
        self._running.addCallback(self._over)

    def _over(self, _result: Any) -> None:
        self._running = None
        if self._stopped:
            return
        if self._woken:
            self.wake()
        else:
            self._plan(PERIOD_SECONDS)

    async def _turn(self) -> None:
        now = self._clock.seconds()
        reasons = abs(now - self._reasons_seconds) >= PERIOD_SECONDS
        if reasons:
            self._reasons_seconds = now

        async def work(tx: Any) -> tuple[int, int | None]:
            return await outbox.publish(tx, MOST, reasons)

        count, _last = await self._database.transaction(work, "outbox.publish")
        if count >= MOST:
            self._woken = True
        if abs(now - self._pruned_seconds) >= PRUNE_SECONDS:
            pruned = await outbox.prune(self._database, self._keep_seconds, PRUNE_MOST)
            if pruned < PRUNE_MOST:
                self._pruned_seconds = now

    def _failed(self, failure: Failure) -> None:
        if failure.check(CycladesError):
            # The database does not answer; a traceback would tell nothing more.
            self.log.warn(
                "loop.turn_delayed", loop="outbox", reason=str(failure.value),
                again_seconds=PERIOD_SECONDS,
            )  # fmt: skip
        else:
            self.log.failure("loop.turn_failed", failure, loop="outbox")
        self._woken = False
