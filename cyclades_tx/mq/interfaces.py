"""The door to the broker: publish with a receipt, and consume until one says stop.

Both the real one (:mod:`cyclades_tx.mq.amqp` and what is built on it) and the memory one pass
the same contract. Nothing here or beside it imports more than Twisted, txAMQP, zope.interface and
msgspec, so that the Ganeti side can be packaged apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


class BrokerError(Exception):
    """Something did not work at the broker; the text is for a person."""


class BrokerUnavailable(BrokerError):
    """No connection, or it was lost before the broker's answer: it may have happened."""


class MessageRefused(BrokerError):
    """The broker did not take a message: nacked, or (when mandatory) no queue wanted it."""


class ExchangeRefused(MessageRefused):
    """The exchange is not there, or we may not write to it: no message is to blame."""


@dataclass(frozen=True)
class Queue:
    """A durable queue and what it is bound to.

    :ivar bindings: (exchange, routing key) pairs; the exchanges are declared as durable topics.
    :ivar dead_letters: the exchange and the queue that rejected messages go to; None: nowhere.
    :ivar arguments: further ``x-`` arguments.
    """

    name: str
    bindings: tuple[tuple[str, str], ...] = ()
    dead_letters: tuple[str, str] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def of_type(self, kind: str) -> Queue:
        """The same queue, of RabbitMQ's type ``classic`` or ``quorum``."""
        return replace(self, arguments={**self.arguments, "x-queue-type": kind})


@dataclass(frozen=True)
class Delivery:
    """A message that was handed over and is not yet settled.

    :ivar tag: with ``epoch``, what the broker knows it by; good only until the connection ends.
    :ivar count: how often it was handed over before, as far as the broker tells; else 0.
    """

    body: bytes
    queue: str
    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    redelivered: bool
    count: int
    tag: int
    epoch: int


class IConsumer(Interface):
    """One subscription; it outlives lost connections and canceled consumers."""

    def acknowledge(deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of a connection that has ended are ignored: they come again."""

    def requeue(deliveries: Sequence[Delivery]) -> None:
        """Give these back to the queue, to be handed over again."""

    def reject(delivery: Delivery, reason: str) -> Deferred[None]:
        """Put a message aside: into the dead-letter exchange under its own routing key.

        The reason goes along in the header ``x-reason``; it is acknowledged in its queue only
        when the broker has confirmed the copy, so it is never lost.
        """

    def stop() -> Deferred[None]:
        """Take no more; what is not settled goes back to the queue."""


class IBroker(Interface):
    """A broker behind one connection that mends itself."""

    connected: bool = Attribute("Whether there is a connection that is ready for use.")

    def start() -> None:
        """Begin to connect, and go on for ever, host after host, with pauses and jitter."""

    def stop() -> Deferred[None]:
        """Close; publications that wait fail with BrokerUnavailable."""

    def on_change(observer: Callable[[bool, str], None]) -> Callable[[], None]:
        """Call ``observer(connected, why)`` at each change; return a function that ends it."""

    def declare(queues: Sequence[Queue], exchanges: Sequence[str] = ()) -> None:
        """Have these there, now and after each new connection (durable topic exchanges)."""

    def publish(
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None = None,
        mandatory: bool = False,
    ) -> Deferred[None]:
        """Send a persistent message; fires when the broker has confirmed it.

        :raise BrokerUnavailable: there is no connection, or it ended before the confirmation.
        :raise MessageRefused: the broker nacked it, or it was mandatory and unroutable.
        :raise ExchangeRefused: the broker takes nothing for this exchange from us.
        """

    def consume(queue: str, prefetch: int, received: Callable[[Delivery], None]) -> IConsumer:
        """Hand over the messages of a declared queue, at most ``prefetch`` unsettled at once."""

    def depth(queue: str) -> Deferred[tuple[int, int]]:
        """How many messages wait in a queue, and how many consumers it has."""

    def peek(queue: str, most: int) -> Deferred[list[Delivery]]:
        """Look at the first messages that wait in a queue; they stay there.

        :raise BrokerError: for a queue that does not exist, or does not let anyone look (a
            quorum queue with a single active consumer).
        """
