"""How fast a sender must be at least: who sends a byte a minute holds nothing for ever.

Only the time in which the sender was waited for counts, so that nobody is refused for a slow
disk of ours.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.interfaces import IReactorTime

from cyclades_tx.errors import TooSlow
from cyclades_tx.image_store.pieces import Pieces

#: What one must send at least, and over which time that is counted, where nobody says otherwise.
LEAST_BYTES_PER_SECOND = 16_384
WINDOW_SECONDS = 30.0


class Pace:
    """Looks how much comes in each window of the time that one waits for it.

    :param least_bytes_per_second: on average over a window.
    """

    def __init__(
        self,
        clock: IReactorTime,
        least_bytes_per_second: float = LEAST_BYTES_PER_SECOND,
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        self._clock = clock
        self._least_bytes = least_bytes_per_second * window_seconds
        self._window_seconds = window_seconds
        self._waited_seconds = 0.0
        self._bytes = 0

    async def read(self, pieces: Pieces) -> bytes:
        """What has come since the last time; nothing at the end.

        :raise TooSlow: when a window has passed in which too little came.
        :raise CutOff: when the sender has gone away.
        """
        waiting = ensureDeferred(pieces.read())
        if waiting.called:
            data = await waiting
            self._bytes += len(data)
            return data
        began = self._clock.seconds()
        slow = False
        timer: Any = None

        def look() -> None:
            nonlocal began, slow, timer
            if self._bytes + pieces.waiting_bytes < self._least_bytes:
                slow = True
                waiting.cancel()
                return
            began = self._clock.seconds()
            self._waited_seconds = 0.0
            # What has come and was not handed on yet was counted now.
            self._bytes = -pieces.waiting_bytes
            timer = self._clock.callLater(self._window_seconds, look)

        left = max(self._window_seconds - self._waited_seconds, 0.0)
        timer = self._clock.callLater(left, look)
        try:
            data = await waiting
        except CancelledError:
            if slow:
                raise TooSlow("The data come too slowly; send the image again.") from None
            raise
        finally:
            if timer.active():
                timer.cancel()
        self._waited_seconds += self._clock.seconds() - began
        self._bytes += len(data)
        return data
