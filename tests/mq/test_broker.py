"""The real broker when something happens to it, to the network, or to us."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pika
import pytest
from twisted.internet import reactor
from zope.interface.verify import verifyObject

from cyclades_tx.mq.broker import Broker, Patience, Trust
from cyclades_tx.mq.codec import UNREADABLE
from cyclades_tx.mq.interfaces import (
    BrokerUnavailable,
    ExchangeRefused,
    IBroker,
    IConsumer,
    MessageRefused,
    Queue,
)
from cyclades_tx.mq.memory import MemoryBroker
from cyclades_tx.mq.urls import parse_url
from cyclades_tx.testing.broker_subject import Received
from cyclades_tx.testing.expected import raised
from tests.mq.conftest import BRISK, QUICK
from tests.real.rabbitmq import RabbitNode
from tests.real.tcp_proxy import TcpProxy

pytestmark = pytest.mark.real

Connect = Callable[..., Broker]


def queue_of(prefix: str, **arguments: Any) -> Queue:
    """A queue of a test's own."""
    return Queue(
        prefix + "q", ((prefix + "x", "k"),), (prefix + "x-dl", prefix + "q.dead"), arguments
    )


class Told(list[tuple[bool, str]]):
    """What an observer heard."""

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        broker.on_change(lambda connected, why: self.append((connected, why)))

    def word(self, text: str) -> bool:
        """Whether something was said of this."""
        return any(text in why for _, why in self)


async def publish_surely(broker: Broker, exchange: str, body: bytes, sleep: Any) -> int:
    """Send until it is confirmed; return how often it was tried."""
    for tries in range(1, 2000):
        try:
            await broker.publish(exchange, "k", body, mandatory=True)
        except BrokerUnavailable:
            await sleep(0.02)
        else:
            return tries
    raise AssertionError("it was never confirmed")


# The broker goes


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_restart_loses_nothing_that_was_confirmed(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any, end: str
) -> None:
    """Stopped in good order or killed: consumer and publisher come back by themselves."""
    queue = queue_of(prefix, **{"x-queue-type": "quorum"})
    broker = connect(node.url())
    broker.declare([queue])
    await until(lambda: broker.connected)
    received = Received(sleep)
    consumer = broker.consume(queue.name, 5, received)
    for number in range(10):
        await broker.publish(prefix + "x", "k", b"%d" % number, mandatory=True)
    got = await received.wait(5)
    consumer.acknowledge(got[:2])
    await received.wait(7)
    if end == "kill":
        # RabbitMQ 3.10 writes down that there is a quorum queue up to a second later.
        await sleep(2)
    getattr(node, end)()
    await until(lambda: not broker.connected)
    await raised(BrokerUnavailable, broker.publish(prefix + "x", "k", b"no"))
    node.start()
    await until(lambda: broker.connected)
    await publish_surely(broker, prefix + "x", b"after", sleep)
    seen = {b"0", b"1"}
    for _ in range(3000):
        fresh = [each for each in received.deliveries if each.epoch != got[0].epoch]
        consumer.acknowledge(fresh)
        seen |= {each.body for each in fresh}
        if b"after" in seen and len(seen) == 11:
            break
        await sleep(0.02)
    assert seen == {b"after", *(b"%d" % number for number in range(10))}


async def test_stopping_while_the_broker_is_away_ends_at_once(
    connect: Connect, proxy: TcpProxy, node: RabbitNode, until: Any
) -> None:
    """Whatever it was doing: waiting, or connecting to a host that says nothing."""
    proxy.refuse()
    refused = connect(node.url(proxy.port))
    told = Told(refused)
    await until(lambda: told)
    await refused.stop()
    proxy.restore()
    proxy.silence()
    silent = connect(node.url(proxy.port))
    await silent.stop()
    assert not silent.connected


async def test_a_start_before_the_broker_is_there_is_fine(
    connect: Connect, proxy: TcpProxy, node: RabbitNode, until: Any
) -> None:
    """It goes on trying, with pauses, and says why."""
    proxy.refuse()
    broker = connect(node.url(proxy.port))
    told = Told(broker)
    await until(lambda: len(told) >= 3)
    assert all(not connected and "refused" in why.lower() for connected, why in told)
    proxy.restore()
    await until(lambda: broker.connected)


