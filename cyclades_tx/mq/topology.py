"""The queues, exchanges and bindings that are wanted, and their declaration on a connection."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from cyclades_tx.mq.amqp import Channel, Closed, Connection
from cyclades_tx.mq.interfaces import Queue
from cyclades_tx.mq.publisher import Publisher

_Step = tuple[str, dict[str, Any]]
#: Said aloud, since the default of a virtual host may be another one.
CLASSIC: Mapping[str, Any] = {"x-queue-type": "classic"}
_CAUSE = "declaring"
_ACCESS_REFUSED = 403


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
        #: Exchanges that we may not declare, but that were there when we last looked.
        self._given: set[str] = set()
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
        self._given.clear()
        await self.declare(connection, list(self.queues.values()), list(self._exchanges))

    async def renew(self, connection: Connection) -> None:
        """Declare everything once more, on a channel of its own, while all else goes on.

        So a binding that was lost, such as with an exchange that was deleted and made again, is
        back without a new connection. It may take as long as the connection lasts: a broker that
        is slow with one queue is no reason to leave it.

        :raise Closed: when the connection has ended.
        """
        for name, steps in _groups(list(self.queues.values()), list(self._exchanges)):
            await self._declare(connection, name, self._take(connection, steps))

    async def declare(
        self, connection: Connection, queues: Sequence[Queue], exchanges: Sequence[str] = ()
    ) -> None:
        """Declare these, one thing after the other; messages wait meanwhile.

        :raise Closed: when the connection has ended.
        """
        self._publisher.pause(_CAUSE, "queues are being declared")
        await self._lock.acquire()
        try:
            for name, steps in _groups(queues, exchanges):
                work = self._within(self._take(connection, steps))
                await self._declare(connection, name, work)
        finally:
            self._lock.release()
            if not self._lock.waiting:
                self._publisher.go_on(_CAUSE)

    async def settled(self) -> None:
        """Wait until nothing is being declared."""
        await self._lock.run(lambda: None)

    async def _take(self, connection: Connection, steps: Sequence[_Step]) -> None:
        """Declare what belongs together, step by step."""
        channel = await connection.open_channel()
        for method, arguments in steps:
            if method == "exchange_declare":
                channel = await self._have_exchange(connection, channel, arguments)
            else:
                await getattr(channel, method)(**arguments)
        await channel.finish()

    async def _have_exchange(
        self, connection: Connection, channel: Channel, arguments: dict[str, Any]
    ) -> Channel:
        """Declare an exchange, or see that it is there; return the channel to go on with."""
        name = arguments["exchange"]
        if name not in self._given:
            try:
                await channel.exchange_declare(**arguments)
                return channel
            except Closed as error:
                if connection.closed or error.code != _ACCESS_REFUSED:
                    raise
            # Whoever may not make it may yet use one that others have made.
            channel = await connection.open_channel()
        self._given.add(name)
        try:
            await channel.exchange_declare(exchange=name, passive=True)
        except Closed as error:
            self._given.discard(name)
            raise Closed(f"{error}, and we may not declare it", error.code) from None
        return channel

    async def _declare(
        self, connection: Connection, name: str, work: Coroutine[Any, Any, None]
    ) -> None:
        """Have something declared; a refusal is told and remembered, not repeated."""
        try:
            await work
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


def _groups(
    queues: Sequence[Queue], exchanges: Sequence[str]
) -> Iterator[tuple[str, Sequence[_Step]]]:
    """What is declared together, and may be refused without the rest, with its name."""
    if exchanges:
        yield "", [_exchange_step(name) for name in exchanges]
    for queue in queues:
        if queue.dead_letters is not None:
            yield queue.dead_letters[1], _dead_letter_steps(queue)
        yield queue.name, _queue_steps(queue)


def _exchange_step(name: str) -> _Step:
    return "exchange_declare", {"exchange": name, "type": "topic", "durable": True}


def _queue_steps(queue: Queue) -> list[_Step]:
    """What declares a queue and its bindings."""
    steps: list[_Step] = [_exchange_step(name) for name, _ in queue.bindings]
    arguments = dict(queue.arguments)
    if queue.dead_letters is not None:
        arguments["x-dead-letter-exchange"] = queue.dead_letters[0]
    steps.append(("queue_declare", {"queue": queue.name, "durable": True, "arguments": arguments}))
    steps += [_bind_step(queue.name, exchange, key) for exchange, key in queue.bindings]
    return list({repr(step): step for step in steps}.values())


def _dead_letter_steps(queue: Queue) -> list[_Step]:
    """What declares the dead letters of a queue.

    Classic, whatever the queue itself is: a quorum queue throws away what was looked at and given
    back as often as its delivery limit says.
    """
    assert queue.dead_letters is not None
    exchange, name = queue.dead_letters
    steps: list[_Step] = [
        _exchange_step(exchange),
        ("queue_declare", {"queue": name, "durable": True, "arguments": dict(CLASSIC)}),
    ]
    return steps + [_bind_step(name, exchange, key) for _, key in queue.bindings]


def _bind_step(queue: str, exchange: str, routing_key: str) -> _Step:
    return "queue_bind", {"queue": queue, "exchange": exchange, "routing_key": routing_key}
