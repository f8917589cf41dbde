"""The part of the exam of brokers that is about several consumers, and what ends."""

from __future__ import annotations

from cyclades_tx.mq.interfaces import (
    BrokerError,
    BrokerUnavailable,
    MessageRefused,
)
from cyclades_tx.testing.broker_subject import BrokerSubject, result_of
from cyclades_tx.testing.expected import raised


class ConsumerContract:
    """What every broker does when several consume, and when something ends."""

    # Several consumers

    async def test_a_single_active_consumer_gets_everything(self, subject: BrokerSubject) -> None:
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
        await result_of(subject.interrupt())
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
        await result_of(subject.interrupt())
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
        await result_of(subject.remove_queue(queue.name))
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

        def refusals() -> list[str]:
            return [why for _, why in told if "406 PRECONDITION_FAILED" in why]

        await subject.until(lambda: broker.connected and bool(refusals()))
        await subject.sleep(0.3)
        (refusal,) = refusals()
        assert wrong.name in refusal, told
        received = subject.received()
        consumer = broker.consume(good.name, 10, received)
        await broker.publish(subject.exchange, "k", b"1", mandatory=True)
        consumer.acknowledge(await received.wait(1))
