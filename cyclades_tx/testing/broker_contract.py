"""The exam that every broker passes: the memory one and the real one.

:func:`broker_contract` makes a class of tests for pytest; a module that runs it binds the class
to a name that begins with ``Test`` and provides the fixture ``subject``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from cyclades_tx.mq.interfaces import (
    BrokerUnavailable,
    MessageRefused,
)
from cyclades_tx.testing.broker_subject import BrokerSubject, result_of
from cyclades_tx.testing.consumer_contract import ConsumerContract
from cyclades_tx.testing.expected import raised


class BrokerContract(ConsumerContract):
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

    async def test_an_exchange_that_does_not_exist_refuses(self, subject: BrokerSubject) -> None:
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

    async def test_headers_that_cannot_be_said_are_refused(self, subject: BrokerSubject) -> None:
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

    async def test_what_is_acknowledged_does_not_come_again(self, subject: BrokerSubject) -> None:
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

    async def test_a_rejected_message_waits_among_the_dead(self, subject: BrokerSubject) -> None:
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

    async def test_what_could_not_be_put_aside_can_be_later(self, subject: BrokerSubject) -> None:
        """It stays unsettled meanwhile; the connection lives on."""
        queue = subject.queue()
        assert queue.dead_letters is not None
        broker = await subject.started(queue)
        await broker.publish(subject.exchange, "k", b"bad")
        received = subject.received()
        consumer = broker.consume(queue.name, 10, received)
        (got,) = await received.wait(1)
        await result_of(subject.remove_queue(queue.dead_letters[1]))
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


def broker_contract() -> type:
    """Return the class of tests; each takes the fixture ``subject`` (:class:`BrokerSubject`)."""
    return BrokerContract
