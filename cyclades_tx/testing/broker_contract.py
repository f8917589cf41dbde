"""The exam that every broker passes: the memory one and the real one.

:func:`broker_contract` makes a class of tests for pytest; a module that runs it binds the class
to a name that begins with ``Test`` and provides the fixture ``subject``.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from cyclades_tx.mq.interfaces import (
    BrokerError,
    BrokerUnavailable,
    Delivery,
    IBroker,
    MessageRefused,
    Queue,
)

E = TypeVar("E", bound=Exception)


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


async def raised(kind: type[E], call: Awaitable[Any]) -> E:
    """Return the exception of this kind that a call ends with."""
    try:
        result = await call
    except kind as failure:
        return failure
    raise AssertionError(f"{kind.__name__} was expected, the call returned {result!r}")


def broker_contract() -> type:
    """Return the class of tests; each takes the fixture ``subject`` (:class:`BrokerSubject`)."""

    class BrokerContract:
        """What every broker does."""

        # There and back

        async def test_a_message_arrives_as_it_was_sent(self, subject: BrokerSubject) -> None:
            """Body, headers, exchange and routing key, whatever is in them."""
            queue = subject.queue(key="a.*.c")
            broker = await subject.started(queue)
            received = subject.received()
            broker.consume(queue.name, 10, received)
            headers = {
                "text": "grün ☃",
                "bytes": b"\x00\xff",
                "truth": True,
                "small": -7,
                "large": 2**40,
                "float": 1.5,
                "decimal": Decimal("-1.25"),
                "nothing": None,
                "time": datetime(2026, 3, 1, 12, tzinfo=UTC),
                "list": [1, "two", {"three": [3.0]}],
                "table": {"in": {"side": False}},
            }
            body = "☃ é\n".encode() + bytes(range(256))
            await broker.publish(subject.exchange, "a.b.c", body, headers)
            (got,) = await received.wait(1)
            assert got.body == body
            assert got.headers == headers
            assert (got.exchange, got.routing_key) == (subject.exchange, "a.b.c")
            assert (got.queue, got.redelivered, got.count) == (queue.name, False, 0)

        async def test_bodies_of_every_size_arrive(self, subject: BrokerSubject) -> None:
            """Nothing, one byte, and more than fits into several frames."""
            queue = subject.queue()
            broker = await subject.started(queue)
            received = subject.received()
            broker.consume(queue.name, 10, received)
            bodies = [b"", b"x", "é".encode() * 65_532, b"ab" * 500_000]
            for body in bodies:
                await broker.publish(subject.exchange, "k", body)
            await received.wait(len(bodies))
            assert received.bodies == bodies

        async def test_messages_come_in_their_order(self, subject: BrokerSubject) -> None:
            """Also when they are sent without waiting for each."""
            queue = subject.queue()
            broker = await subject.started(queue)
            received = subject.received()
            broker.consume(queue.name, 300, received)
            sent = [broker.publish(subject.exchange, "k", b"%d" % n) for n in range(200)]
            for each in sent:
                await each
            await received.wait(200)
            assert received.bodies == [b"%d" % n for n in range(200)]

        async def test_the_topic_chooses(self, subject: BrokerSubject) -> None:
            """One word for a star, any number for a hash."""
            star = subject.queue("star", "ganeti.*.event.op")
            hashed = subject.queue("hash", "ganeti.#")
            broker = await subject.started(star, hashed)
            for key in ("ganeti.snf.event.op", "ganeti.event.op", "ganeti", "other.x"):
                await broker.publish(subject.exchange, key, key.encode())
            await subject.depth(broker, star.name, 1)
            await subject.depth(broker, hashed.name, 3)

        async def test_a_mandatory_message_nobody_wants_is_refused(
            self, subject: BrokerSubject
        ) -> None:
            """And one that is not mandatory is confirmed."""
            queue = subject.queue()
            broker = await subject.started(queue)
            await broker.publish(subject.exchange, "other", b"1")
            first = broker.publish(subject.exchange, "k", b"2", mandatory=True)
            lost = broker.publish(subject.exchange, "other", b"3", mandatory=True)
            await first
            assert "NO_ROUTE" in str(await raised(MessageRefused, lost))
            await subject.depth(broker, queue.name, 1)

        async def test_an_exchange_that_does_not_exist_refuses(
            self, subject: BrokerSubject
        ) -> None:
            """And publishing elsewhere goes on afterwards."""
            queue = subject.queue()
            broker = await subject.started(queue)
            error = await raised(MessageRefused, broker.publish(subject.prefix + "no", "k", b"1"))
            assert "404" in str(error)

            async def works() -> bool:
                try:
                    await broker.publish(subject.exchange, "k", b"2", mandatory=True)
                except BrokerUnavailable:
                    return False
                return True

            for _ in range(300):
                if await works():
                    break
                await subject.sleep(0.02)
            await subject.depth(broker, queue.name, 1)

        async def test_headers_that_cannot_be_said_are_refused(
            self, subject: BrokerSubject
        ) -> None:
            """Before anything is sent, so that the next message goes its way."""
            queue = subject.queue()
            broker = await subject.started(queue)
            for headers in ({"n": 2**70}, {"o": object()}, {"k" * 300: 1}, {"s": "\ud800"}):
                await raised(MessageRefused, broker.publish(subject.exchange, "k", b"", headers))
            await broker.publish(subject.exchange, "k", b"1", mandatory=True)

        # Settling

        async def test_prefetch_bounds_what_is_unsettled(self, subject: BrokerSubject) -> None:
            """The next come only when some are settled."""
            queue = subject.queue()
            broker = await subject.started(queue)
            for number in range(7):
                await broker.publish(subject.exchange, "k", b"%d" % number)
            received = subject.received()
            consumer = broker.consume(queue.name, 3, received)
            await received.wait(3)
            await subject.sleep(0.1)
            assert received.bodies == [b"0", b"1", b"2"]
            consumer.acknowledge(received.deliveries[:2])
            await received.wait(5)
            await subject.sleep(0.1)
            assert len(received.deliveries) == 5

        async def test_what_is_acknowledged_does_not_come_again(
            self, subject: BrokerSubject
        ) -> None:
            """In whatever order it was acknowledged; the rest does, marked and in order."""
            queue = subject.queue()
            broker = await subject.started(queue)
            for number in range(6):
                await broker.publish(subject.exchange, "k", b"%d" % number)
            received = subject.received()
            consumer = broker.consume(queue.name, 10, received)
            got = await received.wait(6)
            consumer.acknowledge([got[4], got[0]])
            consumer.acknowledge([got[1], got[1]])
            await subject.sleep(0.1)
            await consumer.stop()
            await subject.depth(broker, queue.name, 3)
            again = subject.received()
            broker.consume(queue.name, 10, again)
            await again.wait(3)
            assert again.bodies == [b"2", b"3", b"5"]
            assert all(each.redelivered for each in again.deliveries)

        async def test_requeued_messages_come_again(self, subject: BrokerSubject) -> None:
            """While those acknowledged beside them do not."""
            queue = subject.queue()
            broker = await subject.started(queue)
            for number in range(3):
                await broker.publish(subject.exchange, "k", b"%d" % number)
            received = subject.received()
            consumer = broker.consume(queue.name, 10, received)
            got = list(await received.wait(3))
            consumer.acknowledge([got[2]])
            consumer.requeue([got[0], got[1]])
            consumer.acknowledge([got[0]])
            await received.wait(5)
            assert sorted(received.bodies[3:]) == [b"0", b"1"]
            assert all(each.redelivered for each in received.deliveries[3:])
            consumer.acknowledge(received.deliveries[3:])
            await subject.depth(broker, queue.name, 0)

        async def test_a_rejected_message_waits_among_the_dead(
            self, subject: BrokerSubject
        ) -> None:
            """Under its own routing key, with the reason and where it came from."""
            queue = subject.queue()
            assert queue.dead_letters is not None
            broker = await subject.started(queue)
            await broker.publish(subject.exchange, "k", b"bad \xff", {"mine": 1})
            received = subject.received()
            consumer = broker.consume(queue.name, 10, received)
            (got,) = await received.wait(1)
            await consumer.reject(got, "not JSON: é")
            await subject.depth(broker, queue.dead_letters[1], 1)
            (dead,) = await broker.peek(queue.dead_letters[1], 5)
            assert dead.body == b"bad \xff"
            assert dead.routing_key == "k"
            assert dead.exchange == queue.dead_letters[0]
            assert dead.headers["x-reason"] == "not JSON: é"
            assert dead.headers["x-origin-exchange"] == subject.exchange
            assert dead.headers["x-origin-queue"] == queue.name
            assert dead.headers["mine"] == 1
            await consumer.stop()
            await subject.depth(broker, queue.name, 0)

        async def test_what_could_not_be_put_aside_can_be_later(
            self, subject: BrokerSubject
        ) -> None:
            """It stays unsettled meanwhile; the connection lives on."""
            queue = subject.queue()
            assert queue.dead_letters is not None
            broker = await subject.started(queue)
            await broker.publish(subject.exchange, "k", b"bad")
            received = subject.received()
            consumer = broker.consume(queue.name, 10, received)
            (got,) = await received.wait(1)
            await _result(subject.remove_queue(queue.dead_letters[1]))
            await raised(MessageRefused, consumer.reject(got, "no"))
            broker.declare([queue])
            for _ in range(100):
                try:
                    await consumer.reject(got, "no")
                    break
                except MessageRefused:
                    await subject.sleep(0.02)
            await subject.depth(broker, queue.dead_letters[1], 1)
            assert len(received.deliveries) == 1
            await consumer.stop()
            await subject.depth(broker, queue.name, 0)

        async def test_without_a_place_for_it_a_rejected_message_is_gone(
            self, subject: BrokerSubject
        ) -> None:
            """A queue without dead letters has asked for that."""
            queue = subject.queue(dead_letters=None)
            broker = await subject.started(queue)
            await broker.publish(subject.exchange, "k", b"1")
            received = subject.received()
            consumer = broker.consume(queue.name, 10, received)
            (got,) = await received.wait(1)
            await consumer.reject(got, "no")
            await subject.sleep(0.1)
            await consumer.stop()
            await subject.depth(broker, queue.name, 0)

        async def test_a_dead_letter_can_be_peeked_at_again(self, subject: BrokerSubject) -> None:
            """Looking takes nothing away, and sees no more than was asked for."""
            queue = subject.queue()
            broker = await subject.started(queue)
            for number in range(3):
                await broker.publish(subject.exchange, "k", b"%d" % number)
            await subject.depth(broker, queue.name, 3)
            for _ in range(2):
                assert [each.body for each in await broker.peek(queue.name, 2)] == [b"0", b"1"]
                await subject.depth(broker, queue.name, 3)
            assert len(await broker.peek(queue.name, 9)) == 3

        # Several consumers

        async def test_a_single_active_consumer_gets_everything(
            self, subject: BrokerSubject
        ) -> None:
            """The next one takes over when it stops."""
            queue = subject.queue(arguments={"x-single-active-consumer": True})
            broker = await subject.started(queue)
            other = await subject.started(queue)
            first, second = subject.received(), subject.received()
            active = broker.consume(queue.name, 100, first)
            await broker.publish(subject.exchange, "k", b"before")
            await first.wait(1)
            other.consume(queue.name, 100, second)
            await subject.sleep(0.1)
            for number in range(5):
                await broker.publish(subject.exchange, "k", b"%d" % number)
            active.acknowledge(await first.wait(6))
            await active.stop()
            assert second.deliveries == []
            await broker.publish(subject.exchange, "k", b"after")
            await second.wait(1)
            assert second.bodies == [b"after"]

        async def test_depth_counts_messages_and_consumers(self, subject: BrokerSubject) -> None:
            """And knows when there is no such queue."""
            queue = subject.queue()
            broker = await subject.started(queue)
            assert await broker.depth(queue.name) == (0, 0)
            received = subject.received()
            broker.consume(queue.name, 1, received)
            for number in range(3):
                await broker.publish(subject.exchange, "k", b"%d" % number)
            await received.wait(1)
            await subject.depth(broker, queue.name, 2)
            assert (await broker.depth(queue.name))[1] == 1
            await raised(BrokerError, broker.depth(subject.prefix + "none"))
            await raised(BrokerError, broker.peek(subject.prefix + "none", 1))

        # What ends, and comes back

        async def test_a_consumer_outlives_the_connection(self, subject: BrokerSubject) -> None:
            """What was unsettled comes again; its old acknowledgment is ignored."""
            queue = subject.queue()
            broker = await subject.started(queue)
            await broker.publish(subject.exchange, "k", b"1")
            received = subject.received()
            consumer = broker.consume(queue.name, 10, received)
            (old,) = await received.wait(1)
            await _result(subject.interrupt())
            await received.wait(2)
            consumer.acknowledge([old])
            consumer.requeue([old])
            await consumer.reject(old, "of a connection that has ended")
            await subject.sleep(0.1)
            again = received.deliveries[1]
            assert again.body == b"1" and again.redelivered and again.epoch != old.epoch
            consumer.acknowledge([again])
            await subject.sleep(0.1)
            assert len(received.deliveries) == 2
            await consumer.stop()
            await subject.depth(broker, queue.name, 0)

        async def test_observers_hear_of_every_end_and_return(self, subject: BrokerSubject) -> None:
            """Until they want to hear no more."""
            broker = subject.make()
            heard: list[bool] = []
            quiet: list[bool] = []
            broker.on_change(lambda connected, why: heard.append(connected))
            end = broker.on_change(lambda connected, why: quiet.append(connected))
            end()
            broker.start()
            await subject.until(lambda: broker.connected)
            await _result(subject.interrupt())
            await subject.until(lambda: heard.count(True) == 2)
            assert heard[0] and False in heard
            await broker.stop()
            assert not broker.connected and heard[-1] is False
            assert quiet == []

        async def test_publishing_without_a_connection_fails_at_once(
            self, subject: BrokerSubject
        ) -> None:
            """Before the start and after the stop; asking, too."""
            queue = subject.queue()
            broker = subject.make()
            await raised(BrokerUnavailable, broker.publish(subject.exchange, "k", b"1"))
            await raised(BrokerUnavailable, broker.depth(queue.name))
            broker.declare([queue])
            broker.start()
            await subject.until(lambda: broker.connected)
            waiting = broker.publish(subject.exchange, "k", b"1")
            await broker.stop()
            await raised(BrokerUnavailable, waiting)
            await raised(BrokerUnavailable, broker.publish(subject.exchange, "k", b"1"))
            await broker.stop()

        async def test_a_queue_that_was_deleted_is_made_again(self, subject: BrokerSubject) -> None:
            """And its consumer goes on."""
            queue = subject.queue()
            broker = await subject.started(queue)
            received = subject.received()
            consumer = broker.consume(queue.name, 10, received)
            await broker.publish(subject.exchange, "k", b"before")
            await received.wait(1)
            await _result(subject.remove_queue(queue.name))
            for _ in range(300):
                try:
                    await broker.publish(subject.exchange, "k", b"after", mandatory=True)
                    break
                except MessageRefused:
                    await subject.sleep(0.02)
            await received.wait(2)
            assert received.bodies == [b"before", b"after"]
            consumer.acknowledge(received.deliveries)

        async def test_a_queue_may_be_declared_later(self, subject: BrokerSubject) -> None:
            """On the connection of now, and messages sent at once find it."""
            broker = await subject.started()
            queue = subject.queue()
            received = subject.received()
            broker.declare([queue], [subject.exchange + "2"])
            consumer = broker.consume(queue.name, 10, received)
            await broker.publish(subject.exchange, "k", b"1", mandatory=True)
            await broker.publish(subject.exchange + "2", "k", b"2")
            consumer.acknowledge(await received.wait(1))

        async def test_other_arguments_than_it_has_are_told_and_nothing_spins(
            self, subject: BrokerSubject
        ) -> None:
            """The rest works; the queue is left as it is."""
            queue = subject.queue()
            await subject.started(queue)
            wrong = subject.queue(arguments={"x-max-length": 5})
            good = subject.queue("good")
            told: list[tuple[bool, str]] = []
            broker = subject.make()
            broker.on_change(lambda connected, why: told.append((connected, why)))
            broker.declare([wrong, good])
            broker.start()
            await subject.until(lambda: broker.connected)
            await subject.sleep(0.3)
            refusals = [why for _, why in told if "406" in why]
            assert len(refusals) == 1 and wrong.name in refusals[0]
            received = subject.received()
            consumer = broker.consume(good.name, 10, received)
            await broker.publish(subject.exchange, "k", b"1", mandatory=True)
            consumer.acknowledge(await received.wait(1))

    return BrokerContract


async def _result(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value
