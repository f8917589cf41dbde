"""The broker behind one connection that mends itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from random import SystemRandom
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from cyclades_tx.mq.amqp import Channel, Closed, Connection, Content
from cyclades_tx.mq.dial import dial
from cyclades_tx.mq.interfaces import (
    BrokerError,
    BrokerUnavailable,
    Delivery,
    IBroker,
    Queue,
)
from cyclades_tx.mq.observers import Observers
from cyclades_tx.mq.patience import Patience
from cyclades_tx.mq.publisher import Publisher
from cyclades_tx.mq.subscription import Subscription, delivery
from cyclades_tx.mq.tls import Trust
from cyclades_tx.mq.topology import Topology
from cyclades_tx.mq.urls import BrokerAddress

__all__ = ["Broker", "Patience", "Trust"]

T = TypeVar("T")

_SHUT_SECONDS = 2.0
#: So many reasons of failure are remembered, to tell each once.
_MOST_TOLD = 100


@implementer(IBroker)
class Broker:
    """See :class:`IBroker`; tries its addresses in turn, in an order that is drawn once.

    :param reactor: also the clock.
    :param addresses: at least one.
    :param name: what the broker's administrator sees.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        addresses: Sequence[BrokerAddress],
        trust: Trust | None = None,
        patience: Patience | None = None,
        name: str = "cyclades_tx",
        random: Any = None,
    ) -> None:
        if not addresses:
            raise ValueError("a broker needs an address")
        self.connected = False
        self._reactor = reactor
        self._random = random or SystemRandom()
        self._addresses = list(addresses)
        self._random.shuffle(self._addresses)
        self._trust = trust or Trust()
        self._patience = patience or Patience()
        self._name = name
        self._turn = 0
        self._observers = Observers()
        self._subscriptions: list[Subscription] = []
        self._publisher = Publisher(
            reactor, self._patience.confirm_seconds, self._patience.most_waiting_bytes
        )
        self._topology = Topology(
            self._publisher, self._within, lambda why: self._observers.tell(self.connected, why)
        )
        self._connection: Connection | None = None
        self._latest: Connection | None = None
        self._renewal: Deferred[Any] | None = None
        self._jobs: set[Deferred[Any]] = set()
        self._running: Deferred[None] | None = None
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Broker {', '.join(address.place for address in self._addresses)}>"

    # What IBroker promises

    def start(self) -> None:
        """Begin to connect."""
        if self._running is None and not self._stopping:
            self._running = Deferred.fromCoroutine(self._run())
            self._running.addErrback(self._died)

    def stop(self) -> Deferred[None]:
        """Close everything."""
        return Deferred.fromCoroutine(self._stop())

    def on_change(self, observer: Callable[[bool, str], None]) -> Callable[[], None]:
        """Tell an observer from now on."""
        return self._observers.add(observer)

    def declare(self, queues: Sequence[Queue], exchanges: Sequence[str] = ()) -> None:
        """Have these there."""
        self._topology.add(queues, exchanges)
        if self._connection is not None and self.connected:
            self._do(self._topology.declare(self._connection, queues, exchanges))

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None = None,
        mandatory: bool = False,
    ) -> Deferred[None]:
        """Send a persistent message; fires when it is confirmed."""
        return self._publisher.publish(exchange, routing_key, body, headers, mandatory)

    def consume(
        self, queue: str, prefetch: int, received: Callable[[Delivery], None]
    ) -> Subscription:
        """Hand over the messages of a queue."""
        subscription = Subscription(
            self._reactor, queue, prefetch, received, self._put_aside, self._subscriptions.remove
        )
        self._subscriptions.append(subscription)
        if self._connection is not None and self.connected:
            self._do(self._attach(self._connection, subscription))
        return subscription

    def depth(self, queue: str) -> Deferred[tuple[int, int]]:
        """Messages and consumers of a queue."""

        async def ask(channel: Channel) -> tuple[int, int]:
            told = await channel.queue_declare(queue=queue, passive=True)
            return told.message_count, told.consumer_count

        return Deferred.fromCoroutine(self._on_channel(ask))

    def peek(self, queue: str, most: int) -> Deferred[list[Delivery]]:
        """Look at the first messages of a queue; they stay there."""

        async def look(channel: Channel) -> list[Delivery]:
            seen: list[Delivery] = []
            while len(seen) < most:
                got: Any = await channel.basic_get(queue=queue)
                if not isinstance(got, Content):
                    break
                tag, redelivered, exchange, routing_key, _ = got.arguments
                seen.append(delivery(queue, 0, tag, redelivered, exchange, routing_key, got))
            # The end of the channel gives them back, at their old places.
            return seen

        return Deferred.fromCoroutine(self._on_channel(look))

    # The connection

    async def _run(self) -> None:
        failures = 0
        told: set[str] = set()
        while True:
            address = self._addresses[self._turn % len(self._addresses)]
            self._turn += 1
            up_at: float | None = None
            try:
                connection, lost = await dial(
                    self._reactor, address, self._trust, self._patience, self._name, self._made
                )
            except CancelledError:
                raise
            except Exception as error:
                why = f"{address.place}: {str(error) or type(error).__name__}"
            else:
                up_at = self._reactor.seconds()
                try:
                    await self._ready(connection, address)
                    told.clear()
                    why = f"{address.place}: {await lost}"
                except Exception as error:
                    connection.abort(str(error))
                    why = f"{address.place}: {str(error) or type(error).__name__}"
                except BaseException:
                    connection.abort("stopped")
                    raise
                finally:
                    self._connection = None
                    self.connected = False
                    if self._renewal is not None:
                        self._renewal.cancel()
                        self._renewal = None
            if self._stopping:
                return
            self._publisher.detach(f"no connection to the broker: {why}")
            limit = self._patience.retry_limit_seconds
            steady = up_at is not None and self._reactor.seconds() - up_at > limit
            failures = 1 if steady else failures + 1
            rounds, rest = divmod(failures, len(self._addresses))
            pause = 0.0
            if rest == 0 or up_at is not None:
                pause = min(limit, self._patience.retry_first_seconds * 2 ** min(rounds - 1, 16))
                pause *= 0.5 + self._random.random() / 2
            # The same again and again is told once; there are a few reasons for each address.
            log = self.log.debug if why in told else self.log.warn
            if len(told) >= _MOST_TOLD:
                told.clear()
            told.add(why)
            log("broker.lost", reason=why, retry_seconds=round(pause, 3))
            self._observers.tell(False, why)
            await deferLater(self._reactor, pause)

    def _made(self, connection: Connection) -> None:
        self._latest = connection

    async def _ready(self, connection: Connection, address: BrokerAddress) -> None:
        """Put everything in place on a new connection."""
        self._connection = connection
        connection.on_blocked = self._blocked
        await self._topology.declare_all(connection)
        await self._within(self._open_publisher(connection))
        self.connected = True
        self.log.info("broker.connected", place=address.place)
        for subscription in self._subscriptions:
            self._do(self._attach(connection, subscription))
        self._renewal = self._do(self._renew(connection))
        self._observers.tell(True, f"connected to {address.place}")

    async def _renew(self, connection: Connection) -> None:
        """Declare everything anew from time to time, as long as the connection lasts."""
        while not connection.closed:
            await deferLater(self._reactor, self._patience.renew_seconds)
            await self._topology.renew(connection)

    async def _open_publisher(self, connection: Connection) -> None:
        channel = await connection.open_channel()

        def ended(reason: Closed) -> None:
            # An exchange that does not exist closes the channel of whoever publishes to it.
            self._publisher.detach(str(reason), reason.code)
            if not connection.closed:
                self._do(self._open_publisher_again(connection, str(reason)))

        await self._publisher.attach(channel)
        channel.on_closed = ended
        if connection.blocked is not None:
            self._publisher.pause("blocked", _blocked_words(connection.blocked))

    async def _open_publisher_again(self, connection: Connection, reason: str) -> None:
        self.log.warn("broker.refused", queue="", reason=reason)
        await deferLater(self._reactor, self._patience.retry_first_seconds)
        if connection.closed:
            return
        await self._topology.declare_all(connection)
        if not connection.closed:
            await self._within(self._open_publisher(connection))

    async def _stop(self) -> None:
        self._stopping = True
        self._publisher.detach("the connection was closed by us")
        connection = self._connection
        for subscription in list(self._subscriptions):
            subscription.flush()
        if connection is not None:
            await connection.shut(_SHUT_SECONDS)
        for job in list(self._jobs):
            job.cancel()
        if self._running is not None:
            self._running.cancel()
        for subscription in list(self._subscriptions):
            subscription.detach()
        if self._latest is not None:
            await self._latest.disconnected.wait()
        if connection is not None:
            self._observers.tell(False, "closed by us")

    def _died(self, failure: Any) -> None:
        if not (self._stopping and failure.check(CancelledError)):
            self.log.failure("broker.died", failure)

    # Consumers

    async def _attach(self, connection: Connection, subscription: Subscription) -> None:
        """Begin a subscription, again and again until it stands or the connection has ended."""
        pause = self._patience.retry_first_seconds
        first = True
        while not (connection.closed or subscription.stopped or subscription.attached):
            queue = self._topology.queues.get(subscription.queue)
            if not first and queue is not None:
                await self._topology.declare(connection, [queue])
            await self._topology.settled()
            why = self._topology.refusal(subscription.queue)
            if not why:
                try:
                    await self._within(
                        subscription.attach(
                            connection,
                            lambda reason: self._lost_consumer(connection, subscription, reason),
                        )
                    )
                    return
                except (Closed, BrokerUnavailable) as error:
                    if connection.reason is not None or subscription.stopped:
                        return
                    why = f"the queue {subscription.queue} hands nothing over: {error}"
                    self._observers.tell(self.connected, why)
            self.log.warn(
                "consumer.lost", queue=subscription.queue, reason=why, again_seconds=round(pause, 3)
            )
            await deferLater(self._reactor, pause)
            pause = min(self._patience.retry_limit_seconds, pause * 2)
            first = False

    def _lost_consumer(self, connection: Connection, which: Subscription, reason: str) -> None:
        if connection.closed or which.stopped:
            return
        self._observers.tell(self.connected, f"the queue {which.queue}: {reason}")
        self._do(self._attach_again(connection, which, reason))

    async def _attach_again(self, connection: Connection, which: Subscription, reason: str) -> None:
        pause = self._patience.retry_first_seconds
        self.log.warn(
            "consumer.lost", queue=which.queue, reason=reason, again_seconds=round(pause, 3)
        )
        await deferLater(self._reactor, pause)
        queue = self._topology.queues.get(which.queue)
        if queue is not None and not connection.closed:
            await self._topology.declare(connection, [queue])
        await self._attach(connection, which)

    def _put_aside(self, message: Delivery, headers: Mapping[str, Any]) -> Deferred[None] | None:
        queue = self._topology.queues.get(message.queue)
        if queue is None or queue.dead_letters is None:
            return None
        return self.publish(
            queue.dead_letters[0], message.routing_key, message.body, headers, mandatory=True
        )

    # Small things

    def _blocked(self, reason: str | None) -> None:
        if reason is None:
            self._publisher.go_on("blocked")
            self.log.info("broker.unblocked")
            self._observers.tell(self.connected, "the broker takes messages again")
        else:
            why = _blocked_words(reason)
            self._publisher.pause("blocked", why)
            self.log.warn("broker.blocked", reason=reason)
            self._observers.tell(self.connected, why)

    async def _on_channel(self, ask: Callable[[Channel], Awaitable[T]]) -> T:
        """Ask on a channel of its own.

        :raise BrokerUnavailable: without a connection, or when it ends before the answer.
        :raise BrokerError: with the broker's reason to refuse.
        """
        connection = self._connection
        if connection is None or not self.connected:
            raise BrokerUnavailable("there is no connection to the broker")

        async def whole() -> T:
            channel = await connection.open_channel()
            try:
                return await ask(channel)
            finally:
                await channel.finish()

        try:
            return await self._within(whole())
        except Closed as error:
            if connection.closed:
                raise BrokerUnavailable(str(error)) from None
            raise BrokerError(str(error)) from None

    async def _within(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for answers of the broker, but not for ever; a silent one is left.

        :raise BrokerUnavailable: when it took too long.
        """
        seconds = self._patience.answer_seconds
        asked: Deferred[T] = Deferred.fromCoroutine(work)
        connection = self._connection
        try:
            return await asked.addTimeout(seconds, self._reactor)
        except TimeoutError:
            why = f"no answer in {seconds:g} seconds"
            if connection is not None:
                connection.abort(why)
            raise BrokerUnavailable(why) from None

    def _do(self, work: Any) -> Deferred[Any]:
        """Let work run beside everything else; it ends with the broker."""
        job: Deferred[Any] = Deferred.fromCoroutine(work)
        self._jobs.add(job)

        def over(result: Any) -> None:
            self._jobs.discard(job)
            ends = (Closed, CancelledError, BrokerUnavailable)
            if hasattr(result, "check") and not result.check(*ends):
                self.log.failure("broker.job_died", result)

        return job.addBoth(over)


def _blocked_words(reason: str) -> str:
    return f"the broker takes no messages for now: {reason}"
