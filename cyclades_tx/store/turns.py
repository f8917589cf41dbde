"""Turns: who would wait for the same rows waits here instead, without holding a connection.

Fifty operations of one project all begin by locking its quota. Without turns each of them waits
for that lock on a connection of its own, and nobody else's requests find one.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as WaitTimeout
from twisted.internet.interfaces import IReactorTime

from cyclades_tx.errors import Unavailable


class Turns:
    """Lines of waiting, one for each key that somebody has the turn of.

    :param wait_seconds: how long somebody waits in line.
    """

    def __init__(self, clock: IReactorTime, wait_seconds: float) -> None:
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._lines: dict[str, deque[Deferred[None]]] = {}

    async def take(self, key: str) -> None:
        """Wait until it is one's turn; then :meth:`leave` must follow.

        :raise Unavailable: when the wait took too long.
        """
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque()
            return
        waiting: Deferred[None] = Deferred(line.remove)
        line.append(waiting)
        waiting.addTimeout(self._wait_seconds, self._clock)
        try:
            await waiting
        except (CancelledError, WaitTimeout):
            raise Unavailable("Too much of this is going on now; try again.") from None

    def leave(self, key: str) -> None:
        """Let the next one go."""
        line = self._lines[key]
        if line:
            line.popleft().callback(None)
        else:
            del self._lines[key]
