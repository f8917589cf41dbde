"""A gate before each cluster: so many exchanges at once, and none while it does not answer."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from cyclades_tx.errors import CycladesError
from cyclades_tx.ganeti.interfaces import GanetiUnavailable, GanetiUncertain

Exchange = Callable[[], Awaitable[tuple[int, Any]]]
#: Replies with these statuses come from something before the cluster, or say that it is ill.
_ILL = (502, 504)


class BreakerState(StrEnum):
    """Whether a cluster is asked."""

    CLOSED = "closed"  #: it answers
    OPEN = "open"  #: it did not answer and is left alone for a while
    HALF_OPEN = "half-open"  #: the while is over; one question finds out


@dataclass(frozen=True)
class BreakerRules:
    """When a cluster is left alone and for how long.

    :ivar failures: so many exchanges without an answer in a row.
    :ivar pause_seconds: the first pause; it doubles with each failed probe.
    :ivar pause_limit_seconds: the longest pause.
    """

    failures: int = 3
    pause_seconds: float = 1.0
    pause_limit_seconds: float = 30.0


class Breaker:
    """Knows whether one cluster answers; shared by all its clients in a process.

    :param chance: spreads the pauses, so that clusters and processes do not march in step.
    :param changed: told (answers, reason) when that changes.
    """

    def __init__(
        self,
        clock: IReactorTime,
        rules: BreakerRules,
        chance: random.Random,
        changed: Callable[[bool, str], None] = lambda answers, reason: None,
    ) -> None:
        self._clock = clock
        self._rules = rules
        self._chance = chance
        self._changed = changed
        self._failures = 0
        self._pauses = 0
        self._open_until: float | None = None
        self._probing = False
        self.reason = ""

    @property
    def state(self) -> BreakerState:
        """Whether the cluster is asked now."""
        if self._open_until is None:
            return BreakerState.CLOSED
        if self._probing or self._clock.seconds() >= self._open_until:
            return BreakerState.HALF_OPEN
        return BreakerState.OPEN

    @property
    def retry_seconds(self) -> float:
        """Seconds until it is asked again; 0 while it is."""
        if self._open_until is None:
            return 0.0
        return max(0.0, self._open_until - self._clock.seconds())

    async def pass_through(self, probe: Exchange) -> None:
        """Let a caller pass, or not; the first one after a pause finds out with ``probe``.

        :raise GanetiUnavailable: when the cluster is left alone.
        """
        if self._open_until is None:
            return
        if self._probing or self._clock.seconds() < self._open_until:
            raise GanetiUnavailable(
                f"The cluster does not answer ({self.reason}); next try in "
                f"{max(1, round(self.retry_seconds))} s."
            )
        self._probing = True
        try:
            status, _ = await probe()
        except CycladesError as failure:
            self.failed(failure.message)
            raise
        finally:
            self._probing = False
        if status in _ILL:
            self.failed(f"HTTP status {status}")
            raise GanetiUnavailable(f"The cluster does not answer ({self.reason}).")
        self.answered()

    def answered(self) -> None:
        """Take note that the cluster answered, be it with a refusal."""
        was_open = self._open_until is not None
        self._failures = self._pauses = 0
        self._open_until = None
        self.reason = ""
        if was_open:
            self._changed(True, "")

    def failed(self, reason: str) -> None:
        """Take note that it did not."""
        self._failures += 1
        self.reason = reason
        if self._open_until is None and self._failures < self._rules.failures:
            return
        now = self._clock.seconds()
        if self._open_until is not None and not self._probing and now < self._open_until:
            return  # one that was under way when the pause began
        was_closed = self._open_until is None
        pause = min(
            self._rules.pause_seconds * 2.0 ** min(self._pauses, 30),
            self._rules.pause_limit_seconds,
        )
        self._pauses += 1
        self._open_until = now + pause * self._chance.uniform(0.5, 1.0)
        if was_closed:
            self._changed(False, reason)


class ClusterGate:
    """The gate of one role (driver or questions) to one cluster.

    :param connections: so many exchanges at once.
    :param wait_seconds: so long a caller waits for room.
    :param measured: told (seconds, error code or None) after each exchange.
    """

    def __init__(
        self,
        clock: IReactorTime,
        breaker: Breaker,
        connections: int,
        wait_seconds: float,
        measured: Callable[[float, str | None], None],
    ) -> None:
        self._clock = clock
        self._breaker = breaker
        self._room = DeferredSemaphore(connections)
        self._wait_seconds = wait_seconds
        self._measured = measured

    @property
    def busy(self) -> int:
        """How many exchanges are under way."""
        return self._room.limit - self._room.tokens

    @property
    def waiting(self) -> int:
        """How many callers wait for room."""
        return len(self._room.waiting)

    async def run(self, work: Exchange, probe: Exchange) -> tuple[int, Any]:
        """Run one exchange when there is room and the cluster answers.

        :raise GanetiUnavailable: when it was not run.
        """
        await self._breaker.pass_through(probe)
        try:
            await self._room.acquire().addTimeout(self._wait_seconds, self._clock)
        except DeferredTimeout:
            raise GanetiUnavailable(
                f"The cluster is busy: no connection came free in {self._wait_seconds:g} s."
            ) from None
        began = self._clock.seconds()
        error: str | None = "canceled"
        try:
            if self._breaker.state is BreakerState.OPEN:  # it went away while we waited
                await self._breaker.pass_through(probe)
            status, reply = await work()
            error = None if status == 200 else f"http_{status}"
            if status in _ILL:
                self._breaker.failed(f"HTTP status {status}")
            else:
                self._breaker.answered()
        except (GanetiUnavailable, GanetiUncertain) as failure:
            error = failure.code
            self._breaker.failed(failure.message)
            raise
        finally:
            self._room.release()
            self._measured(self._clock.seconds() - began, error)
        return status, reply