async def test_another_host_is_tried_when_one_is_gone(
    connect: Connect, proxy: TcpProxy, node: RabbitNode, until: Any
) -> None:
    """At once, when it is one of several."""
    second = TcpProxy(node.port)
    try:
        broker = connect(node.url(proxy.port), node.url(second.port))
        told = Told(broker)
        await until(lambda: broker.connected)
        for gone in (proxy, second):
            gone.refuse()
            other = second if gone is proxy else proxy
            place = f"connected to 127.0.0.1:{other.port}"
            await until(lambda place=place: broker.connected and told[-1][1] == place)
            gone.restore()
    finally:
        second.close()


# The network goes


async def test_a_cut_network_is_noticed_within_two_heartbeats(
    connect: Connect, proxy: TcpProxy, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """Nothing is closed, nothing is answered; afterwards all goes on."""
    queue = queue_of(prefix)
    broker = connect(node.url(proxy.port), patience=BRISK)
    broker.declare([queue])
    await until(lambda: broker.connected)
    received = Received(sleep)
    consumer = broker.consume(queue.name, 5, received)
    await broker.publish(prefix + "x", "k", b"1")
    (first,) = await received.wait(1)
    proxy.silence()
    began = reactor.seconds()
    waiting = broker.publish(prefix + "x", "k", b"2")
    await raised(BrokerUnavailable, waiting)
    # Three times as long, for the work of others; unanswered messages are given up much later.
    assert reactor.seconds() - began < 6 * BRISK.heartbeat_seconds + 2 < BRISK.confirm_seconds
    assert not broker.connected
    proxy.restore()
    await until(lambda: broker.connected)
    consumer.acknowledge([first])
    await received.wait(2)
    assert received.deliveries[1].body == b"1"
    assert received.deliveries[1].redelivered


async def test_a_frozen_broker_is_left(
    connect: Connect, node: RabbitNode, proxy: TcpProxy, until: Any
) -> None:
    """Its kernel still answers; it does not."""
    broker = connect(node.url(proxy.port), patience=BRISK)
    await until(lambda: broker.connected)
    told = Told(broker)
    node.freeze()
    try:
        await until(lambda: not broker.connected)
    finally:
        node.thaw()
    assert told.word("nothing came from the broker")
    await until(lambda: broker.connected)


async def test_a_host_that_accepts_and_says_nothing_is_left(
    connect: Connect, proxy: TcpProxy, node: RabbitNode, until: Any
) -> None:
    """The handshake has its time."""
    proxy.silence()
    broker = connect(node.url(proxy.port), patience=replace(QUICK, connect_seconds=0.3))
    told = Told(broker)
    await until(lambda: told)
    assert told.word("lets nobody in within 0.3 seconds")


# The broker refuses


async def test_a_wrong_password_is_said_clearly_and_nowhere_shown(
    connect: Connect, node: RabbitNode, until: Any
) -> None:
    """It goes on trying, as the password may be mended at the broker."""
    broker = connect(node.url(password="not-the-word"))
    told = Told(broker)
    await until(lambda: len(told) >= 2)
    assert told.word("403 ACCESS_REFUSED")
    assert not told.word("not-the-word") and not told.word(node.password)
    assert "not-the-word" not in repr(broker)


async def test_a_missing_vhost_is_said_clearly(
    connect: Connect, node: RabbitNode, until: Any
) -> None:
    """With its name."""
    address = replace(parse_url(node.url()), vhost="nowhere")
    broker = connect(address)
    told = Told(broker)
    await until(lambda: told)
    assert told.word("nowhere") and told.word("53")


async def test_a_full_queue_refuses_messages(
    connect: Connect, node: RabbitNode, prefix: str, until: Any
) -> None:
    """A nack is told to whoever sent it."""
    queue = queue_of(prefix, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    broker = connect(node.url())
    broker.declare([queue])
    await until(lambda: broker.connected)
    await broker.publish(prefix + "x", "k", b"1")
    await raised(MessageRefused, broker.publish(prefix + "x", "k", b"2"))


async def test_a_blocked_broker_holds_messages_back_and_is_told(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """Consumers go on; messages are confirmed afterwards, and refused when it takes too long."""
    queue = queue_of(prefix)
    broker = connect(node.url())
    hasty = connect(node.url(), patience=replace(QUICK, confirm_seconds=3.0))
    broker.declare([queue])
    await until(lambda: broker.connected and hasty.connected)
    await hasty.publish(prefix + "x", "k", b"0")
    told = Told(broker)
    node.raise_alarm()
    try:
        first = broker.publish(prefix + "x", "k", b"1")
        await until(lambda: told.word("takes no messages for now"))
        second = broker.publish(prefix + "x", "k", b"2")
        error = await raised(BrokerUnavailable, hasty.publish(prefix + "x", "k", b"3"))
        assert "takes no messages" in str(error) or "not confirmed" in str(error)
        assert not second.called and broker.connected
    finally:
        node.clear_alarm()
    await first
    await second
    assert told.word("takes messages again")


async def test_too_much_waiting_is_refused_at_once(
    connect: Connect, node: RabbitNode, prefix: str, until: Any
) -> None:
    """Memory is not a queue."""
    queue = queue_of(prefix)
    broker = connect(node.url(), patience=replace(QUICK, most_waiting_bytes=1000))
    broker.declare([queue])
    await until(lambda: broker.connected)
    first = broker.publish(prefix + "x", "k", bytes(900))
    await raised(BrokerUnavailable, broker.publish(prefix + "x", "k", bytes(200)))
    await first
    await broker.publish(prefix + "x", "k", bytes(200))


async def test_a_consumer_of_a_queue_that_is_not_there_waits_for_it(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """It is said, and tried again with pauses."""
    broker = connect(node.url())
    await until(lambda: broker.connected)
    told = Told(broker)
    received = Received(sleep)
    consumer = broker.consume(prefix + "q", 5, received)
    await until(lambda: told.word("404"))
    connection = node.connect()
    connection.channel().queue_declare(prefix + "q", durable=True)
    connection.channel().basic_publish("", prefix + "q", b"1")
    connection.close()
    consumer.acknowledge(await received.wait(1))


async def test_a_queue_mended_by_hand_is_taken_up(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """After a refusal for its arguments: the operator deletes it, and we need no restart."""
    connection = node.connect()
    connection.channel().queue_declare(prefix + "q", durable=True, arguments={"x-max-length": 9})
    queue = queue_of(prefix)
    broker = connect(node.url())
    told = Told(broker)
    broker.declare([queue])
    received = Received(sleep)
    consumer = broker.consume(queue.name, 5, received)
    await until(lambda: told.word("406 PRECONDITION_FAILED"))
    await sleep(0.5)
    assert sum("406 PRECONDITION_FAILED" in why for _, why in told) == 1
    connection.channel().queue_delete(prefix + "q")
    connection.close()
    await until(lambda: consumer.attached)
    await broker.publish(prefix + "x", "k", b"1", mandatory=True)
    consumer.acknowledge(await received.wait(1))


async def test_a_binding_that_was_lost_is_there_again_on_the_same_connection(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """As after an exchange was deleted and made again by hand."""
    queue = queue_of(prefix, **{"x-queue-type": "quorum"})
    broker = connect(node.url(), patience=replace(QUICK, renew_seconds=0.2))
    broker.declare([queue])
    await until(lambda: broker.connected)
    told = Told(broker)
    received = Received(sleep)
    consumer = broker.consume(queue.name, 5, received)
    connection = node.connect()
    channel = connection.channel()
    channel.exchange_delete(prefix + "x")
    channel.exchange_declare(prefix + "x", "topic", durable=True)
    for _ in range(600):
        channel.basic_publish(prefix + "x", "k", b"1")
        if received.deliveries:
            break
        await sleep(0.1)
    connection.close()
    consumer.acknowledge(await received.wait(1))
    assert told == []


async def test_dead_letters_can_be_looked_at_as_often_as_one_likes(
    connect: Connect, node: RabbitNode, prefix: str, until: Any
) -> None:
    """Also where the broker throws away what was given back too often."""
    queue = queue_of(prefix).of_type("quorum")
    broker = connect(node.url())
    pattern = f"^{prefix.replace('.', '[.]')}.*dead$"
    policy = (prefix, pattern, '{"delivery-limit":2}')
    node.control("set_policy", "-p", node.vhost, *policy, "--apply-to", "queues")
    try:
        broker.declare([queue])
        await until(lambda: broker.connected)
        await broker.publish(prefix + "x-dl", "k", b"evidence", mandatory=True)
        for _ in range(8):
            assert [each.body for each in await broker.peek(queue.name + ".dead", 5)] == [
                b"evidence"
            ]
    finally:
        node.control("clear_policy", "-p", node.vhost, prefix)


async def test_whoever_may_only_write_publishes_to_an_exchange_of_others(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """It is not told of anything; without the exchange it is, and goes on when it is there."""
    name, password = prefix + "writer", secrets.token_hex(12)
    node.control("add_user", name, password)
    try:
        node.control("set_permissions", "-p", node.vhost, name, "^$", f"^{prefix}x$", "^$")
        owner = connect(node.url())
        queue = queue_of(prefix)
        owner.declare([queue])
        await until(lambda: owner.connected)
        address = parse_url(node.url()).with_login(name, password)
        writer = connect(address, patience=replace(QUICK, renew_seconds=0.2))
        told = Told(writer)
        writer.declare([], [prefix + "x"])
        await until(lambda: writer.connected)
        await writer.publish(prefix + "x", "k", b"1", mandatory=True)
        assert [why for connected, why in told if not connected or "cannot" in why] == []
        connection = node.connect()
        connection.channel().exchange_delete(prefix + "x")
        await until(lambda: told.word("may not declare it"))
        await raised(ExchangeRefused, writer.publish(prefix + "x", "k", b"2"))
        connection.channel().exchange_declare(prefix + "x", "topic", durable=True)
        connection.channel().queue_bind(queue.name, prefix + "x", "k")
        connection.close()
        assert await publish_surely(writer, prefix + "x", b"3", sleep)
    finally:
        node.control("delete_user", name)


async def test_a_consumer_may_stop_while_it_begins(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """At whatever moment; the connection lives, and the queue has no consumer."""
    queue = queue_of(prefix)
    broker = connect(node.url())
    broker.declare([queue])
    await until(lambda: broker.connected)
    told = Told(broker)
    for pause in (0, 0, 0.001, 0.002, 0.005, 0.01):
        consumer = broker.consume(queue.name, 5, lambda delivery: None)
        if pause:
            await sleep(pause)
        await consumer.stop()
    for _ in range(1200):
        if await broker.depth(queue.name) == (0, 0):
            break
        await sleep(0.05)
    assert await broker.depth(queue.name) == (0, 0)
    assert told == []


# TLS


async def test_tls_is_verified_by_the_authority(
    connect: Connect, node: RabbitNode, prefix: str, until: Any
) -> None:
    """And by no other: without it nobody is spoken to."""
    trusted = connect(node.url(tls=True), trust=Trust(node.ca_file.read_text()))
    await until(lambda: trusted.connected)
    stranger = connect(node.url(tls=True))
    told = Told(stranger)
    await until(lambda: told)
    assert told.word("certificate") and not stranger.connected


async def test_tls_is_pinned_to_one_certificate(
    connect: Connect, node: RabbitNode, until: Any
) -> None:
    """The authority's own is another one."""
    pinned = connect(node.url(tls=True), trust=Trust("", node.certificate_file.read_text()))
    await until(lambda: pinned.connected)
    wrong = connect(node.url(tls=True), trust=Trust("", node.ca_file.read_text()))
    told = Told(wrong)
    await until(lambda: told)
    assert told.word("does not show the pinned certificate") and not wrong.connected


# Settling


async def test_acknowledgments_of_one_turn_are_one_frame(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """Up to the last one, when everything before it is settled."""
    queue = queue_of(prefix)
    broker = connect(node.url())
    broker.declare([queue])
    await until(lambda: broker.connected)
    received = Received(sleep)
    consumer = broker.consume(queue.name, 100, received)
    for each in [broker.publish(prefix + "x", "k", b"%d" % n) for n in range(50)]:
        await each
    got = await received.wait(50)
    said: list[tuple[int, bool]] = []
    channel: Any = consumer._channel
    ack = channel.ack

    def spy(tag: int, multiple: bool = False) -> None:
        said.append((tag, multiple))
        ack(tag, multiple)

    channel.ack = spy
    for each in reversed(got):
        consumer.acknowledge([each])
    await until(lambda: said)
    assert said == [(50, True)]
    await consumer.stop()
    assert await broker.depth(queue.name) == (0, 0)


async def test_an_error_in_the_receiver_is_logged_and_ends_nothing(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, logged_errors: Any
) -> None:
    """The next message comes."""
    queue = queue_of(prefix)
    broker = connect(node.url())
    broker.declare([queue])
    await until(lambda: broker.connected)
    bodies: list[bytes] = []

    def receive(delivery: Any) -> None:
        bodies.append(delivery.body)
        raise ZeroDivisionError

    broker.consume(queue.name, 10, receive)
    for number in range(2):
        await broker.publish(prefix + "x", "k", b"%d" % number)
    await until(lambda: len(bodies) == 2)
    assert len(logged_errors.flush(ZeroDivisionError)) == 2


async def test_a_hostile_message_is_put_aside_as_it_came(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """A routing key that is no UTF-8, headers that are huge: the body is kept, with the reason."""
    queue = Queue(prefix + "q", ((prefix + "x", "#"),), (prefix + "x-dl", prefix + "q.dead"))
    broker = connect(node.url())
    broker.declare([queue])
    await until(lambda: broker.connected)
    received = Received(sleep)
    consumer = broker.consume(queue.name, 10, received)
    await broker.publish(prefix + "x", "a\udcff\udcfe", b"\xff", {"h": "x" * 100_000})
    (got,) = await received.wait(1)
    await consumer.reject(got, "bad\ud800 " + "r" * 5000)
    (dead,) = await broker.peek(prefix + "q.dead", 2)
    assert (dead.body, dead.routing_key) == (b"\xff", "a\udcff\udcfe")
    assert "h" not in dead.headers and dead.headers["x-reason"].startswith("bad? rrr")
    await consumer.stop()
    assert (await broker.depth(queue.name))[0] == 0


async def test_headers_that_cannot_be_read_cost_no_connection(
    connect: Connect, node: RabbitNode, prefix: str, until: Any, sleep: Any
) -> None:
    """The message is handed over with a mark, and can be put aside."""
    queue = queue_of(prefix)
    broker = connect(node.url())
    broker.declare([queue])
    await until(lambda: broker.connected)
    told = Told(broker)
    received = Received(sleep)
    consumer = broker.consume(queue.name, 10, received)
    headers: dict[str, Any] = {}
    for _ in range(60):
        headers = {"deeper": headers}
    connection = node.connect()
    properties = pika.BasicProperties(headers=headers)
    connection.channel().basic_publish(prefix + "x", "k", b"body", properties)
    connection.close()
    (got,) = await received.wait(1)
    assert got.body == b"body" and got.headers == {UNREADABLE: True}
    await consumer.reject(got, "no headers")
    (dead,) = await broker.peek(prefix + "q.dead", 2)
    assert dead.body == b"body" and told == []


def test_the_doors_have_the_shape_of_their_interfaces() -> None:
    """Broker and consumer, real and in memory."""
    for broker in (Broker(reactor, [parse_url("amqp://mq")]), MemoryBroker(reactor)):
        verifyObject(IBroker, broker)
        verifyObject(IConsumer, broker.consume("q", 1, lambda delivery: None))


async def test_patience_has_an_end_everywhere() -> None:
    """No figure of it is without limit."""
    for value in vars(Patience()).values():
        assert 0 < value < 2**30
