"""Bytes that come piece by piece and are asked for piece by piece, with a bounded store between.

What reads from a connection feeds; when more waits than fits, the connection is told to pause
until it was taken. So a sender is never faster than the disk, and memory stays small.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from cyclades_tx.errors import BadRequest

#: What waits at most, but for the piece that passes it.
MOST_BYTES = 1_048_576
#: When so little waits, the connection goes on.
LITTLE_BYTES = 262_144


class CutOff(BadRequest):
    """The sender went away before the end."""

    code = "cut_off"


class Pieces:
    """The bytes of one body on their way.

    :param pause: tells the connection to read no more for now.
    :param resume: tells it to go on.
    :ivar waiting_bytes: how much has come and was not taken yet.
    :ivar paused: whether the connection was told to pause.
    """

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._waiting: list[bytes] = []
        self.waiting_bytes = 0
        self.paused = False
        self._complete = False
        self._cut = False
        self._least = 0
        self._reader: Deferred[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether the last byte has come."""
        return self._complete

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._waiting.append(data)
        self.waiting_bytes += len(data)
        if self.waiting_bytes > MOST_BYTES and not self.paused:
            self.paused = True
            self._pause()
        if self.waiting_bytes >= self._least:
            self._wake()

    def end(self) -> None:
        """That was the last byte."""
        self._complete = True
        self._wake()

    def cut(self) -> None:
        """No more will come, and the end has not been seen."""
        if not self._complete:
            self._cut = True
            self._wake()

    async def read(self, least: int = LITTLE_BYTES) -> bytes:
        """What has come since the last time; nothing at the end.

        :param least: wait for so many bytes, unless the end comes before.
        :raise CutOff: when the sender has gone away.
        """
        self._least = least
        while self.waiting_bytes < least and not (self._complete or self._cut):
            self._go_on()
            self._reader = Deferred()
            await self._reader
        if self._cut:
            self._waiting.clear()
            raise CutOff("The data ended before all of it was there.")
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self.waiting_bytes = 0
        self._go_on()
        return data

    def _go_on(self) -> None:
        if self.paused and not (self._complete or self._cut):
            self.paused = False
            self._resume()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)
