"""A broker that keeps what it is given, and is away or slow when a test says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from cyclades_tx.mq.interfaces import (
    BrokerUnavailable,
    Delivery,
    ExchangeRefused,
    IBroker,
    IConsumer,
    MessageRefused,
    Queue,
)
from cyclades_tx.mq.observers import Observers


@dataclass(frozen=True)
class Published:
    """A message that arrived, and when."""

    exchange: str
    routing_key: str
    message: dict[str, Any]
    at: float


@implementer(IConsumer)
class IdleConsumer:
    """A subscription to a queue that nothing comes into; so there is nothing to settle."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle what was never handed over."""
        assert not deliveries

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Give back what was never handed over."""
        assert not deliveries

    def reject(self, delivery: Delivery, reason: str) -> Deferred[None]:
        """Put aside what was never handed over."""
        raise AssertionError(f"{delivery} was never handed over")

    def stop(self) -> Deferred[None]:
        """Take no more."""
        return succeed(None)


@implementer(IBroker)
class RecordingBroker:
    """A broker without queues: it keeps what is published.

    :ivar published: everything that arrived, in order.
    :ivar holding: whether confirmations are kept back, in ``held``.
    :ivar refusing: routing keys that are refused.
    :ivar closing: routing keys that close the channel: all that was not confirmed fails with it.
    :ivar exchange_is_there: whether anything at all can be published.
    """

    def __init__(self, connected: bool = True) -> None:
        self.connected = False
        self.reachable = connected
        self.published: list[Published] = []
        self.exchanges: list[str] = []
        self.holding = False
        self.held: list[Deferred[None]] = []
        self.refusing: set[str] = set()
        self.closing: set[str] = set()
        self.exchange_is_there = True
        self.tries = 0
        self._observers = Observers()
        self._started = False

    def start(self) -> None:
        """Connect if that is possible."""
        self._started = True
        if self.reachable:
            self.come()

    def stop(self) -> Deferred[None]:
        """Fail what waits."""
        self._started = False
        self._drop()
        return succeed(None)

    def come(self) -> None:
        """Be there."""
        self.reachable = True
        if self._started and not self.connected:
            self.connected = True
            self._observers.tell(True, "connected")

    def go(self) -> None:
        """Be away; what was not confirmed fails."""
        self.reachable = False
        self._drop()

    def _drop(self) -> None:
        was, self.connected = self.connected, False
        held, self.held = self.held, []
        for each in held:
            each.errback(BrokerUnavailable("gone"))
        if was:
            self._observers.tell(False, "gone")

    def confirm(self) -> None:
        """Confirm what was held back."""
        held, self.held = self.held, []
        for each in held:
            each.callback(None)

    def on_change(self, observer: Callable[[bool, str], None]) -> Callable[[], None]:
        """Tell an observer from now on."""
        return self._observers.add(observer)

    def declare(self, queues: Sequence[Queue], exchanges: Sequence[str] = ()) -> None:
        """Note the exchanges."""
        self.exchanges.extend(exchanges)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None = None,
        mandatory: bool = False,
    ) -> Deferred[None]:
        """Keep a message."""
        if not self.connected:
            return fail(BrokerUnavailable("not connected"))
        self.tries += 1
        if not self.exchange_is_there:
            return fail(ExchangeRefused("404 NOT_FOUND"))
        if routing_key in self.closing:
            held, self.held = self.held, []
            for each in held:
                each.errback(BrokerUnavailable("the channel was closed"))
        if routing_key in self.refusing | self.closing:
            return fail(MessageRefused("no"))
        self.published.append(Published(exchange, routing_key, json.loads(body), time()))
        if not self.holding:
            return succeed(None)
        self.held.append(Deferred())
        return self.held[-1]

    def consume(self, queue: str, prefetch: int, received: Any) -> IdleConsumer:
        """Begin to hand over nothing: what arrives here goes to no queue."""
        return IdleConsumer()

    def depth(self, queue: str) -> Deferred[tuple[int, int]]:
        """Nothing waits."""
        return succeed((0, 0))

    def peek(self, queue: str, most: int) -> Deferred[list[Delivery]]:
        """Nothing waits."""
        return succeed([])

    def messages(self) -> list[dict[str, Any]]:
        """Return what arrived."""
        return [each.message for each in self.published]
