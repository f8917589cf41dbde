"""From the buffer to the broker: in order, many at once, each until it is confirmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.gtools.buffer import Buffer, Entry
from cyclades_tx.mq.interfaces import ExchangeRefused, IBroker, MessageRefused

#: So many are on their way unconfirmed.
WINDOW = 100
#: How soon what was not taken is sent again while the connection stands.
RETRY_SECONDS = 1.0
#: The longest pause while the broker refuses the exchange.
LONGEST_RETRY_SECONDS = 30.0
#: A message that the broker refuses so often is given up, so that the next ones get through.
MOST_REFUSALS = 5
#: How soon confirmations are written down; a kill repeats what came within it.
WRITE_SECONDS = 0.05


class Sender:
    """Sends what is in a buffer whenever there is a connection.

    As long as the exchange is not there or may not be written to, everything waits: that is no
    fault of a message. One that is refused by itself is given up after some tries.

    :ivar refused: how many messages were given up because the broker did not want them.
    """

    log = Logger()

    def __init__(self, reactor: Any, broker: IBroker, exchange: str, buffer: Buffer) -> None:
        self.sent = 0
        self.refused = 0
        self._reactor = reactor
        self._broker = broker
        self._exchange = exchange
        self._buffer = buffer
        self._running = self._sending = self._up = False
        self._told = ""
        self._underway = 0
        self._round = 0
        self._refusals = (0, 0)
        #: One at a time after a failure, until one was taken: so it is clear which is refused.
        self._window = WINDOW
        self._pause_seconds = RETRY_SECONDS
        self._retry: IDelayedCall | None = None
        self._write: IDelayedCall | None = None
        self._forget: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin."""
        self._running = True
        self._forget = self._broker.on_change(self._changed)
        self.send()

    def stop(self) -> None:
        """End; what is on its way is sent again after the next start."""
        self._running = False
        self._round += 1
        for call in (self._retry, self._write):
            if call is not None and call.active():
                call.cancel()
        if self._forget is not None:
            self._forget()

    def send(self) -> None:
        """Send what is in the buffer, as much as may be on its way at once."""
        if self._sending:
            return  # a broker may confirm before "publish" has returned
        self._sending = True
        try:
            while self._may_send():
                entries = self._buffer.take(self._window - self._underway)
                if not entries:
                    return
                self._underway += len(entries)
                here = self._round
                for entry in entries:
                    if here == self._round:
                        self._publish(entry, here)
        finally:
            self._sending = False

    def _may_send(self) -> bool:
        free = self._underway < self._window and self._retry is None
        return self._running and free and self._broker.connected

    def discard(self) -> int:
        """Give up what waits; return how many those were."""
        self._begin_again()
        return self._buffer.discard()

    def _publish(self, entry: Entry, here: int) -> None:
        published = maybeDeferred(
            self._broker.publish, self._exchange, entry.routing_key, entry.body
        )
        published.addCallbacks(
            lambda _: self._taken(entry, here),
            lambda failure: self._failed(failure, entry, here),
        )
        published.addErrback(lambda failure: self.log.failure("sending failed", failure))

    def _taken(self, entry: Entry, here: int) -> None:
        if here != self._round:
            return
        self.sent += 1
        if self._told:
            self.log.info("the broker takes messages again")
            self._told = ""
        self._done(entry)

    def _done(self, entry: Entry) -> None:
        """The broker has it, or never will."""
        self._underway -= 1
        self._window = WINDOW
        self._pause_seconds = RETRY_SECONDS
        self._buffer.acknowledge(entry.number)
        if self._write is None:
            self._write = self._reactor.callLater(WRITE_SECONDS, self._write_down)
        self.send()

    def _write_down(self) -> None:
        self._write = None
        self._buffer.write_acknowledged()

    def _failed(self, failure: Failure, entry: Entry, here: int) -> None:
        if here != self._round:
            return
        self._window = 1
        pause = RETRY_SECONDS
        if failure.check(ExchangeRefused):
            pause = self._pause_seconds
            self._pause_seconds = min(LONGEST_RETRY_SECONDS, 2 * pause)
            why = failure.getErrorMessage()
            if why != self._told:
                self._told = why
                self.log.warn("the broker takes nothing: {why}; messages are kept", why=why)
        elif failure.check(MessageRefused):
            number, times = self._refusals
            self._refusals = (entry.number, times + 1 if number == entry.number else 1)
            if self._refusals[1] >= MOST_REFUSALS:
                self.refused += 1
                self.log.warn(
                    "the broker refuses message {number} for good: {error}",
                    number=entry.number,
                    error=failure.getErrorMessage(),
                )
                self._done(entry)
                return
        # The whole rest again, also what was confirmed beyond this one: so the order is kept.
        self._begin_again()
        if self._running and self._retry is None:
            self._retry = self._reactor.callLater(pause, self._again)

    def _begin_again(self) -> None:
        self._round += 1
        self._underway = 0
        self._buffer.rewind()

    def _again(self) -> None:
        self._retry = None
        self.send()

    def _changed(self, connected: bool, why: str) -> None:
        if connected and not self._up:
            self.log.info("{why}: {waiting} messages wait", why=why, waiting=self._buffer.waiting)
        elif not connected and why != self._told:
            self.log.warn("no broker: {why}; messages are kept", why=why)
        self._up = connected
        self._told = "" if connected else why
        if connected:
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            self._pause_seconds = RETRY_SECONDS
            self.send()
