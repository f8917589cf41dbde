"""The share of the reactor's time that screens get together, however much they have to show.

A reactor hands out what every connection has for it before it looks again. When fifty screens
change at the same moment, whoever asks the API for something waits for all of them, several times.
So screens stand in a line of their own, of which a few are heard in each turn.
"""

from __future__ import annotations

import select
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: So many screens are heard in each turn, each with at most what a transport reads at once: 64 KiB.
AT_ONCE = 4


@implementer(IReadDescriptor)
class Share:
    """Reads for transports that take it for their reactor, a few of them at a time.

    :param reactor: the real one, which does everything else for them.
    :param at_once: so many are read in one turn; the others come first in the next (epoll(7)
        keeps those that are ready in a line).
    """

    log = Logger()

    def __init__(self, reactor: Any, at_once: int = AT_ONCE) -> None:
        self._reactor = reactor
        self._at_once = at_once
        self._line = select.epoll()
        self._reading: dict[int, Any] = {}
        self._members = 0

    def enter(self, transport: Any) -> None:
        """Read for a transport of the reactor's from now on, until it :meth:`leave`\\ s."""
        transport.stopReading()
        transport.reactor = self
        self._members += 1
        if self._members == 1:
            self._reactor.addReader(self)

    def leave(self, transport: Any) -> None:
        """Let a transport go that has entered; nothing of it is read any more."""
        self.removeReader(transport)
        self._members -= 1
        if not self._members:
            self._reactor.removeReader(self)

    # What transports take for their reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def addReader(self, transport: Any) -> None:
        """Begin to read."""
        number = transport.fileno()
        if number not in self._reading:
            self._line.register(number, select.EPOLLIN)
            self._reading[number] = transport

    def removeReader(self, transport: Any) -> None:
        """Read no more for now."""
        number = transport.fileno()
        if self._reading.get(number) is transport:
            self._line.unregister(number)
            del self._reading[number]

    def getReaders(self) -> list[Any]:
        """Who is read."""
        return list(self._reading.values())

    # What the reactor takes for a connection

    def fileno(self) -> int:
        """Is ready to be read when one in the line is."""
        return self._line.fileno()

    def logPrefix(self) -> str:
        """Names it in the log."""
        return "screens"

    def doRead(self) -> None:
        """Hear the first few in the line."""
        for number, _ in self._line.poll(0, self._at_once):
            transport = self._reading.get(number)
            if transport is None:
                # One before it has ended this one, too.
                continue
            try:
                over = transport.doRead()
            except Exception as error:
                self.log.failure("console.failed", Failure(), client="")
                over = error
            if over is not None:
                transport.connectionLost(Failure(over))

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is being stopped; nothing to do."""
