"""The queues, exchanges and bindings that are wanted, and their declaration on a connection."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from cyclades_tx.mq.amqp import Closed, Connection
from cyclades_tx.mq.interfaces import Queue
from cyclades_tx.mq.publisher import Publisher

_Step = tuple[str, dict[str, Any]]
_CAUSE = "declaring"


class Topology:
    """What is to be there.

    :param publisher: holds messages back while something is being declared.
    :param within: waits for answers, but not for ever.
    :param tell: is told of a refusal, once for each.
    """

    log = Logger()

    def __init__(
        self,
        publisher: Publisher,
        within: Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, None]],
        tell: Callable[[str], None],
    ) -> None:
        self.queues: dict[str, Queue] = {}
        self._exchanges: dict[str, None] = {}
        self._refused: dict[str, str] = {}
        self._lock = DeferredLock()
        self._publisher = publisher
        self._within = within
        self._tell = tell

    def add(self, queues: Sequence[Queue], exchanges: Sequence[str]) -> None:
        """Want these from now on."""
        self._exchanges.update(dict.fromkeys(exchanges))
        self.queues.update((queue.name, queue) for queue in queues)

    def refusal(self, queue: str) -> str:
        """Why a queue could not be declared; empty: it could."""
        return self._refused.get(queue, "")

    async def declare_all(self, connection: Connection) -> None:
        """Declare everything on a connection.

        :raise Closed: when it has ended.
        """
        await self.declare(connection, list(self.queues.values()), list(self._exchanges))

    async def declare(
        self, connection: Connection, queues: Sequence[Queue], exchanges: Sequence[str] = ()
    ) -> None:
        """Declare these, one thing after the other; messages wait meanwhile.

        :raise Closed: when the connection has ended.
        """
        self._publisher.pause(_CAUSE, "queues are being declared")
        await self._lock.acquire()
        try:
            if exchanges:
                await self._declare(connection, "", [_exchange_step(name) for name in exchanges])
            for queue in queues:
                await self._declare(connection, queue.name, _queue_steps(queue))
        finally:
            self._lock.release()
            if not self._lock.waiting:
                self._publisher.go_on(_CAUSE)

    async def settled(self) -> None:
        """Wait until nothing is being declared."""
        await self._lock.run(lambda: None)

    async def _declare(self, connection: Connection, name: str, steps: Sequence[_Step]) -> None:
        """Declare what belongs together; a refusal is told and remembered, not repeated."""

        async def take_steps() -> None:
            channel = await connection.open_channel()
            for method, arguments in steps:
                await getattr(channel, method)(**arguments)
            await channel.finish()

        try:
            await self._within(take_steps())
        except Closed as error:
            if connection.closed:
                raise
            what = f"the queue {name}" if name else "the exchanges"
            why = f"{what} cannot be declared: {error}"
            if self._refused.get(name) != why:
                self._refused[name] = why
                self.log.warn("broker.refused", queue=name, reason=str(error))
                self._tell(why)
        else:
            self._refused.pop(name, None)


def _exchange_step(name: str) -> _Step:
    return "exchange_declare", {"exchange": name, "type": "topic", "durable": True}


def _queue_steps(queue: Queue) -> list[_Step]:
    """What declares a queue, its dead letters and its bindings."""
    steps: list[_Step] = [_exchange_step(name) for name, _ in queue.bindings]
    arguments = dict(queue.arguments)
    if queue.dead_letters is not None:
        exchange, name = queue.dead_letters
        arguments["x-dead-letter-exchange"] = exchange
        kind = {key: value for key, value in arguments.items() if key == "x-queue-type"}
        steps.append(_exchange_step(exchange))
        steps.append(("queue_declare", {"queue": name, "durable": True, "arguments": kind}))
        steps += [_bind_step(name, exchange, key) for _, key in queue.bindings]
    steps.append(("queue_declare", {"queue": queue.name, "durable": True, "arguments": arguments}))
    steps += [_bind_step(queue.name, exchange, key) for exchange, key in queue.bindings]
    return list({repr(step): step for step in steps}.values())


def _bind_step(queue: str, exchange: str, routing_key: str) -> _Step:
    return "queue_bind", {"queue": queue, "exchange": exchange, "routing_key": routing_key}
