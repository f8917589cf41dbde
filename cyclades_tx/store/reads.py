"""Reads in line: no more of them at once than bring something.

Every statement of a read costs PostgreSQL a processor for as long as it runs. More of them at
once than there are processors only take time from each other, and where PostgreSQL shares the
machine, from the reactor too. So the next one starts when one before it has ended, or has proved
to be slow: whoever waits does not wait for those.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from psycopg2.extensions import parse_dsn
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from cyclades_tx.errors import Unavailable

#: A read that has run so long no longer holds back the next, in seconds.
SLOW_SECONDS = 0.05
FEWEST = 2


def reads_at_once(dsn: str, most: int) -> int:
    """How many reads are worth running at once.

    :param dsn: libpq's connection string; a PostgreSQL elsewhere has processors of its own.
    :param most: the connections that there are.
    """
    parts = parse_dsn(dsn)
    host = parts.get("hostaddr") or parts.get("host") or ""
    if host and not host.startswith(("/", "@", "127.")) and host not in ("localhost", "::1"):
        return most
    return min(most, max(FEWEST, len(os.sched_getaffinity(0))))


class Ticket:
    """One read that runs, until it has ended or is slow."""

    __slots__ = ("counts", "started_at")

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.counts = True


Start = Callable[[Ticket], None]


class Reads:
    """The line of the reads.

    :param most: how many run at once, slow ones not counted.
    :param wait_seconds: how long one waits in line.
    """

    def __init__(self, clock: IReactorTime, most: int, wait_seconds: float) -> None:
        self._clock = clock
        self._most = most
        self._wait_seconds = wait_seconds
        self._running = 0
        # In the order of their start; those that have ended are dropped from the left.
        self._tickets: deque[Ticket] = deque()
        self._line: deque[tuple[float, Deferred[Any], Start]] = deque()
        self._starting = False
        self._timer: IDelayedCall | None = None
        self.refused = 0

    def __len__(self) -> int:
        """How many wait in line."""
        return len(self._line)

    def enter(self, waiting: Deferred[Any], start: Start) -> None:
        """Start a read, now or when it is its turn.

        :param waiting: who waits for its result; not started any more when that has been called
            (cancelled), and failed with Unavailable when the wait took too long.
        :param start: what starts it; :meth:`leave` must follow with the same ticket, once.
        """
        if self._running < self._most and not self._line and not self._starting:
            self._start(start)
            return
        self._line.append((self._clock.seconds(), waiting, start))
        if self._timer is None:
            self._timer = self._clock.callLater(SLOW_SECONDS, self._look)

    def leave(self, ticket: Ticket) -> None:
        """Say that a read has ended; the next one starts before this returns."""
        if ticket.counts:
            ticket.counts = False
            self._running -= 1
        tickets = self._tickets
        while tickets and not tickets[0].counts:
            tickets.popleft()
        if self._line:
            self._go_on()

    def close(self) -> None:
        """Refuse everybody who still waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._line:
            _refuse(self._line.popleft()[1], "The service is shutting down.")

    def _start(self, start: Start) -> None:
        ticket = Ticket(self._clock.seconds())
        self._running += 1
        self._tickets.append(ticket)
        start(ticket)

    def _go_on(self) -> None:
        # A read that fails at once leaves inside its start: a loop, not a recursion.
        if self._starting:
            return
        self._starting = True
        try:
            while self._line and self._running < self._most:
                _, waiting, start = self._line.popleft()
                if not waiting.called:
                    self._start(start)
        finally:
            self._starting = False

    def _look(self) -> None:
        """While somebody waits: stop counting slow reads, refuse who has waited too long."""
        self._timer = None
        now = self._clock.seconds()
        while self._tickets and (
            not self._tickets[0].counts or now - self._tickets[0].started_at >= SLOW_SECONDS
        ):
            ticket = self._tickets.popleft()
            if ticket.counts:
                ticket.counts = False
                self._running -= 1
        self._go_on()
        while self._line and now - self._line[0][0] >= self._wait_seconds:
            self.refused += 1
            _refuse(
                self._line.popleft()[1], "The database is too busy with reading now; try again."
            )
        if self._line and self._timer is None:
            self._timer = self._clock.callLater(SLOW_SECONDS, self._look)


def _refuse(waiting: Deferred[Any], why: str) -> None:
    if not waiting.called:
        waiting.errback(Failure(Unavailable(why)))
