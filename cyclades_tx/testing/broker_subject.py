"""A broker under examination, and what a consumer was handed over."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from cyclades_tx.mq.interfaces import (
    Delivery,
    IBroker,
    Queue,
)


@dataclass
class Received:
    """What a consumer was handed over."""

    sleep: Callable[[float], Awaitable[Any]]
    deliveries: list[Delivery] = field(default_factory=list)

    def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    @property
    def bodies(self) -> list[bytes]:
        """The bodies in their order."""
        return [delivery.body for delivery in self.deliveries]

    async def wait(self, count: int, seconds: float = 15.0) -> list[Delivery]:
        """Wait until there are so many; return all of them."""
        for _ in range(int(seconds / 0.01)):
            if len(self.deliveries) >= count:
                return self.deliveries
            await self.sleep(0.01)
        raise AssertionError(f"{len(self.deliveries)} of {count} messages have come")


@dataclass
class BrokerSubject:
    """A broker under examination.

    :ivar make: makes a client that was not started yet; all are of one server.
    :ivar interrupt: ends every connection to the server, which lives on or comes back.
    :ivar remove_queue: deletes a queue at the server.
    :ivar sleep: waits some seconds.
    """

    make: Callable[[], IBroker]
    interrupt: Callable[[], Any]
    remove_queue: Callable[[str], Any]
    sleep: Callable[[float], Awaitable[Any]]
    prefix: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}.")

    def queue(self, rest: str = "q", key: str = "k", **parts: Any) -> Queue:
        """A queue of this test's own, bound to an exchange of its own, with dead letters."""
        values: dict[str, Any] = {
            "name": self.prefix + rest,
            "bindings": ((self.exchange, key),),
            "dead_letters": (f"{self.exchange}-dl", f"{self.prefix}{rest}.dead"),
        }
        return Queue(**{**values, **parts})

    @property
    def exchange(self) -> str:
        """The exchange of this test."""
        return f"{self.prefix}x"

    def received(self) -> Received:
        """A place for deliveries."""
        return Received(self.sleep)

    async def started(self, *queues: Queue) -> IBroker:
        """A client that is connected and has declared these."""
        broker = self.make()
        broker.declare(queues)
        broker.start()
        await self.until(lambda: broker.connected)
        return broker

    async def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> None:
        """Wait until something is so."""
        for _ in range(int(seconds / 0.01)):
            if condition():
                return
            await self.sleep(0.01)
        raise AssertionError("it has not come true")

    async def depth(self, broker: IBroker, queue: str, wanted: int) -> None:
        """Wait until so many messages wait in a queue."""
        found = -1
        for _ in range(300):
            found = (await broker.depth(queue))[0]
            if found == wanted:
                return
            await self.sleep(0.02)
        raise AssertionError(f"{found} messages wait in {queue}, not {wanted}")


async def result_of(value: Any) -> Any:
    """A value, or what it fires with."""
    return await value if hasattr(value, "__await__") else value
