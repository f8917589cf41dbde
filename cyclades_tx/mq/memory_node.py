"""The server's side of the memory broker: exchanges, queues and what happens to them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from cyclades_tx.mq.interfaces import BrokerError, ExchangeRefused, Queue
from cyclades_tx.mq.topics import matches
from cyclades_tx.mq.topology import CLASSIC


@dataclass
class MemoryMessage:
    exchange: str
    routing_key: str
    body: bytes
    headers: dict[str, Any]
    redelivered: bool = False
    count: int = 0


class Client(Protocol):
    """One connection to the node."""

    def lose(self, why: str) -> None:
        """The connection is cut."""

    def come_back(self) -> None:
        """There is somebody to connect to again."""

    def tell_blocked(self, reason: str) -> None:
        """Messages are not taken any more; "": they are."""


class Consumer(Protocol):
    """Who takes messages from a queue."""

    @property
    def has_room(self) -> bool:
        """Whether it takes one more now."""

    def take(self, message: MemoryMessage) -> None:
        """Get a message."""

    def cancel(self) -> None:
        """The queue is gone."""


@dataclass
class MemoryQueue:
    name: str
    arguments: dict[str, Any]
    bindings: set[tuple[str, str]] = field(default_factory=set)
    waiting: deque[MemoryMessage] = field(default_factory=deque)
    consumers: list[Consumer] = field(default_factory=list)
    pumping: bool = False

    def turn(self) -> Consumer | None:
        """Whose turn it is to get a message."""
        alone = bool(self.arguments.get("x-single-active-consumer"))
        for consumer in list(self.consumers[:1] if alone else self.consumers):
            if consumer.has_room:
                if not alone:
                    self.consumers.remove(consumer)
                    self.consumers.append(consumer)
                return consumer
        return None


class MemoryNode:
    """The server's side.

    :ivar running: whether clients can connect.
    :ivar blocked: why it takes no messages now; "" when it does.
    """

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.running = True
        self.blocked = ""
        self.clients: list[Client] = []
        self._exchanges: set[str] = set()
        self._queues: dict[str, MemoryQueue] = {}

    # What a test does to it

    def stop(self) -> None:
        """End: every client loses its connection; queues and messages are kept."""
        self.running = False
        for client in list(self.clients):
            client.lose("the broker was stopped")

    def start(self) -> None:
        """Run again; the clients come back by themselves."""
        self.running = True
        self.blocked = ""
        for client in list(self.clients):
            client.come_back()

    def disconnect(self) -> None:
        """Cut every connection; the clients come back by themselves."""
        self.stop()
        self.start()

    def block(self, reason: str = "low on memory") -> None:
        """Take no messages from now on."""
        self.blocked = reason
        for client in list(self.clients):
            client.tell_blocked(reason)

    def unblock(self) -> None:
        """Take messages again."""
        self.blocked = ""
        for client in list(self.clients):
            client.tell_blocked("")

    def delete_queue(self, name: str) -> None:
        """Remove a queue with its messages; its consumers are told."""
        queue = self._queues.pop(name, None)
        for consumer in queue.consumers[:] if queue is not None else ():
            consumer.cancel()

    def bodies(self, queue: str) -> list[bytes]:
        """What waits in a queue, without what is handed over and unsettled."""
        found = self._queues.get(queue)
        return [message.body for message in found.waiting] if found is not None else []

    # What its clients do

    def declare_exchange(self, name: str) -> None:
        """Have a topic exchange there."""
        self._exchanges.add(name)

    def declare_queue(self, wanted: Queue) -> None:
        """Have a queue, its dead letters and its bindings there.

        :raise BrokerError: when one is there with other arguments.
        """
        arguments = dict(wanted.arguments)
        for exchange, _ in wanted.bindings:
            self.declare_exchange(exchange)
        if wanted.dead_letters is not None:
            exchange, name = wanted.dead_letters
            self.declare_exchange(exchange)
            arguments["x-dead-letter-exchange"] = exchange
            self._have(name, dict(CLASSIC), {(exchange, key) for _, key in wanted.bindings})
        self._have(wanted.name, arguments, set(wanted.bindings))

    def _have(self, name: str, arguments: dict[str, Any], bindings: set[tuple[str, str]]) -> None:
        queue = self._queues.setdefault(name, MemoryQueue(name, arguments))
        if queue.arguments != arguments:
            raise BrokerError(f"406 PRECONDITION_FAILED - inequivalent arguments for {name!r}")
        queue.bindings |= bindings

    def route(self, message: MemoryMessage) -> bool:
        """Put a message into every queue that wants it; say whether one did.

        :raise ExchangeRefused: when there is no such exchange.
        """
        if message.exchange == "":
            wanted = [self._queues[message.routing_key]] * (message.routing_key in self._queues)
        elif message.exchange not in self._exchanges:
            raise ExchangeRefused(f"404 NOT_FOUND - no exchange {message.exchange!r}")
        else:
            wanted = [
                queue
                for queue in self._queues.values()
                if any(
                    exchange == message.exchange and matches(key, message.routing_key)
                    for exchange, key in queue.bindings
                )
            ]
        for queue in wanted:
            queue.waiting.append(
                MemoryMessage(message.exchange, message.routing_key, message.body, message.headers)
            )
            self.pump(queue)
        return bool(wanted)

    def queue(self, name: str) -> MemoryQueue:
        """A queue.

        :raise BrokerError: when there is none of this name.
        """
        if name not in self._queues:
            raise BrokerError(f"404 NOT_FOUND - no queue {name!r}")
        return self._queues[name]

    def pump(self, queue: MemoryQueue) -> None:
        """Hand messages over in the next turn."""
        if not queue.pumping:
            queue.pumping = True
            self.clock.callLater(0, self._pump, queue)

    def _pump(self, queue: MemoryQueue) -> None:
        queue.pumping = False
        while queue.waiting:
            consumer = queue.turn()
            if consumer is None:
                return
            consumer.take(queue.waiting.popleft())
