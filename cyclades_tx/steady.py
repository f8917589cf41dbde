"""A clock for timers that never goes back.

Twisted's timers go by the time of day. When that is set back by an hour (a virtual machine that
was resumed, a first answer of NTP), every timer of a process would come an hour too late: no poll,
no beat, no timeout.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: How fast it goes while the time of day is behind it: slow enough to be caught up with.
PACE = 0.5


class SteadyTime:
    """The time of day, except that it goes on at half its pace while that was set back.

    :param wall: the time of day, in seconds since 1970.
    :param monotonic: any clock that nobody sets, in seconds.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._given = wall()
        self._given_at = monotonic()

    def seconds(self) -> float:
        """Seconds since 1970, never fewer than before."""
        now, seconds = self._monotonic(), self._wall()
        least = self._given + (now - self._given_at) * PACE
        if seconds < least:  # not max(): each turn of the reactor comes here several times
            seconds = least
        self._given_at = now
        self._given = seconds
        return seconds


def steady(reactor: Any) -> None:
    """Let a reactor's timers go by a clock that never goes back; before any is set."""
    reactor.seconds = SteadyTime().seconds
