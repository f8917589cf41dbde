"""Work that is done in rounds: soon after it was woken, and every few seconds anyway."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.errors import CycladesError
from cyclades_tx.trouble import Trouble

#: The least time between the beginnings of two rounds: what comes meanwhile is done in one.
GATHER_SECONDS = 0.02


class Rounds(ABC):
    """One round after another, never two at once.

    :param name: what the log calls it.
    :param period_seconds: longest time between the end of a round and the next one.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, name: str, period_seconds: float) -> None:
        self._clock = clock
        self._name = name
        self._period_seconds = period_seconds
        self._stops: list[Callable[[], None]] = []
        self._timer: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._woken = False
        self._stopped = True
        self._begun_seconds = 0.0
        self._trouble = Trouble(self.log, "loop.turn_delayed", "loop.goes_on")

    @abstractmethod
    def _listen(self) -> Iterable[Callable[[], None]]:
        """Begin to listen to what wakes it; return what ends that."""

    @abstractmethod
    async def _turn(self) -> None:
        """Do what is to be done now; one that has more to do wakes itself."""

    def start(self) -> None:
        """Begin with a round, and listen."""
        self._stopped = False
        self._stops = list(self._listen())
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
        """See to it that a round begins after now.

        :param _payload: of the notification that woke it; the round looks at everything.
        """
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
        self._running.addCallbacks(
            lambda _: self._trouble.over(None, loop=self._name), self._failed
        )
        self._running.addCallback(self._over)

    def _over(self, _result: Any) -> None:
        self._running = None
        if self._stopped:
            return
        if self._woken:
            self.wake()
        else:
            self._plan(self._period_seconds)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CycladesError):
            # Something outside does not answer; a traceback would tell nothing more.
            self._trouble.tell(
                None, str(failure.value), loop=self._name, again_seconds=self._period_seconds
            )
        else:
            self.log.failure("loop.turn_failed", failure, loop=self._name)
        self._woken = False
