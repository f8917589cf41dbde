"""A broker in memory, for tests: passes the same contract as the real one.

Each :class:`MemoryBroker` is a client of a :class:`MemoryNode`, which keeps queues and messages
and can be stopped, started, blocked; without one it makes one of its own. Everything happens in
later turns of the clock, as on a wire.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from cyclades_tx.mq.codec import Unsendable, decode_table, encode_table
from cyclades_tx.mq.interfaces import (
    BrokerError,
    BrokerUnavailable,
    Delivery,
    IBroker,
    IConsumer,
    MessageRefused,
    Queue,
)
from cyclades_tx.mq.memory_node import MemoryMessage, MemoryNode, MemoryQueue
from cyclades_tx.mq.observers import Observers
from cyclades_tx.mq.subscription import headers_of_rejected

__all__ = ["MemoryBroker", "MemoryConsumer", "MemoryNode"]

_AGAIN_SECONDS = 0.05
_epochs = itertools.count(1)


@implementer(IConsumer)
class MemoryConsumer:
    """See :class:`IConsumer`."""

    def __init__(
        self, broker: MemoryBroker, queue: str, prefetch: int, received: Callable[[Delivery], None]
    ) -> None:
        self.queue = queue
        self.stopped = False
        self._broker = broker
        self._prefetch = prefetch
        self._received = received
        self._epoch = 0
        self._tags = itertools.count(1)
        self._unsettled: dict[int, MemoryMessage] = {}

    @property
    def has_room(self) -> bool:
        """Whether one more may be handed over; a prefetch of 0 is no limit."""
        return not self._prefetch or len(self._unsettled) < self._prefetch

    def attach(self) -> None:
        """Begin on the connection of now.

        :raise BrokerError: when there is no such queue.
        """
        queue = self._broker.node.queue(self.queue)
        self._epoch = next(_epochs)
        self._tags = itertools.count(1)
        queue.consumers.append(self)
        self._broker.node.pump(queue)

    def detach(self) -> None:
        """The connection is gone: what is unsettled goes back to its place."""
        if not self._epoch:
            return
        unsettled, self._unsettled, self._epoch = self._unsettled, {}, 0
        try:
            queue = self._broker.node.queue(self.queue)
        except BrokerError:
            return
        if self in queue.consumers:
            queue.consumers.remove(self)
        self._give_back(queue, list(unsettled.values()))

    def cancel(self) -> None:
        """The queue is gone."""
        self._unsettled, self._epoch = {}, 0
        self._broker.canceled(self)

    def take(self, message: MemoryMessage) -> None:
        """Hand one over."""
        tag = next(self._tags)
        self._unsettled[tag] = message
        self._received(
            Delivery(
                body=message.body,
                queue=self.queue,
                exchange=message.exchange,
                routing_key=message.routing_key,
                headers=message.headers,
                redelivered=message.redelivered,
                count=message.count,
                tag=tag,
                epoch=self._epoch,
            )
        )

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these."""
        self._settle(deliveries)

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Give these back."""
        settled = self._settle(deliveries)
        if settled:
            self._give_back(self._broker.node.queue(self.queue), settled)

    def reject(self, delivery: Delivery, reason: str) -> Deferred[None]:
        """Put one aside."""
        if delivery.epoch != self._epoch or delivery.tag not in self._unsettled:
            return succeed(None)
        now = datetime.fromtimestamp(self._broker.node.clock.seconds(), UTC)
        copied = self._broker.put_aside(delivery, headers_of_rejected(delivery, reason, now))
        return copied.addCallback(lambda _: self.acknowledge((delivery,)))

    def stop(self) -> Deferred[None]:
        """Take no more."""
        self.stopped = True
        self.detach()
        self._broker.left(self)
        return succeed(None)

    def _settle(self, deliveries: Sequence[Delivery]) -> list[MemoryMessage]:
        ours = [each.tag for each in deliveries if each.epoch == self._epoch]
        found = [self._unsettled.pop(tag) for tag in ours if tag in self._unsettled]
        if found:
            self._broker.node.pump(self._broker.node.queue(self.queue))
        return found

    def _give_back(self, queue: MemoryQueue, messages: Sequence[MemoryMessage]) -> None:
        for message in messages:
            message.redelivered = True
            message.count += 1
        queue.waiting.extendleft(reversed(messages))
        self._broker.node.pump(queue)


@implementer(IBroker)
class MemoryBroker:
    """A client of a node; see :class:`IBroker`.

    :param node: the server, shared by several clients; None: one of its own.
    """

    def __init__(self, clock: Any, node: MemoryNode | None = None) -> None:
        self.node = node or MemoryNode(clock)
        self.connected = False
        self._clock = clock
        self._wanted = False
        self._observers = Observers()
        self._queues: dict[str, Queue] = {}
        self._exchanges: dict[str, None] = {}
        self._consumers: list[MemoryConsumer] = []
        self._held: list[tuple[MemoryMessage, bool, Deferred[None]]] = []

    def start(self) -> None:
        """Begin to connect."""
        if not self._wanted:
            self._wanted = True
            self.node.clients.append(self)
            self.come_back()

    def stop(self) -> Deferred[None]:
        """Close."""
        if self._wanted:
            self._wanted = False
            self.node.clients.remove(self)
            self.lose("closed by us")
        return succeed(None)

    def on_change(self, observer: Callable[[bool, str], None]) -> Callable[[], None]:
        """Tell an observer from now on."""
        return self._observers.add(observer)

    def declare(self, queues: Sequence[Queue], exchanges: Sequence[str] = ()) -> None:
        """Have these there."""
        self._exchanges.update(dict.fromkeys(exchanges))
        self._queues.update((queue.name, queue) for queue in queues)
        if self.connected:
            self._declare(queues, exchanges)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None = None,
        mandatory: bool = False,
    ) -> Deferred[None]:
        """Send a message; fires in a later turn."""
        if not self.connected:
            return fail(BrokerUnavailable("there is no connection to the broker"))
        try:
            table = decode_table(encode_table(headers or {}))[0]
        except Unsendable as error:
            return fail(MessageRefused(f"this cannot be sent: {error}"))
        done: Deferred[None] = Deferred(lambda canceled: None)
        message = MemoryMessage(exchange, routing_key, bytes(body), table)
        self._held.append((message, mandatory, done))
        self._clock.callLater(0, self._flush)
        return done

    def consume(
        self, queue: str, prefetch: int, received: Callable[[Delivery], None]
    ) -> MemoryConsumer:
        """Hand over the messages of a queue."""
        consumer = MemoryConsumer(self, queue, prefetch, received)
        self._consumers.append(consumer)
        if self.connected:
            self._attach(consumer)
        return consumer

    def depth(self, queue: str) -> Deferred[tuple[int, int]]:
        """Messages and consumers of a queue."""
        try:
            found = self._reachable().queue(queue)
        except BrokerError:
            return fail()
        return succeed((len(found.waiting), len(found.consumers)))

    def peek(self, queue: str, most: int) -> Deferred[list[Delivery]]:
        """Look at the first messages of a queue; they stay there."""
        try:
            found = self._reachable().queue(queue)
        except BrokerError:
            return fail()
        return succeed(
            [
                Delivery(
                    body=each.body,
                    queue=queue,
                    exchange=each.exchange,
                    routing_key=each.routing_key,
                    headers=each.headers,
                    redelivered=each.redelivered,
                    count=each.count,
                    tag=number,
                    epoch=0,
                )
                for number, each in enumerate(itertools.islice(found.waiting, most), 1)
            ]
        )

    # What the node does

    def come_back(self) -> None:
        """The node may be reached; connect in a later turn."""
        self._clock.callLater(0, self._connect)

    def lose(self, why: str) -> None:
        """The connection is gone."""
        was, self.connected = self.connected, False
        for consumer in self._consumers:
            consumer.detach()
        held, self._held = self._held, []
        for _, _, done in held:
            if not done.called:
                done.errback(Failure(BrokerUnavailable(why)))
        if was:
            self._tell(why)

    def tell_blocked(self, reason: str) -> None:
        """The node takes no messages for now, or takes them again."""
        if not self.connected:
            return
        if reason:
            self._tell(f"the broker takes no messages for now: {reason}")
        else:
            self._tell("the broker takes messages again")
            self._clock.callLater(0, self._flush)

    def canceled(self, consumer: MemoryConsumer) -> None:
        """A consumer's queue is gone; have it again, a little later."""
        self._tell(f"the queue {consumer.queue}: the broker has ended the consumer")
        self._clock.callLater(_AGAIN_SECONDS, self._attach_again, consumer)

    def left(self, consumer: MemoryConsumer) -> None:
        """A consumer has stopped."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def put_aside(self, delivery: Delivery, headers: Mapping[str, Any]) -> Deferred[None]:
        """Copy a message to the dead letters of its queue, if it has any."""
        queue = self._queues.get(delivery.queue)
        if queue is None or queue.dead_letters is None:
            return succeed(None)
        return self.publish(
            queue.dead_letters[0], delivery.routing_key, delivery.body, headers, mandatory=True
        )

    def _connect(self) -> None:
        if self.connected or not self._wanted or not self.node.running:
            return
        self.connected = True
        self._declare(list(self._queues.values()), list(self._exchanges))
        for consumer in self._consumers:
            self._attach(consumer)
        self._tell("connected to the memory")

    def _declare(self, queues: Sequence[Queue], exchanges: Sequence[str]) -> None:
        for exchange in exchanges:
            self.node.declare_exchange(exchange)
        for queue in queues:
            try:
                self.node.declare_queue(queue)
            except BrokerError as error:
                self._tell(f"the queue {queue.name} cannot be declared: {error}")

    def _attach(self, consumer: MemoryConsumer) -> None:
        try:
            consumer.attach()
        except BrokerError as error:
            self._tell(f"the queue {consumer.queue} hands nothing over: {error}")
            self._clock.callLater(_AGAIN_SECONDS, self._attach_again, consumer)

    def _attach_again(self, consumer: MemoryConsumer) -> None:
        if self.connected and not consumer.stopped and not consumer._epoch:
            queue = self._queues.get(consumer.queue)
            if queue is not None:
                self._declare([queue], [])
            self._attach(consumer)

    def _flush(self) -> None:
        """Let the node take what waits."""
        if not self.connected or self.node.blocked:
            return
        held, self._held = self._held, []
        for message, mandatory, done in held:
            try:
                wanted = self.node.route(message)
            except MessageRefused as error:
                result: Any = Failure(error)
            else:
                text = f"312 NO_ROUTE: exchange {message.exchange!r}"
                result = None if wanted or not mandatory else Failure(MessageRefused(text))
            if not done.called:
                done.callback(result)

    def _reachable(self) -> MemoryNode:
        if not self.connected:
            raise BrokerUnavailable("there is no connection to the broker")
        return self.node

    def _tell(self, why: str) -> None:
        self._observers.tell(self.connected, why)
