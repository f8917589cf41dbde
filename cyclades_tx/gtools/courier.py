"""A few messages from a process that will not live long: sent if it goes quickly, else not."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from cyclades_tx.mq.interfaces import BrokerUnavailable, IBroker, MessageRefused

#: More than so many do not wait; the oldest are given up.
MOST_WAITING = 256
#: One that is longer is of no use to anybody.
MOST_BYTES = 262_144


class Courier:
    """Hands messages to a broker in order, one at a time, and never insists.

    :ivar lost: how many were given up.
    """

    def __init__(self, reactor: Any, broker: IBroker, exchange: str) -> None:
        self.lost = 0
        self._reactor = reactor
        self._broker = broker
        self._exchange = exchange
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._underway = False
        self._empty: Deferred[None] | None = None
        self._forget = broker.on_change(lambda connected, why: self._send())

        broker.declare([], [exchange])
        broker.start()

    def offer(self, routing_key: str, message: dict[str, Any]) -> None:
        """Send a message when that is possible."""
        try:
            body = msgspec.json.encode(message)
        except (TypeError, ValueError, RecursionError):
            body = b""
        if not 0 < len(body) <= MOST_BYTES:
            self.lost += 1
            return
        if len(self._waiting) >= MOST_WAITING:
            # Not the one that is on its way.
            del self._waiting[1 if self._underway else 0]
            self.lost += 1
        self._waiting.append((routing_key, body))
        self._send()

    async def end(self, timeout_seconds: float) -> None:
        """Wait until everything was confirmed, but not for long, and close."""
        if self._waiting:
            self._empty = Deferred()
            giving_up = self._reactor.callLater(timeout_seconds, self._give_up)
            await self._empty
            if giving_up.active():
                giving_up.cancel()
        self._forget()
        await self._broker.stop()

    def _give_up(self) -> None:
        self.lost += len(self._waiting)
        self._waiting.clear()
        self._told_empty()

    def _send(self) -> None:
        if not self._underway and self._waiting and self._broker.connected:
            self._underway = True
            Deferred.fromCoroutine(self._carry())

    async def _carry(self) -> None:
        try:
            while self._waiting and self._broker.connected:
                routing_key, body = self._waiting[0]
                try:
                    await self._broker.publish(self._exchange, routing_key, body)
                except MessageRefused:
                    self.lost += 1
                self._done()
        except BrokerUnavailable:
            pass  # tried again with the next connection or the next message
        finally:
            self._underway = False

    def _done(self) -> None:
        if self._waiting:
            self._waiting.popleft()
        if not self._waiting:
            self._told_empty()

    def _told_empty(self) -> None:
        empty, self._empty = self._empty, None
        if empty is not None:
            empty.callback(None)
