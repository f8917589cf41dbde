"""Ends consoles whose right is lost, because of what became of the server or of the person.

Whoever changes something of it says so (``NOTIFY``), and every few seconds all are looked at
anyway. The watch also says that this process still relays its sessions, so that those of a process
that died end too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.console.interfaces import Reason
from cyclades_tx.errors import CycladesError
from cyclades_tx.store import consoles, tokens

#: The least time between two looks: what is said meanwhile is looked at in one.
GATHER_SECONDS = 0.02
#: How often it looks without being woken.
PERIOD_SECONDS = 5.0
#: How often it says that the sessions are relayed, and throws old ones away.
BEAT_SECONDS = 20.0


class ConsoleWatch:
    """Looks after the sessions of this process.

    :param sessions: an ISessions.
    :param sweep: called now and then, to end what nobody relays.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Any,
        sessions: Any,
        sweep: Callable[[], Any],
    ) -> None:
        self._clock = clock
        self._database = database
        self._sessions = sessions
        self._sweep = sweep
        self._stops: list[Callable[[], None]] = []
        self._timer: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._woken = False
        self._stopped = True
        self._beaten_seconds = 0.0

    def start(self) -> None:
        """Look now, and listen."""
        self._stopped = False
        self._stops = [
            self._database.listen(consoles.CHANNEL, self.wake),
            self._database.listen(tokens.CHANNEL, self._identity_changed),
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

    def wake(self, _payload: str = "") -> None:
        """See to it that a look begins after now."""
        self._woken = True
        if self._running is None and not self._stopped:
            self._plan(GATHER_SECONDS)

    def _identity_changed(self, what: str) -> None:
        # A single token that was revoked is nobody's loss of a right.
        if ":" in what or what == "all":
            self.wake()

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
        self._running = Deferred.fromCoroutine(self._turn())
        self._running.addErrback(self._failed)
        self._running.addCallback(self._over)

    def _over(self, _result: Any) -> None:
        self._running = None
        if not self._stopped:
            self._plan(GATHER_SECONDS if self._woken else PERIOD_SECONDS)

    async def _turn(self) -> None:
        ids = [each.session.id for each in self._sessions.open_sessions()]
        if ids:
            for number, word in (await consoles.verdicts(self._database, ids)).items():
                self._sessions.cut(number, _reason(word))
        now = self._clock.seconds()
        if abs(now - self._beaten_seconds) >= BEAT_SECONDS:
            if ids:
                await consoles.still_relayed(self._database, ids)
            await self._sweep()
            self._beaten_seconds = now

    def _failed(self, failure: Failure) -> None:
        if failure.check(CycladesError):
            self.log.warn(
                "loop.turn_delayed", loop="consoles", reason=str(failure.value),
                again_seconds=PERIOD_SECONDS,
            )  # fmt: skip
        else:
            self.log.failure("loop.turn_failed", failure, loop="consoles")
        self._woken = False


def _reason(word: str) -> Reason:
    try:
        return Reason(word)
    except ValueError:
        return Reason.CLOSED
